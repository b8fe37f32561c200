// layer_norm out of its parts:
//   d = x - mean(x); n = d / sqrt(mean(d^2) + epsilon); y = n * scale + bias       (PyTorch; scale and bias may be absent)
//   a = scale / sqrt(mean(d^2) + epsilon); y = x * a + (bias - mean(x) * a)        (TensorFlow)
#include "graph/passes/norm_patterns.h"

namespace lacuna::passes {
namespace {

Attributes norm_attributes(const RootMeanSquare& root) {
  Attributes attributes;
  attributes.set("axis", root.axis);
  attributes.set("epsilon", root.epsilon);
  return attributes;
}

// x, if `value` is x - mean(x).
ValueId match_centred(const Rewriter& rewriter, ValueId value, int64_t axis) {
  const Node* difference = rewriter.producer(value, Op::sub);
  if (!difference || match_mean(rewriter, difference->inputs[1], axis) != difference->inputs[0]) return kNoValue;
  return difference->inputs[0];
}

bool raise_quotient(Rewriter& rewriter, const Node& node) {
  auto quotient = match_quotient(rewriter, node);
  auto root = quotient ? match_root_mean_square(rewriter, quotient->divisor) : std::nullopt;
  if (!root) return false;
  ValueId x = match_centred(rewriter, root->squared, root->axis);
  // PyTorch once wrote the difference twice: both must be of the same x.
  if (x == kNoValue || match_centred(rewriter, quotient->dividend, root->axis) != x) return false;
  std::vector<ValueId> inputs = {x};
  const Node* last = &node;
  for (Op op : {Op::mul, Op::add}) {
    const Node* next = rewriter.only_user(last->outputs[0]);
    if (!next || next->op != op) break;
    ValueId parameter = rewriter.other_input(*next, last->outputs[0]);
    if (!is_norm_parameter(rewriter, parameter, root->axis)) break;
    inputs.push_back(parameter);
    last = next;
  }
  rewriter.replace(*last, Op::layer_norm, inputs, norm_attributes(*root), &node);
  return true;
}

bool raise_scaled_sum(Rewriter& rewriter, const Node& node) {
  for (size_t i = 0; i < 2; i++) {
    const Node* scaled = rewriter.producer(node.inputs[i], Op::mul);
    const Node* shift = rewriter.producer(node.inputs[1 - i], Op::sub);
    const Node* scaled_mean = shift ? rewriter.producer(shift->inputs[1], Op::mul) : nullptr;
    if (!scaled || !scaled_mean) continue;
    for (size_t k = 0; k < 2; k++) {
      ValueId x = scaled->inputs[k], a = scaled->inputs[1 - k];
      const Node* factor = rewriter.producer(a, Op::mul);
      ValueId mean = rewriter.other_input(*scaled_mean, a);
      if (!factor || mean == kNoValue) continue;
      for (size_t m = 0; m < 2; m++) {
        ValueId divisor = match_reciprocal(rewriter, factor->inputs[m]), scale = factor->inputs[1 - m];
        auto root = divisor == kNoValue ? std::nullopt : match_root_mean_square(rewriter, divisor);
        if (!root || match_centred(rewriter, root->squared, root->axis) != x || match_mean(rewriter, mean, root->axis) != x) continue;
        if (!is_norm_parameter(rewriter, scale, root->axis) || !is_norm_parameter(rewriter, shift->inputs[0], root->axis)) continue;
        rewriter.replace(node, Op::layer_norm, {x, scale, shift->inputs[0]}, norm_attributes(*root));
        return true;
      }
    }
  }
  return false;
}

}  // namespace

int64_t layer_norm(Graph& graph, const PassOptions&) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); i++) {
    const Node& node = rewriter.node(NodeId(i));
    if (node.op == Op::div || node.op == Op::mul) raise_quotient(rewriter, node);
    if (node.op == Op::add) raise_scaled_sum(rewriter, node);
  }
  return rewriter.finish();
}

}  // namespace lacuna::passes
