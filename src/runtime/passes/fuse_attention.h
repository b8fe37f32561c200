#pragma once

#include <functional>
#include <vector>

#include "graph/infer.h"
#include "runtime/plan_node.h"

namespace lacuna {

// The attention of a graph of quantize and dequantize nodes becomes one node: softmax(q k^T * scale + mask) v, where both operands of both products
// are rounded to codes of eight bits by one constant scale each; what is between may be rounded too. Transposes and constant factors of q, k and v
// become part of it, and the transpose of the result. Runs before fuse_rounding.
using TakesAttention = std::function<bool(const PlanNode& plan)>;
void fuse_attention(const Graph& graph, const std::vector<Fact>& facts, const std::vector<bool>& kept, const TakesAttention& takes,
                    std::vector<PlanNode>& nodes);

}  // namespace lacuna
