// gather(table, ids) along axis 0 of a constant float matrix -> embedding, whose ids still count from the end where they are negative.
#include "graph/passes/rewrite.h"

namespace lacuna::passes {

int64_t embedding(Graph& graph, const PassOptions&) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); i++) {
    const Node& node = rewriter.node(NodeId(i));
    if (node.op != Op::gather || node.attributes.integer("axis", 0) != 0 || graph.weight_of(node.inputs[1])) continue;
    const Weight* table = graph.weight_of(node.inputs[0]);
    // embedding gives f32 (or f64): a table of halves in a graph of halves stays a gather.
    DType dtype = graph.value(node.inputs[0]).dtype;
    if (!table || table->shape.size() != 2 || (dtype != DType::kF32 && dtype != DType::kF64)) continue;
    if (table->layout != MatrixLayout::kNone && table->layout != MatrixLayout::kOutIn) continue;
    graph.weights.edit(graph.value(node.inputs[0]).weight).layout = MatrixLayout::kOutIn;
    Attributes attributes;
    attributes.set("from_end", int64_t(1));
    rewriter.replace(node, Op::embedding, {node.inputs[1], node.inputs[0]}, std::move(attributes));
  }
  return rewriter.finish();
}

}  // namespace lacuna::passes
