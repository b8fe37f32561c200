// What a recipe that quantizes leaves in floats.
#pragma once

#include <span>
#include <vector>

#include "graph/graph.h"
#include "lacuna/prune.h"

namespace lacuna {

// The weights with a float encoding by why they have it, most bytes first. `bytes` holds what each weight of the Graph takes, by id; those behind its
// end are not counted.
std::vector<KeptFloats> kept_floats(const Graph& graph, std::span<const int64_t> bytes);

}  // namespace lacuna
