// Which models treat the items of a batch each on its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "graph/infer.h"

namespace lacuna {

// The dimension that counts items is the first of every result, and of the inputs that have it at all; what is computed of an item follows from
// that item alone. Items may come as several rows each, [symbol * n, ...]. Two symbols are never taken for one.
struct Items {
  std::string symbol;
  std::vector<bool> inputs;  // of the graph: those laid out by items; the others are shared
};

// nullopt: items depend on each other, or may do so. Decided from shapes and ops: an op that is not known to keep items apart joins them.
std::optional<Items> separate_items(const Graph& graph);

// Multiplications by weights in a run with these bindings, and of those the ones by weights that meet at most `few` rows of tokens or pixels.
struct Products {
  double all = 0, of_few_rows = 0;
};
Products products_of(const Graph& graph, const Bindings& bindings, int64_t few);

}  // namespace lacuna
