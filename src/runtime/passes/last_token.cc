#include "runtime/passes/last_token.h"

#include <cstdint>

#include "base/cat.h"
#include "graph/infer.h"

namespace lacuna {
namespace {

// Ops that treat each token [b, t, :] on its own, with all other inputs being weights.
bool is_per_token(const Graph& graph, const Node& node) {
  switch (node.op) {
    case Op::linear:
    case Op::rms_norm:
    case Op::layer_norm:
    case Op::mul:
    case Op::div:
    case Op::add:
    case Op::tanh:
    case Op::gelu:
    case Op::silu:
    case Op::relu:
    case Op::clip:
    case Op::identity:
    case Op::cast: break;
    default: return false;
  }
  auto& shape = graph.value(node.outputs[0]).shape;
  if (node.outputs.size() != 1 || !shape || shape->size() != 3) return false;
  for (size_t i = 1; i < node.inputs.size(); i++) {
    if (node.inputs[i] == kNoValue) continue;
    const Weight* weight = graph.weight_of(node.inputs[i]);
    if (!weight || (node.op != Op::linear && weight->shape.size() > 1)) return false;
  }
  auto& in = graph.value(node.inputs[0]).shape;
  return in && in->size() == 3 && graph.value(node.inputs[0]).kind == ValueKind::kResult;
}

ValueId add_integers(Graph& graph, std::string name, int64_t value) {
  Weight weight{.name = std::move(name),
                .shape = {1},
                .encoding = {.values = DType::kS64},
                .source = in_memory({.values = Tensor::of<int64_t>({1}, std::vector<int64_t>{value})})};
  return graph.add_weight(graph.weights.add(std::move(weight)));
}

}  // namespace

void keep_last_token(Graph& graph) {
  infer_shapes(graph);
  ValueId start = add_integers(graph, "last token: start", -1), end = add_integers(graph, "last token: end", INT64_MAX),
          axis = add_integers(graph, "last token: axis", 1);
  for (auto& output : graph.edit_outputs()) {
    // Back to the first of the per-token ops that nothing else reads.
    ValueId first = kNoValue, at = output.value;
    while (graph.value(at).producer >= 0 && is_per_token(graph, graph.node(graph.value(at).producer)) && graph.users(at).size() <= 1) {
      first = at;
      at = graph.node(graph.value(at).producer).inputs[0];
    }
    if (first == kNoValue) continue;
    NodeId head = graph.value(first).producer;
    ValueId last = graph.add(Op::slice, {at, start, end, axis}, {}, cat("last token of ", output.name));
    graph.edit_node(head).inputs[0] = last;
  }
  graph.sort_topologically();
  infer_shapes(graph);
}

}  // namespace lacuna
