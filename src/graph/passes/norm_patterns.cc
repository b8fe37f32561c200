#include "graph/passes/norm_patterns.h"

namespace lacuna::passes {

std::optional<RootMeanSquare> match_root_mean_square(const Rewriter& rewriter, ValueId value) {
  const Node* root = rewriter.producer(value, Op::sqrt);
  if (!root) {
    root = rewriter.producer(value, Op::pow);
    if (!root || !rewriter.is_scalar(root->inputs[1], 0.5)) return std::nullopt;
  }
  const Node* sum = rewriter.producer(root->inputs[0], Op::add);
  auto epsilon = sum ? rewriter.with_scalar(*sum) : std::nullopt;
  const Node* mean = epsilon ? rewriter.producer(epsilon->value, Op::reduce_mean) : nullptr;
  if (!mean || !mean->attributes.integer("keepdims", 1)) return std::nullopt;
  auto axis = rewriter.trailing_axes(*mean);
  const Node* square = rewriter.producer(mean->inputs[0]);
  if (!axis || !square) return std::nullopt;
  bool power = square->op == Op::pow && rewriter.is_scalar(square->inputs[1], 2);
  bool product = square->op == Op::mul && square->inputs[0] == square->inputs[1];
  if (!power && !product) return std::nullopt;
  return RootMeanSquare{square->inputs[0], *axis, epsilon->constant};
}

ValueId match_reciprocal(const Rewriter& rewriter, ValueId value) {
  const Node* node = rewriter.producer(value);
  if (node && node->op == Op::reciprocal) return node->inputs[0];
  if (node && node->op == Op::div && rewriter.is_scalar(node->inputs[0], 1)) return node->inputs[1];
  return kNoValue;
}

std::optional<Quotient> match_quotient(const Rewriter& rewriter, const Node& node) {
  if (node.op == Op::div) return Quotient{node.inputs[0], node.inputs[1]};
  if (node.op != Op::mul) return std::nullopt;
  for (size_t i = 0; i < 2; i++)
    if (ValueId root = match_reciprocal(rewriter, node.inputs[i]); root != kNoValue) return Quotient{node.inputs[1 - i], root};
  return std::nullopt;
}

ValueId match_mean(const Rewriter& rewriter, ValueId value, int64_t axis) {
  const Node* mean = rewriter.producer(value, Op::reduce_mean);
  if (!mean || !mean->attributes.integer("keepdims", 1) || rewriter.trailing_axes(*mean) != axis) return kNoValue;
  return mean->inputs[0];
}

bool is_norm_parameter(Rewriter& rewriter, ValueId value, int64_t axis) {
  const Weight* weight = rewriter.graph().weight_of(value);
  return weight && int64_t(weight->shape.size()) == -axis && is_float(rewriter.dtype(value));
}

}  // namespace lacuna::passes
