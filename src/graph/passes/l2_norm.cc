// x / max(||x||, epsilon) along one axis -> l2_norm. As PyTorch writes it: ReduceL2, Clip (or Max), Expand to the shape of x, Div.
#include "graph/passes/rewrite.h"

namespace lacuna::passes {
namespace {

// The lower bound of a clip without an upper one, or of a maximum with a constant; `value` becomes what is bounded.
std::optional<double> match_lower_bound(const Rewriter& rewriter, ValueId& value) {
  const Node* node = rewriter.producer(value);
  if (!node) return std::nullopt;
  if (node->op == Op::maximum && node->inputs.size() == 2) {
    auto bound = rewriter.with_scalar(*node);
    if (!bound) return std::nullopt;
    value = bound->value;
    return bound->constant;
  }
  bool upper = node->attributes.has("max") || (node->inputs.size() > 2 && node->inputs[2] != kNoValue);
  if (node->op != Op::clip || upper) return std::nullopt;
  auto bound = node->inputs.size() > 1 ? rewriter.scalar(node->inputs[1]) : std::optional(node->attributes.number("min", 0));
  value = node->inputs[0];
  return bound;
}

}  // namespace

int64_t l2_norm(Graph& graph, const PassOptions&) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); i++) {
    const Node& node = rewriter.node(NodeId(i));
    if (node.op != Op::div) continue;
    ValueId x = node.inputs[0], divisor = node.inputs[1];
    if (const Node* expanded = rewriter.producer(divisor, Op::expand)) {
      const Node* shape = rewriter.producer(expanded->inputs[1], Op::shape_of);
      bool same = shape ? shape->inputs[0] == x : rewriter.shape(x) && rewriter.shape(divisor) && *rewriter.shape(x) == *rewriter.shape(divisor);
      if (!same) continue;
      divisor = expanded->inputs[0];
    }
    auto epsilon = match_lower_bound(rewriter, divisor);
    const Node* norm = epsilon ? rewriter.producer(divisor, Op::reduce_l2) : nullptr;
    if (!norm || norm->inputs[0] != x || !norm->attributes.integer("keepdims", 1)) continue;
    auto axes = norm->inputs.size() > 1 ? rewriter.integers(norm->inputs[1]) : norm->attributes.integers("axes");
    if (!axes || axes->size() != 1) continue;
    Attributes attributes;
    attributes.set("axis", (*axes)[0]);
    attributes.set("epsilon", *epsilon);
    attributes.set("p", int64_t(2));
    rewriter.replace(node, Op::l2_norm, {x}, attributes);
  }
  return rewriter.finish();
}

}  // namespace lacuna::passes
