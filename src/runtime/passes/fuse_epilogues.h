#pragma once

#include "graph/infer.h"
#include "runtime/plan_node.h"

namespace lacuna {

// Biases, residual additions and activations that follow a linear or conv of a weight become part of it, where nothing else reads
// what is between. The fused node takes the place of the last one. Results of nodes in `kept` (graph outputs) are never fused away.
void fuse_epilogues(const Graph& graph, const std::vector<Fact>& facts, const std::vector<bool>& kept, std::vector<PlanNode>& nodes);

// The kernels' name of an activation node, with its parameters; nullopt if there is none.
struct FusedActivation {
  kernels::Activation activation;
  float alpha = 0, beta = 0;
};
std::optional<FusedActivation> activation_of(const Graph& graph, const Node& node);

}  // namespace lacuna
