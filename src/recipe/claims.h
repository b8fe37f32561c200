// Which weights each line of a recipe claims.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "lacuna/prune.h"

namespace lacuna {

// True if `selector` names this weight: its own name, the name without ".weight", the node that uses it, the block path,
// an op type (Linear, Conv2d, linear, conv), or re:REGEX matched from the start of the weight's or node's name (Python's re.match).
bool selects(const std::string& selector, const Weight& weight, const WeightUse& use, const Node& node);

struct Claim {
  WeightUse use;
  bool by_name = false;                 // a target names it alone, so that a misfit is an error rather than a remark
  std::optional<double> override_sparsity;
};

// The claims of every line of a stage, in the order of the Graph. Throws InvalidArgument, before anything is done, on a
// target, ignore, include or override that matches nothing, and on two lines that claim one weight, naming all of them.
std::vector<std::vector<Claim>> claim_weights(const Graph& graph, const Stage& stage);

}  // namespace lacuna
