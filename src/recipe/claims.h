// Which weights each line of a recipe claims.
#pragma once

#include <span>
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
  bool by_name = false;  // a target names it alone, so that a misfit is an error rather than a remark
  std::optional<double> override_sparsity;
};

// What a line says of the weights it claims.
struct Selection {
  std::string where;  // "stage 1, line 2", for messages
  const std::vector<std::string>&targets, &ignore, &include;
  std::span<const PruneLine::Override> overrides = {};
};

// Why a weight is not claimed unless a line includes it; empty: it is.
using ReasonAgainst = std::string (*)(const WeightUse& use, const Node& node);
std::string reason_against_pruning(const WeightUse& use, const Node& node);
// Linear and conv, output heads included; not depthwise convolutions or routers.
// Stays in floats even if it is included: a scale for each row would not be one for each output channel.
inline constexpr std::string_view kTransposedConvolution = "transposed convolution";
std::string reason_against_quantizing(const WeightUse& use, const Node& node);

// The claims of every line, in the order of the Graph. Throws InvalidArgument, before anything is done, on a target, ignore, include or
// override that matches nothing, and on two lines that claim one weight, naming all of them.
std::vector<std::vector<Claim>> claim_weights(const Graph& graph, std::span<const Selection> lines, ReasonAgainst reason_against);

}  // namespace lacuna
