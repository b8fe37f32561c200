#pragma once

#include <vector>

#include "runtime/plan_node.h"

namespace lacuna {

// What ONNX calls dynamic quantization, DynamicQuantizeLinear, MatMulInteger, Cast and Mul by both scales, becomes a linear that rounds what it
// reads (kPerTensor) and a product with the scale of the weight. Runs before fuse_rounding.
void fuse_dynamic(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes);

}  // namespace lacuna
