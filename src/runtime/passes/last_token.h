#pragma once

#include "graph/graph.h"

namespace lacuna {

// A decoder whose outputs hold the last token of a call only: what is computed token by token behind the last attention (final norm,
// output head) is computed for that token alone. Outputs that do not come from such ops stay as they are. For a plan's own copy.
void keep_last_token(Graph& graph);

}  // namespace lacuna
