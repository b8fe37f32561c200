#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/passes/uses.h"

namespace lacuna {

// What nodes make of the codes of one quantize node, element by element and with constants alone, up to the codes of another: hard-swish in parts,
// with roundings between, is a table of 256.
struct CodeTable {
  PlanNode* end;                // the last quantize node
  std::vector<PlanNode*> done;  // from `quantize` on, but for the end
  CodesByCode codes;
};
// nullopt if there is no such end, or other nodes read what lies between.
std::optional<CodeTable> code_table(const Graph& graph, const Uses& uses, const std::vector<bool>& kept, PlanNode& quantize);

}  // namespace lacuna
