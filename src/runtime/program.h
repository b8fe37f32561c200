// A Graph compiled for one binding of its symbols: steps in order, each with its kernel, and where every value lives.
//
// Values live in one of five places: constants (weights and what shape inference already knows), what the caller hands in, states,
// the arena (planned: buffers are reused, elementwise ops work in place, reshapes are views), and memory of their own (results, which
// are handed out, and values whose shape only the run can tell).
#pragma once

#include <functional>
#include <memory>
#include <set>

#include "runtime/engine.h"
#include "runtime/ops/ops.h"

namespace lacuna {

class Program {
 public:
  // `graph` is the plan's own copy and outlives the Program, like `packs`. `constant` gives the decoded value of a weight.
  // Without `fuse` every node of the graph is a step, and its inputs and outputs are whole (for observers).
  // It will mostly run on so many threads.
  Program(const Graph& graph, const Bindings& bindings, PackStore& packs, const std::function<const Tensor&(ValueId)>& constant, bool fuse,
          int threads);

  int64_t arena_bytes() const { return arena_bytes_; }
  const CacheNeeds& cache_needs() const { return needs_; }
  // Of the PackStore's plan: what the steps multiply.
  std::vector<int64_t> plan_lines() const;

  // Runs with an arena of at least arena_bytes(). The cache has been reserved for cache_needs().
  std::vector<Tensor> run(const RunCall& call, const std::shared_ptr<std::byte[]>& arena);

 private:
  enum class Place : uint8_t { kNone, kConstant, kInput, kState, kArena, kOwn, kDynamic };
  struct Slot {
    Place place = Place::kNone;
    ValueId root = kNoValue;  // the value whose memory this one shares; itself if none
    Shape shape;              // of static values
    DType type = DType::kF32;
    int64_t first = -1, last = -1;  // steps that write and read it
    int64_t offset = 0;             // of an arena root
    int64_t block = 0;              // channels per block in which it is held; its shape is then that of the blocks
  };
  struct Part {  // a node's
    PlanNode plan;
    std::string kernel, problem;  // problem and plan_line as in CompiledStep
    int64_t plan_line = -1;
  };
  struct Link {
    ConvCall call;
    size_t bias, residual, output;  // of the step's inputs and outputs; kNone
  };
  static constexpr size_t kNone = size_t(-1);
  struct InPlace {
    size_t out, in;
  };
  struct Step {
    std::vector<Part> parts;  // several in a chain of convolutions, or of one and a pool
    StepFn run;
    std::vector<ValueId> in, out;  // as the node's, with values in other layouts in their place; of a chain, what it reads and what others read of it
    std::vector<Tensor*> inputs, outputs;
    // While planning:
    std::vector<InPlace> in_place;
    std::function<StepFn(const kernels::Rounding&)> run_with_codes;  // of CompiledStep
    std::vector<Link> links;                                         // of a convolution that may begin a chain, and those that joined it
  };

  void mark_dynamic(std::vector<PlanNode>& nodes, std::vector<bool>& whole);
  void choose_nodes(const std::vector<bool>& kept, std::vector<PlanNode>& nodes) const;
  bool takes_codes(const Node& node, const InputRounding& rounding, PackStore& packs, const std::function<const Tensor&(ValueId)>& constant);
  void add_constant(ValueId value);
  void compile(const PlanNode& plan, PackStore& packs, const std::function<const Tensor&(ValueId)>& constant);
  bool compile_constant(const PlanNode& plan, const std::function<const Tensor&(ValueId)>& constant);
  bool compile_view(const PlanNode& plan);
  void add_step(Step step, const std::vector<size_t>& unread);
  bool join_chain(const PlanNode& plan, const CompiledStep& compiled, const std::function<const Tensor&(ValueId)>& constant);
  bool join_pool(const PlanNode& plan, const CompiledStep& compiled);
  void drop_last_output(Step& step);
  ValueId add_value(ValueId like, int64_t block);
  ValueId in_blocks(ValueId value, int64_t block);
  void convert(ValueId from, ValueId to);
  void code_tokens_of(ValueId from, ValueId to);
  Shape shape_in_blocks(ValueId value, int64_t block) const;
  bool is_static(ValueId value) const;
  bool all_static(const Node& node) const;
  StepFn reference_step(const PlanNode& plan) const;
  void share_in_place();
  void plan_arena();
  void attach(const std::shared_ptr<std::byte[]>& arena);
  void renew_results();
  Slot& slot(ValueId v) { return slots_[size_t(v)]; }
  const Slot& slot(ValueId v) const { return slots_[size_t(v)]; }
  ValueId root_of(ValueId v) const;

  const Graph& graph_;
  std::vector<Fact> facts_;
  CacheNeeds needs_;
  std::vector<Slot> slots_;                                   // by value, then the same values in other layouts
  std::vector<Tensor> tensors_;                               // likewise; steps hold pointers into it
  std::vector<ValueId> origin_;                               // the value of the graph that each slot holds
  std::map<std::pair<ValueId, int64_t>, ValueId> converted_;  // by value and channels per block
  std::vector<bool> kept_;                                    // results of the graph
  std::vector<int64_t> readers_;                              // of each value: how often nodes name it as an input
  std::vector<Step> steps_;
  std::vector<ValueId> own_;  // roots with memory of their own
  SharedTables tables_;
  const std::byte* attached_ = nullptr;  // the arena that the tensors point into
  int64_t arena_bytes_ = 0, runs_ = 0;
  bool fuse_;
  int threads_;
};

}  // namespace lacuna
