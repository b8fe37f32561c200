#include "runtime/passes/fuse_epilogues.h"

#include <algorithm>
#include <limits>
#include <set>

namespace lacuna {
namespace {

// A bound of clip: the attribute, or a constant scalar input; nullopt if it is only known at run time.
std::optional<float> clip_bound(const Graph& graph, const Node& node, size_t input, const char* name, float fallback) {
  if (input >= node.inputs.size() || node.inputs[input] == kNoValue) return float(node.attributes.number(name, fallback));
  const Weight* weight = graph.weight_of(node.inputs[input]);
  if (!weight || weight->size() != 1) return std::nullopt;
  return decode_f32(*weight, weight->load()).data<float>()[0];
}

class Fuser {
 public:
  Fuser(const Graph& graph, const std::vector<Fact>& facts, const std::vector<bool>& kept, std::vector<PlanNode>& nodes)
      : graph_(graph),
        facts_(facts),
        kept_(kept),
        nodes_(nodes),
        alive_(nodes.size(), true),
        users_(graph.values().size()),
        uses_(graph.values().size(), 0) {
    for (size_t n = 0; n < nodes.size(); n++) {
      for (ValueId v : nodes[n].node.inputs)
        if (v != kNoValue) users_[size_t(v)] = n, uses_[size_t(v)]++;
      if (nodes[n].node.op == Op::dequantize && graph.weight_of(nodes[n].node.inputs[0]) && nodes[n].node.outputs.size() == 1)
        dequantized_.insert(nodes[n].node.outputs[0]);
    }
  }

  void run() {
    // Later products first: of two that are added, the later one takes the sum and the other is its residual.
    for (size_t n = nodes_.size(); n-- > 0;) {
      size_t at = n;
      while (is_product(nodes_[at])) {
        std::optional<size_t> next = fuse_user(at);
        if (!next) break;
        at = *next;
      }
    }
    size_t out = 0;
    for (size_t n = 0; n < nodes_.size(); n++)
      if (alive_[n] && out++ != n) nodes_[out - 1] = std::move(nodes_[n]);
    nodes_.resize(out);
  }

 private:
  // Of the products only those that one call of a kernel runs: volumes are put together from slices.
  bool is_product(const PlanNode& p) const {
    if (p.node.op != Op::linear && p.node.op != Op::conv) return false;
    const Weight* weight = graph_.weight_of(p.node.inputs[1]);
    return weight && weight->shape.size() <= 4;
  }

  std::optional<std::vector<int64_t>> shape_of(ValueId v) const {
    auto& shape = facts_[size_t(v)].shape;
    return shape ? constant_shape(*shape) : std::nullopt;
  }

  // Fuses the only reader of a product's result; the new position of the product, or nullopt.
  std::optional<size_t> fuse_user(size_t at) {
    PlanNode& product = nodes_[at];
    if (product.sum) return std::nullopt;
    ValueId result = product.node.outputs[0];
    if (uses_[size_t(result)] != 1 || kept_[size_t(result)]) return std::nullopt;
    size_t user = users_[size_t(result)];
    const PlanNode& next = nodes_[user];
    PlanNode fused = product;
    if (next.node.op == Op::add && next.activation == kernels::Activation::kNone) {
      ValueId other = next.node.inputs[next.node.inputs[0] == result ? 1 : 0];
      if (!add_bias(fused, other, result) && !add_residual(fused, other, result)) return std::nullopt;
    } else if (auto activation = activation_of(graph_, next.node); activation && product.activation == kernels::Activation::kNone) {
      fused.activation = activation->activation, fused.alpha = activation->alpha, fused.beta = activation->beta;
    } else {
      return std::nullopt;
    }
    fused.node.outputs = next.node.outputs;
    nodes_[user] = std::move(fused);
    alive_[at] = false;
    for (ValueId v : nodes_[user].node.inputs)
      if (v != kNoValue && users_[size_t(v)] == at) users_[size_t(v)] = user;
    return user;
  }

  // A vector along the output features, for a product that has no bias, residual or activation yet.
  bool add_bias(PlanNode& product, ValueId other, ValueId result) const {
    auto shape = shape_of(result), vector = shape_of(other);
    bool constant = graph_.weight_of(other) || dequantized_.contains(other);
    if (!constant || product.has(2) || product.has(3) || product.activation != kernels::Activation::kNone || !shape || !vector) return false;
    size_t channel_axis = product.node.op == Op::conv ? shape->size() - 1 : 1;  // counted from the end
    int64_t channels = (*shape)[shape->size() - channel_axis];
    if (vector->size() > shape->size() || element_count(*vector) != channels) return false;
    if (vector->size() < channel_axis || (*vector)[vector->size() - channel_axis] != channels) return false;
    product.node.inputs.resize(2);
    product.node.inputs.push_back(other);
    return true;
  }

  bool add_residual(PlanNode& product, ValueId other, ValueId result) const {
    auto shape = shape_of(result), added = shape_of(other);
    if (product.has(3) || product.activation != kernels::Activation::kNone || !shape || shape != added || other == result) return false;
    if (!is_float(facts_[size_t(other)].dtype) || graph_.value(other).kind == ValueKind::kWeight) return false;
    product.node.inputs.resize(3, kNoValue);
    product.node.inputs.push_back(other);
    return true;
  }

  const Graph& graph_;
  const std::vector<Fact>& facts_;
  const std::vector<bool>& kept_;
  std::vector<PlanNode>& nodes_;
  std::vector<bool> alive_;
  std::vector<size_t> users_;      // the last node that reads each value
  std::vector<int64_t> uses_;      // how often each value is read
  std::set<ValueId> dequantized_;  // codes of the model as numbers: biases are read in each run, so their scale may be made there
};

}  // namespace

std::optional<FusedActivation> activation_of(const Graph& graph, const Node& node) {
  using enum kernels::Activation;
  auto number = [&](const char* name, double fallback) { return float(node.attributes.number(name, fallback)); };
  switch (node.op) {
    case Op::relu: return FusedActivation{kRelu};
    case Op::gelu: return FusedActivation{node.attributes.text("approximate", "none") == "tanh" ? kGeluTanh : kGelu};
    case Op::silu: return FusedActivation{kSilu};
    case Op::tanh: return FusedActivation{kTanh};
    case Op::sigmoid: return FusedActivation{kSigmoid};
    case Op::hard_swish: return FusedActivation{kHardSwish};
    case Op::hard_sigmoid: return FusedActivation{kHardSigmoid, number("alpha", 0.2), number("beta", 0.5)};
    case Op::leaky_relu: return FusedActivation{kLeakyRelu, number("alpha", 0.01), 0};
    case Op::clip: {
      constexpr float kInfinity = std::numeric_limits<float>::infinity();
      auto low = clip_bound(graph, node, 1, "min", -kInfinity), high = clip_bound(graph, node, 2, "max", kInfinity);
      if (!low || !high) return std::nullopt;
      return FusedActivation{kClip, *low, *high};
    }
    default: return std::nullopt;
  }
}

void fuse_epilogues(const Graph& graph, const std::vector<Fact>& facts, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  Fuser(graph, facts, kept, nodes).run();
}

}  // namespace lacuna
