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

void fuse_rounding(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  std::map<ValueId, size_t> producer;
  for (size_t n = 0; n < nodes.size(); n++)
    for (ValueId v : nodes[n].node.outputs) producer[v] = n;
  auto made_by = [&](ValueId v, Op op) -> const Node* {
    auto it = producer.find(v);
    return it != producer.end() && nodes[it->second].node.op == op ? &nodes[it->second].node : nullptr;
  };
  for (PlanNode& plan : nodes) {
    if (!is_product(graph, plan.node)) continue;
    const Node* dequantize = made_by(plan.node.inputs[0], Op::dequantize);
    auto rounding = dequantize ? static_rounding(graph, *dequantize) : std::nullopt;
    if (!rounding) continue;
    plan.rounding = *rounding;
    const Node* quantize = made_by(dequantize->inputs[0], Op::quantize);
    if (quantize && static_rounding(graph, *quantize) == rounding) plan.node.inputs[0] = quantize->inputs[0];
  }
  // Later nodes first: a dequantize that goes may be the last reader of a quantize.
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

}  // namespace lacuna
