// Running a Graph: one interface, two executors. The reference executor is plain loops over every op; the runtime executor
// compiles a Program per binding of the symbols (planned memory, packed weights, chosen kernels) and caches it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace lacuna {

enum class Executor { kRuntime, kReference };

struct SessionOptions {
  Executor executor = Executor::kRuntime;
  int64_t max_tokens = 0;        // KV cache capacity per sequence; 0: the model's own maximum (metadata "max_tokens"), grown as needed
  bool measured_plan = false;    // choose kernels by measuring (bench, advise); false: the fixed static plan (run, eval, prune, calibration)
  bool allow_sparse = true;      // false: every weight dense (the baseline of `bench`)
  bool last_token_only = false;  // decoders: outputs hold the last token of a call only (generation); false: all tokens
  bool split_batches = true;     // items that do not depend on each other may run apart, each on one thread
  // Arithmetic of linear and conv: f32, bf16 (inputs and weights rounded; convolutions stay f32), s8 (inputs rounded per token; convolutions
  // only where the Graph gives a scale). nullopt: what the model states, its weights as they are stored.
  std::optional<DType> compute;
};

// One line per weight that is multiplied: what the plan chose and why.
struct PlanLine {
  std::string node, weight, problem;  // problem in the kernels' language
  std::string kernel, format;         // kernel name; how it packs the weight: "dense", "bitmask", "csr", ...
  bool sparse = false;
  int64_t packed_bytes = 0;
  int activation_bits = 32;            // of what the kernel reads and writes; 8: codes between convolutions
  double dense_us = 0, sparse_us = 0;  // the fastest of each kind as measured; 0 if not
  std::string reason;                  // "sparse 2.1x faster (measured)", "dense: below break-even 0.42", ...
};

using TensorMap = std::map<std::string, Tensor>;

class Session {
 public:
  // Packs nothing yet: weights are packed when the first Program needs them (prepare, run), once, and shared by all Programs.
  explicit Session(std::shared_ptr<const Graph> graph, SessionOptions options = {});
  ~Session();
  Session(Session&&) noexcept;

  // Inputs by name. Symbols are bound from their shapes. Throws InvalidArgument naming the input on a missing, unknown or
  // misshapen one (found and wanted shapes). Returns outputs by name.
  // Inputs with metadata "optional:NAME" may be left out: the Graph then runs without them.
  // For a Graph with states (decoders): appends to the cache and advances it by the tokens of this call.
  TensorMap run(const TensorMap& inputs);
  // Does beforehand what a run of inputs of these shapes does only the first time: chooses kernels, packs weights, plans memory.
  // Throws as run; their values do not matter. A measured plan may run a batch on them, to see what is faster.
  void prepare(const TensorMap& inputs);
  // Only these outputs are computed ("" = all).
  // Decoders: forgets the cache / keeps only the first `tokens`.
  void reset();
  void truncate(int64_t tokens);
  int64_t past_tokens() const;

  const Graph& graph() const;
  const std::vector<PlanLine>& plan() const;  // filled after the first run
  int64_t packed_bytes() const;               // memory of packed weights
  int64_t arena_bytes() const;                // planned activation memory of the largest Program

  // Called with the name and value of every node result, in order (calibration, debugging). Reference order on both executors;
  // with an observer set the runtime executor does not fuse.
  using Observer = std::function<void(const Node& node, std::span<const Tensor> inputs, std::span<const Tensor> outputs)>;
  void set_observer(Observer observer);

  // Wall time per node of the last run, microseconds; empty unless enabled.
  void enable_profile(bool on);
  struct ProfileLine {
    std::string node, op, kernel;
    double microseconds;
    std::string problem;     // of a product with a packed weight, in the kernels' language, with the sizes of this run
    int64_t plan_line = -1;  // its line of plan()
    int64_t pieces = 1;      // of a batch run apart, each of (about) that problem
  };
  std::vector<ProfileLine> profile() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lacuna
