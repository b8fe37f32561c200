// Folds what can be known before the run. Sizes and other whole numbers come from inference; single f32 numbers (the scale of
// attention, out of the size of a head) are computed here; other float constants by the evaluator that the caller hands in. Source weights of models
// stay what they are: nothing that reads a float matrix or a large one is folded.
#include <algorithm>
#include <cmath>
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
      else if (auto number = single_number(node))
        changes += replace(NodeId(i), {*number});
      else if (evaluate_ && constant_inputs(node) && !too_large(node, facts))
        changes += evaluate(NodeId(i));
    }
    return changes;
  }

  // How a folded operand of products lies: their weights need a layout. nullopt: its readers disagree, so it stays computed.
  std::optional<MatrixLayout> layout_of(ValueId value) const {
    MatrixLayout layout = MatrixLayout::kNone;
    for (NodeId id : graph_.users(value)) {
      const Node& node = graph_.node(id);
      bool weight = (node.op == Op::linear || node.op == Op::conv || node.op == Op::embedding) && node.inputs[1] == value;
      if (!weight) continue;
      MatrixLayout wanted = node.op == Op::conv                        ? MatrixLayout::kConv
                            : node.attributes.integer("transposed", 0) ? MatrixLayout::kInOut
                                                                       : MatrixLayout::kOutIn;
      if (layout != MatrixLayout::kNone && layout != wanted) return std::nullopt;
      layout = wanted;
    }
    return layout;
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

  // The result of arithmetic on constants of one f32 element each.
  std::optional<Tensor> single_number(const Node& node) const {
    std::vector<float> x;
    Shape shape;
    for (ValueId v : node.inputs) {
      const Weight* weight = graph_.weight_of(v);
      if (!weight || weight->size() != 1 || weight->encoding != Encoding{.values = DType::kF32}) return std::nullopt;
      x.push_back(weight->load().values.data<float>()[0]);
      if (weight->shape.size() > shape.size()) shape = weight->shape;
    }
    auto value = node.inputs.size() == 1 ? unary(node.op, x[0]) : node.inputs.size() == 2 ? binary(node.op, x[0], x[1]) : std::nullopt;
    if (!value) return std::nullopt;
    return Tensor::of<float>(shape, std::span<const float>(&*value, 1));
  }

  static std::optional<float> unary(Op op, float x) {
    switch (op) {
      case Op::sqrt: return std::sqrt(x);
      case Op::reciprocal: return 1 / x;
      case Op::neg: return -x;
      case Op::exp: return std::exp(x);
      case Op::log: return std::log(x);
      default: return std::nullopt;
    }
  }

  static std::optional<float> binary(Op op, float x, float y) {
    switch (op) {
      case Op::add: return x + y;
      case Op::sub: return x - y;
      case Op::mul: return x * y;
      case Op::div: return x / y;
      case Op::pow: return std::pow(x, y);
      default: return std::nullopt;
    }
  }

  bool constant_inputs(const Node& node) const {
    if (node.op == Op::dequantize || node.op == Op::linear || node.op == Op::conv || node.op == Op::embedding) return false;
    return std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) {
      const Weight* weight = graph_.weight_of(v);
      return v == kNoValue ||
             (weight && bits_of(weight->encoding.values) >= 8 && (weight->size() <= kMaxSource || folded_.contains(graph_.value(v).weight)));
    });
  }

  // Is this something to prune, rather than a constant of an expression? Large, or a float matrix.
  static bool of_the_model(const Weight& weight) {
    auto wide = std::count_if(weight.shape.begin(), weight.shape.end(), [](int64_t d) { return d > 1; });
    return weight.size() > kMaxSource || weight.layout != MatrixLayout::kNone || (wide > 1 && is_float(weight.encoding.values));
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
    std::vector<MatrixLayout> layouts;
    for (ValueId old : node.outputs) {
      auto layout = old == kNoValue ? std::optional(MatrixLayout::kNone) : layout_of(old);
      if (!layout) return 0;
      layouts.push_back(*layout);
    }
    for (size_t i = 0; i < node.outputs.size(); i++) {
      ValueId old = node.outputs[i];
      if (old == kNoValue) continue;
      Weight weight{.name = free_weight_name(graph_, graph_.value(old).name),
                    .shape = results[i].shape(),
                    .layout = layouts[i],
                    .encoding = {.values = results[i].dtype()}};
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
