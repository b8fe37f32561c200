// Seeded inputs for a model that nobody gave inputs for: verify and bench.
#pragma once

#include "runtime/session.h"

namespace lacuna {

// Binds every symbol: from `wanted`, else 1 for names like batch, else `tokens` for names like sequence or tokens, else 1.
Bindings bind_symbols(const Graph& graph, const Bindings& wanted, int64_t batch, int64_t tokens);

// Float inputs are standard normal; ids are below the vocabulary of the embedding they index; masks are ones; type ids are zeros.
TensorMap sample_inputs(const Graph& graph, const Bindings& bindings, uint64_t seed);

}  // namespace lacuna
