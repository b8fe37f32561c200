// matmul(x, W) -> linear with W [in, out]; matmul(x, transpose(W)) -> linear with W [out, in]; a bias [out] added to the
// result is taken in; a linear between two reshapes that only fold and unfold the leading axes takes the unfolded input.
// The weight stays as it is in the source: its layout says which way it lies.
#include <algorithm>

#include "graph/passes/rewrite.h"

namespace lacuna::passes {
namespace {

struct Matrix {
  ValueId value;
  MatrixLayout layout;
};

// The constant matrix that multiplies from the right, seen through a transpose and through casts between floats.
std::optional<Matrix> matrix_of(const Rewriter& rewriter, const Graph& graph, const Node& node) {
  ValueId value = node.inputs[1];
  bool transposed = node.attributes.integer("transpose_b", 0) != 0;
  for (const Node* up = rewriter.producer(value); up; up = rewriter.producer(value)) {
    bool flips =
        up->op == Op::transpose && rewriter.rank(up->inputs[0]) == 2 && up->attributes.integers("perm", {1, 0}) == std::vector<int64_t>{1, 0};
    bool casts = up->op == Op::cast && is_float(rewriter.dtype(up->inputs[0])) && is_float(rewriter.dtype(value));
    if (!flips && !casts) return std::nullopt;
    transposed = transposed != flips;
    value = up->inputs[0];
  }
  const Weight* weight = graph.weight_of(value);
  if (!weight || weight->shape.size() != 2 || !is_float(graph.value(value).dtype)) return std::nullopt;
  MatrixLayout layout = transposed ? MatrixLayout::kOutIn : MatrixLayout::kInOut;
  if (weight->layout != MatrixLayout::kNone && weight->layout != layout) return std::nullopt;
  return Matrix{value, layout};
}

bool is_bias(const Graph& graph, ValueId value, const Dim& width) {
  const Weight* weight = graph.weight_of(value);
  return weight && weight->shape.size() == 1 && Dim(weight->shape[0]) == width && is_float(graph.value(value).dtype);
}

// reshape(linear(reshape(x, [-1, in])), [..., out]) -> linear(x), as GPT-2 is written.
bool unfold(Rewriter& rewriter, const Node& node) {
  const Node* product = rewriter.producer(node.inputs[0], Op::linear);
  const Node* folded = product && rewriter.single_use(node.inputs[0]) ? rewriter.producer(product->inputs[0], Op::reshape) : nullptr;
  if (!folded) return false;
  auto *in = rewriter.shape(folded->inputs[0]), *flat = rewriter.shape(product->inputs[0]), *wide = rewriter.shape(product->outputs[0]);
  auto* out = rewriter.shape(node.outputs[0]);
  if (!in || !flat || !wide || !out || in->empty() || in->size() != out->size()) return false;
  if (!(in->back() == flat->back()) || !(out->back() == wide->back()) || !std::equal(in->begin(), in->end() - 1, out->begin())) return false;
  std::vector<ValueId> inputs = product->inputs;
  inputs[0] = folded->inputs[0];
  rewriter.replace(node, Op::linear, inputs, product->attributes, product);
  return true;
}

}  // namespace

int64_t linear(Graph& graph, const PassOptions&) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); i++) {
    const Node& node = rewriter.node(NodeId(i));
    if (node.op == Op::reshape) unfold(rewriter, node);
    if (node.op == Op::add) {
      for (size_t side = 0; side < 2; side++) {
        const Node* product = rewriter.producer(node.inputs[side], Op::linear);
        if (!product || product->inputs.size() != 2 || !rewriter.single_use(node.inputs[side])) continue;
        const SymShape& weight = *rewriter.shape(product->inputs[1]);
        if (!is_bias(graph, node.inputs[1 - side], weight[linear_is_in_out(graph, *product) ? 1 : 0])) continue;
        rewriter.replace(node, Op::linear, {product->inputs[0], product->inputs[1], node.inputs[1 - side]}, product->attributes, product);
        break;
      }
      continue;
    }
    if (node.op != Op::matmul || node.attributes.integer("transpose_a", 0) || node.attributes.number("scale", 1) != 1) continue;
    auto matrix = matrix_of(rewriter, graph, node);
    if (!matrix || graph.weight_of(node.inputs[0])) continue;
    graph.weights.edit(graph.value(matrix->value).weight).layout = matrix->layout;
    rewriter.replace(node, Op::linear, {node.inputs[0], matrix->value}, {});
  }
  return rewriter.finish();
}

}  // namespace lacuna::passes
