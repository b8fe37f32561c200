#pragma once

#include <vector>

#include "runtime/plan_node.h"

namespace lacuna {

// Adds and muls of pictures, or of one and a number for each channel, concats and splits of channels, max_pools and nearest resizes by whole factors,
// of values that stand for codes and are rounded to codes again, are done to the codes (PlanNode::coded). Results of nodes in `kept` stay. Part of
// fuse_codes.
void fuse_coded_steps(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes);

}  // namespace lacuna
