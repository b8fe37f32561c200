// scale * (x / sqrt(mean(x^2) + epsilon)) -> rms_norm
#include "graph/passes/norm_patterns.h"

namespace lacuna::passes {

int64_t rms_norm(Graph& graph, const PassOptions&) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); i++) {
    const Node& node = rewriter.node(NodeId(i));
    auto quotient = match_quotient(rewriter, node);
    auto root = quotient ? match_root_mean_square(rewriter, quotient->divisor) : std::nullopt;
    if (!root || root->squared != quotient->dividend) continue;
    const Node* scaled = rewriter.only_user(node.outputs[0]);
    if (!scaled || scaled->op != Op::mul) continue;
    ValueId scale = rewriter.other_input(*scaled, node.outputs[0]);
    if (!is_norm_parameter(rewriter, scale, root->axis)) continue;
    Attributes attributes;
    attributes.set("axis", root->axis);
    attributes.set("epsilon", root->epsilon);
    rewriter.replace(*scaled, Op::rms_norm, {root->squared, scale}, attributes, &node);
  }
  return rewriter.finish();
}

}  // namespace lacuna::passes
