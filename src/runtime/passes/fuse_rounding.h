#pragma once

#include "runtime/plan_node.h"

namespace lacuna {

// The rounding of a tensor that quantize and dequantize nodes with one constant scale (and zero point) describe; nullopt for other nodes.
std::optional<InputRounding> static_rounding(const Graph& graph, const Node& node);

// dequantize(quantize(x)) in front of a linear or conv of a weight becomes part of it: the node reads x and rounds it itself. Quantize and
// dequantize nodes that nothing reads then go. Results of nodes in `kept` (graph outputs) stay. Runs before fuse_epilogues.
void fuse_rounding(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes);

}  // namespace lacuna
