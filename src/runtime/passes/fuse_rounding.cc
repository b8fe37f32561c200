#include "runtime/passes/fuse_rounding.h"

#include <algorithm>
#include <map>

namespace lacuna {
namespace {

// The number a constant of one element holds.
std::optional<double> constant_of(const Graph& graph, ValueId value) {
  const Weight* weight = graph.weight_of(value);
  if (!weight || weight->size() != 1) return std::nullopt;
  WeightData data = weight->load();
  if (weight->encoding.granularity != Encoding::Granularity::kNone || bits_of(data.values.dtype()) < 8) return std::nullopt;
  return data.values.to(DType::kF32).data<float>()[0];
}

bool is_product(const Graph& graph, const Node& node) { return (node.op == Op::linear || node.op == Op::conv) && graph.weight_of(node.inputs[1]); }

bool is_clip(kernels::Activation a) {
  using enum kernels::Activation;
  return a == kNone || a == kRelu || a == kRelu6 || a == kClip;
}

// Who makes and who reads each value.
class Uses {
 public:
  Uses(const Graph& graph, std::vector<PlanNode>& nodes) : nodes_(nodes), maker_(graph.values().size(), -1), readers_(graph.values().size()) {
    for (size_t n = 0; n < nodes.size(); n++) {
      for (ValueId v : nodes[n].node.outputs)
        if (v != kNoValue) maker_[size_t(v)] = int64_t(n);
      for (ValueId v : nodes[n].node.inputs)
        if (v != kNoValue) readers_[size_t(v)].push_back(n);
    }
  }
  PlanNode* maker(ValueId v) const { return maker_[size_t(v)] < 0 ? nullptr : &nodes_[size_t(maker_[size_t(v)])]; }
  const Node* made_by(ValueId v, Op op) const {
    PlanNode* plan = maker(v);
    return plan && plan->node.op == op ? &plan->node : nullptr;
  }
  PlanNode* only_reader(ValueId v, const std::vector<bool>& kept) const {
    return readers_[size_t(v)].size() == 1 && !kept[size_t(v)] ? &nodes_[readers_[size_t(v)][0]] : nullptr;
  }

 private:
  std::vector<PlanNode>& nodes_;
  std::vector<int64_t> maker_;
  std::vector<std::vector<size_t>> readers_;
};

// Quantize and dequantize nodes that nothing reads; later ones first, as they may be the last readers of earlier ones.
void remove_unread(const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  std::map<ValueId, int> uses;
  for (PlanNode& plan : nodes)
    for (ValueId v : plan.node.inputs) uses[v]++;
  std::vector<PlanNode> left;
  for (size_t n = nodes.size(); n-- > 0;) {
    const Node& node = nodes[n].node;
    bool rounds = node.op == Op::quantize || node.op == Op::dequantize;
    if (rounds && uses[node.outputs[0]] == 0 && !kept[size_t(node.outputs[0])]) {
      for (ValueId v : node.inputs) uses[v]--;
      continue;
    }
    left.push_back(std::move(nodes[n]));
  }
  std::reverse(left.begin(), left.end());
  nodes = std::move(left);
}

}  // namespace

std::optional<InputRounding> static_rounding(const Graph& graph, const Node& node) {
  if (node.op != Op::quantize && node.op != Op::dequantize) return std::nullopt;
  DType type = graph.value(node.op == Op::quantize ? node.outputs[0] : node.inputs[0]).dtype;
  if (type != DType::kS8 && type != DType::kU8) return std::nullopt;
  auto scale = constant_of(graph, node.inputs[1]);
  bool has_zero = node.inputs.size() > 2 && node.inputs[2] != kNoValue;
  auto zero = has_zero ? constant_of(graph, node.inputs[2]) : std::optional(0.0);
  if (!scale || !zero || !(*scale > 0)) return std::nullopt;
  return InputRounding{.kind = InputRounding::Kind::kStatic, .scale = float(*scale), .zero_point = int32_t(*zero), .type = type};
}

void fuse_rounding(const Graph& graph, const std::vector<bool>& kept, const TakesCodes& takes_codes, std::vector<PlanNode>& nodes) {
  Uses uses(graph, nodes);
  for (PlanNode& plan : nodes) {
    if (!is_product(graph, plan.node)) continue;
    const Node* dequantize = uses.made_by(plan.node.inputs[0], Op::dequantize);
    auto rounding = dequantize ? static_rounding(graph, *dequantize) : std::nullopt;
    if (!rounding) continue;
    plan.rounding = *rounding;
    PlanNode* quantize = uses.maker(dequantize->inputs[0]);
    bool same = quantize && quantize->node.op == Op::quantize && static_rounding(graph, quantize->node) == rounding;
    if (same && plan.node.op == Op::conv && takes_codes(plan.node, *rounding)) {
      plan.codes = quantize->codes = true;
      plan.node.inputs[0] = quantize->node.outputs[0];
    } else if (same) {
      plan.node.inputs[0] = quantize->node.inputs[0];
    }
  }
  remove_unread(kept, nodes);
}

void fuse_codes(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  Uses uses(graph, nodes);
  // Later convolutions first: whether an earlier one writes codes may depend on whether its result is read as a residual of codes.
  for (size_t n = nodes.size(); n-- > 0;) {
    PlanNode& plan = nodes[n];
    if (!plan.codes || plan.node.op != Op::conv || !is_clip(plan.activation)) continue;
    const Node* residual = plan.has(3) ? uses.made_by(plan.node.inputs[3], Op::dequantize) : nullptr;
    auto residual_rounding = residual ? static_rounding(graph, *residual) : std::nullopt;
    PlanNode* residual_maker = residual ? uses.maker(residual->inputs[0]) : nullptr;
    if (plan.has(3) && (!residual_rounding || !residual_maker)) continue;
    PlanNode *next = uses.only_reader(plan.node.outputs[0], kept), *pool = nullptr;
    if (next && next->node.op == Op::max_pool && next->node.outputs.size() == 1) pool = next, next = uses.only_reader(pool->node.outputs[0], kept);
    if (!next || next->node.op != Op::quantize || !next->codes) continue;
    auto output = static_rounding(graph, next->node);
    if (!output) continue;
    plan.output = *output;
    (pool ? pool : &plan)->node.outputs = next->node.outputs;
    if (pool) pool->codes = true;
    next->node.outputs.clear();
    if (!residual) continue;
    plan.residual_codes = *residual_rounding;
    plan.node.inputs[3] = residual->inputs[0];
    if (residual_maker->node.op == Op::quantize) residual_maker->codes = true;
  }
  std::erase_if(nodes, [](const PlanNode& plan) { return plan.node.op == Op::quantize && plan.node.outputs.empty(); });
  remove_unread(kept, nodes);
}

}  // namespace lacuna
