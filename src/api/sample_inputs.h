// Seeded inputs for a model that nobody gave inputs for: verify and bench.
#pragma once

#include "runtime/session.h"

namespace lacuna {

// Binds every symbol of the inputs: from `wanted`, else by what its name (batch, sequence, height ...) or, without a telling one, its
// place in the shape says: `batch`, `tokens`, or 224 for the sides of an image. Throws InvalidArgument if `wanted` names an unknown one.
Bindings bind_symbols(const Graph& graph, const Bindings& wanted, int64_t batch, int64_t tokens);

// Does the dimension take the batch?
bool counts_items(const Graph& graph, const std::string& symbol);

// Float inputs are standard normal; ids are below the vocabulary of the embedding they index; masks are ones; type ids are zeros.
TensorMap sample_inputs(const Graph& graph, const Bindings& bindings, uint64_t seed);

}  // namespace lacuna
