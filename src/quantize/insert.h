// Rounding of activations with calibrated scales, written into a Graph as quantize and dequantize nodes.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "graph/graph.h"

namespace lacuna {

// What is rounded for some products (linear and conv nodes): their inputs, and the other operand of an addition to their result, so that
// a residual stays in codes. Products that read the result of a dequantize node are left as they are.
struct RoundingPlan {
  std::map<ValueId, std::vector<NodeId>> readers;  // by rounded value: the nodes that then read it rounded
};
RoundingPlan plan_rounding(const Graph& graph, const std::set<NodeId>& products);

// Puts quantize and dequantize nodes (s8, zero point 0) behind each value of the plan, in front of its readers. Scales are weights named
// VALUE_scale and VALUE_zero_point.
void insert_rounding(Graph& graph, const RoundingPlan& plan, const std::map<ValueId, float>& scales);

}  // namespace lacuna
