// Weights packed for their kernels: chosen by plan, made once, shared by all Programs of a session.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "kernels/conv.h"
#include "runtime/measure.h"
#include "runtime/rounding.h"
#include "runtime/session.h"

namespace lacuna {

class PackStore {
 public:
  PackStore(const Graph& graph, const SessionOptions& options) : graph_(graph), options_(options), model_weights_(multiplied_weights(graph)) {}

  // The weight of a linear node for calls of `tokens` tokens. Throws what loading the weight throws.
  template <class Packed>
  struct Pack {
    std::shared_ptr<const Packed> packed;
    bool rounds = false;  // the kernel rounds its input; if not and a rounding was asked for, the caller does
    std::string problem;  // with the sizes of this call
    int64_t line = -1;    // of plan()
  };
  Pack<kernels::PackedLinear> linear(const Node& node, int64_t tokens, const InputRounding& rounding = {});
  // The weight of a conv node; `geometry` holds all but the weight's own properties. `in_planes`: its input comes so (ConvValues). Where it has more
  // input channels than the weight, those of a group are the slices of a kernel of three dimensions, [depth, in].
  Pack<kernels::PackedConv> conv(const Node& node, kernels::ConvProblem geometry, int64_t batch, int64_t in_h, int64_t in_w,
                                 const InputRounding& rounding = {}, bool in_planes = false);
  // The same for a kernel that takes codes; nothing is packed if none accepts the problem or the weight has no codes that it takes.
  Pack<kernels::PackedConv> conv_of_codes(const Node& node, kernels::ConvProblem geometry, int64_t batch, int64_t in_h, int64_t in_w,
                                          const InputRounding& rounding);

  const std::vector<PlanLine>& plan() const { return plan_; }
  int64_t packed_bytes() const;
  // While it lives a fixed plan takes calls for those of so many items, and multiplies few rows of an item as few, however many items there are: the
  // items of a batch meet the same kernels whether they run together or apart.
  class ForItems {
   public:
    ForItems(PackStore& packs, int64_t items) : packs_(packs) { packs_.items_ = items; }
    ~ForItems() { packs_.items_ = 1; }
    ForItems(const ForItems&) = delete;
    ForItems& operator=(const ForItems&) = delete;

   private:
    PackStore& packs_;
  };
  // Forgets what no Program holds any more.
  void drop_unused();

 private:
  struct Matrix;  // a weight decoded for packing
  std::shared_ptr<const Matrix> decoded(const Node& node, bool with_codes = false);
  static std::shared_ptr<const Matrix> in_slices(const Matrix& volume, int64_t depth, int64_t in);
  std::string geometry_of(const kernels::ConvProblem& problem, int64_t batch, int64_t in_h, int64_t in_w, const InputRounding& rounding) const;
  template <class Kernel>
  int64_t add_line(const Node& node, const Matrix& matrix, std::string problem, const Choice<Kernel>& chosen, int64_t bytes,
                   int activation_bits = 32);
  // Measured choices hold for so many threads.
  std::string of_threads() const;
  bool floats_only() const { return options_.compute && *options_.compute != DType::kS8; }

  const Graph& graph_;
  SessionOptions options_;
  int64_t model_weights_;
  int64_t items_ = 1;
  std::shared_ptr<const Matrix> last_;  // of the weight packed last: several kernels may pack it in a row
  // By weight, and kernel or geometry.
  std::map<std::pair<WeightId, std::string>, std::shared_ptr<const kernels::PackedLinear>> linears_;
  std::map<std::pair<WeightId, std::string>, std::shared_ptr<const kernels::PackedConv>> convs_;
  template <class Problem>
  struct Chosen {
    std::string packed;  // in linears_ or convs_
    bool rounds = false;
    Problem problem;
    int64_t line = -1;
  };
  // By weight and problem.
  std::map<std::pair<WeightId, std::string>, Chosen<kernels::LinearProblem>> linear_choices_;
  std::map<std::pair<WeightId, std::string>, Chosen<kernels::ConvProblem>> conv_choices_;
  std::vector<PlanLine> plan_;
};

}  // namespace lacuna
