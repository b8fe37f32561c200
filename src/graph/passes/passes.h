// Passes over the Graph and the one driver that runs them. They keep what the Graph computes and never touch the value, type or
// orientation of a weight; new small weights (folded constants) may appear.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace lacuna {

// Computes the outputs of one node from its inputs (an empty Tensor where an optional input is absent). The executor lives above
// this room and is handed in; it may throw Unsupported for what it does not compute.
using Evaluate = std::function<std::vector<Tensor>(const Graph& graph, const Node& node, std::span<const Tensor> inputs)>;

struct PassOptions {
  Evaluate evaluate;              // none: only sizes, small whole numbers and single floats are folded
  std::vector<std::string> skip;  // names of passes to leave out
};

struct PassReport {
  struct Line {
    std::string_view name;
    int64_t changes;  // nodes rewritten or removed
    double elapsed_us;
    bool skipped;
  };
  std::vector<Line> lines;
};

struct Pass {
  std::string_view name, help;
  int64_t (*run)(Graph& graph, const PassOptions& options);  // returns the number of changes
};

// All passes, in passes.def's order.
std::span<const Pass> all_passes();
// What an importer runs: the names in passes.def's order, with those repeated that folding makes new work for.
std::span<const std::string_view> import_passes();

// Runs the named passes in the given order, then verifies the Graph and infers its shapes again.
// Throws InvalidArgument on an unknown name (also in options.skip), listing the known ones; InvalidData if the Graph is not sound.
void run_passes(Graph& graph, std::span<const std::string_view> names, PassReport* report = nullptr, const PassOptions& options = {});

}  // namespace lacuna
