#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "runtime/plan_node.h"

namespace lacuna {

// The rounding of a tensor that quantize and dequantize nodes with one constant scale (and zero point) describe; nullopt for other nodes.
std::optional<InputRounding> static_rounding(const Graph& graph, const Node& node);

// Can this conv read codes of this rounding?
using TakesCodes = std::function<bool(const Node& node, const InputRounding& rounding)>;

// dequantize(quantize(x)) in front of a linear or conv of a weight becomes part of it: the node reads x and rounds it itself. Quantize and
// dequantize nodes that nothing reads then go. Results of nodes in `kept` (graph outputs) stay. A conv that takes codes
// reads those of the quantize node instead, or of max_pools behind it. A linear also rounds its result where such nodes alone read it. Runs before
// fuse_epilogues.
void fuse_rounding(const Graph& graph, const std::vector<bool>& kept, const TakesCodes& takes_codes, std::vector<PlanNode>& nodes);

// A conv that reads codes writes them too, where a quantize node alone reads its result, directly or through a max_pool; its residual is then
// read as codes. What nodes do to its codes alone before the next quantize node becomes a table of the conv (code_table.h). A global_average_pool of
// such codes, or of their relu, reads them; adds, muls, concats and splits of channels, max_pools and whole-number nearest resizes between dequantize
// and quantize nodes are done on them. Runs after fuse_epilogues.
void fuse_codes(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes);

// What is left of dequantize(quantize(x)): the end of a linear, a norm or arithmetic where it alone reads its result, else one step; none where the
// values were rounded by the same scale before. Runs last.
void fuse_pairs(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes);

// The norms and the arithmetic of which that is true: PlanNode::sum is then of their result.
bool rounds_result(Op op);

}  // namespace lacuna
