#include "graph/passes/rewrite.h"

namespace lacuna::passes {

int64_t dead_code(Graph& graph, const PassOptions&) { return remove_dead_nodes(graph); }

}  // namespace lacuna::passes
