// Seeded inputs for a model that nobody gave inputs for: verify and bench.
#pragma once

#include <optional>

#include "runtime/session.h"

namespace lacuna {

// Binds every symbol of the inputs: from `wanted`, else by what its name (batch, sequence, height ...) or, without a telling one, its
// place in the shape says: `batch`, `tokens`, or 224 for the sides of an image. Throws InvalidArgument if `wanted` names an unknown one.
Bindings bind_symbols(const Graph& graph, const Bindings& wanted, int64_t batch, int64_t tokens);

// Tokens of a sequence that the inputs hold: the dimension of the first that is one of tokens, open and bound or fixed in an input of ids of two
// dimensions; 0 if there is none.
int64_t tokens_of(const Graph& graph, const Bindings& bindings);

// Does the dimension count the items of a batch? Of several that might, and of which none says so (the nodes and the edges of a graph), none does.
bool counts_items(const Graph& graph, const std::string& symbol);

// The batch to time: the one wanted, else 1. A model without a dimension that is open to a batch has the leading size of its first
// input; throws InvalidArgument if another one, or less than 1, is wanted.
int64_t batch_for(const Graph& graph, std::optional<int64_t> wanted);

// Float inputs are standard normal; ids are below the vocabulary of the embedding they index; masks are ones; type ids are zeros.
TensorMap sample_inputs(const Graph& graph, const Bindings& bindings, uint64_t seed);

// session.run(inputs) of such inputs: InvalidData also says which sizes were tried, as a model may not take all that its dimensions allow.
TensorMap run_on_samples(Session& session, const TensorMap& inputs, const Bindings& bindings);

}  // namespace lacuna
