// Folds what can be known before the run. Sizes and other whole numbers come from inference; float constants are computed by
// the evaluator that the caller hands in. Source weights of models stay what they are: nothing that reads a large one is folded.
#include <algorithm>
#include <set>

#include "base/cat.h"
#include "graph/passes/rewrite.h"
#include "lacuna/error.h"

namespace lacuna::passes {
namespace {

constexpr int64_t kMaxSource = 4096;     // elements of a source weight that may be folded into another
constexpr int64_t kMaxResult = 1 << 22;  // elements of a folded constant (a causal mask of 2048 tokens)
constexpr int kMaxRounds = 8;            // known integers make shapes known, which make integers known

class Folder {
 public:
  Folder(Graph& graph, const Evaluate& evaluate) : graph_(graph), evaluate_(evaluate) {}

  int64_t run() {
    int64_t total = 0;
    for (int round = 0; round < kMaxRounds; round++) {
      int64_t changes = fold_once();
      total += changes;
      if (changes == 0) break;
      remove_dead_nodes(graph_);
      infer_shapes(graph_);
    }
    return total;
  }

 private:
  int64_t fold_once() {
    auto facts = infer_facts(graph_);
    auto users = graph_.all_users();
    for (auto& output : graph_.outputs()) users[size_t(output.value)].push_back(-1);
    int64_t changes = 0;
    for (size_t i = 0; i < graph_.nodes().size(); i++) {
      const Node& node = graph_.nodes()[i];
      bool read = std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId v) { return v != kNoValue && !users[size_t(v)].empty(); });
      if (!read) continue;
      if (auto results = known(node, facts))
        changes += replace(NodeId(i), *results);
      else if (evaluate_ && constant_inputs(node) && !too_large(node, facts))
        changes += evaluate(NodeId(i));
    }
    return changes;
  }

  // The outputs as tensors, if inference knows all their elements.
  static std::optional<std::vector<Tensor>> known(const Node& node, const std::vector<Fact>& facts) {
    std::vector<Tensor> out;
    for (ValueId v : node.outputs) {
      if (v == kNoValue) return std::nullopt;
      const Fact& fact = facts[size_t(v)];
      auto values = fact.elements ? constant_shape(*fact.elements) : std::nullopt;
      if (!values || bits_of(fact.dtype) < 8) return std::nullopt;
      out.push_back(Tensor::of<int64_t>(*constant_shape(*fact.shape), *values).to(fact.dtype));
    }
    return out;
  }

  bool constant_inputs(const Node& node) const {
    if (node.op == Op::dequantize || node.op == Op::linear || node.op == Op::conv || node.op == Op::embedding) return false;
    return std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) {
      const Weight* weight = graph_.weight_of(v);
      return v == kNoValue ||
             (weight && bits_of(weight->encoding.values) >= 8 && (weight->size() <= kMaxSource || folded_.contains(graph_.value(v).weight)));
    });
  }

  static bool too_large(const Node& node, const std::vector<Fact>& facts) {
    return std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId v) {
      auto shape = v != kNoValue && facts[size_t(v)].shape ? constant_shape(*facts[size_t(v)].shape) : std::nullopt;
      return shape && element_count(*shape) > kMaxResult;
    });
  }

  int64_t evaluate(NodeId id) {
    std::vector<Tensor> inputs;
    for (ValueId v : graph_.node(id).inputs) {
      const Weight* weight = graph_.weight_of(v);
      if (!weight) {
        inputs.emplace_back();
        continue;
      }
      WeightData data = weight->load();
      bool plain = weight->encoding.granularity == Encoding::Granularity::kNone && !data.mask;
      inputs.push_back(plain ? data.values : decode_f32(*weight, data));
    }
    try {
      return replace(id, evaluate_(graph_, graph_.node(id), inputs));
    } catch (const Unsupported&) {
      return 0;  // stays a node
    }
  }

  int64_t replace(NodeId id, const std::vector<Tensor>& results) {
    const Node node = graph_.node(id);
    LACUNA_ASSERT(results.size() >= node.outputs.size());
    for (size_t i = 0; i < node.outputs.size(); i++) {
      ValueId old = node.outputs[i];
      if (old == kNoValue) continue;
      Weight weight{
          .name = free_weight_name(graph_, graph_.value(old).name), .shape = results[i].shape(), .encoding = {.values = results[i].dtype()}};
      weight.source = in_memory({.values = results[i]});
      WeightId folded = graph_.weights.add(std::move(weight));
      folded_.insert(folded);
      graph_.replace_uses(old, graph_.add_weight(folded));
    }
    return 1;
  }

  Graph& graph_;
  const Evaluate& evaluate_;
  std::set<WeightId> folded_;
};

}  // namespace

int64_t constant_folding(Graph& graph, const PassOptions& options) { return Folder(graph, options.evaluate).run(); }

}  // namespace lacuna::passes
