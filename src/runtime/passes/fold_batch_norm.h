#pragma once

#include "graph/graph.h"

namespace lacuna {

// batch_norm(conv(x, w) + b) = conv(x, w s) + (b - mean) s + bias with s = scale / sqrt(variance + epsilon), and the same for linear,
// where the convolution's result has no other use. Adds derived weights to `graph` (a plan's own copy), computed from the sources
// when they are loaded; source weights, zeros and masks stay as they are. Returns the number of batch norms folded.
int64_t fold_batch_norms(Graph& graph);

}  // namespace lacuna
