// The part that layer_norm and rms_norm share: sqrt(mean(square) + epsilon) over the last axes.
#pragma once

#include "graph/passes/rewrite.h"

namespace lacuna::passes {

struct RootMeanSquare {
  ValueId squared;  // the value whose square is averaged
  int64_t axis;     // first of the averaged axes, from the end
  double epsilon;
};
// Does `value` hold the root of a mean square plus epsilon?
std::optional<RootMeanSquare> match_root_mean_square(const Rewriter& rewriter, ValueId value);

// x / root, written as div(x, root), x * reciprocal(root) or x * (1 / root).
struct Quotient {
  ValueId dividend, divisor;
};
std::optional<Quotient> match_quotient(const Rewriter& rewriter, const Node& node);
// reciprocal(root) or 1 / root; kNoValue if `value` is neither.
ValueId match_reciprocal(const Rewriter& rewriter, ValueId value);

// The mean over the axes [axis, -1] with kept dimensions; kNoValue if `value` is none.
ValueId match_mean(const Rewriter& rewriter, ValueId value, int64_t axis);

// Is the value a float constant with one dimension per normalised axis?
bool is_norm_parameter(Rewriter& rewriter, ValueId value, int64_t axis);

}  // namespace lacuna::passes
