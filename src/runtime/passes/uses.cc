#include "runtime/passes/uses.h"

#include <algorithm>
#include <map>

namespace lacuna {

std::optional<double> constant_of(const Graph& graph, ValueId value) {
  const Weight* weight = graph.weight_of(value);
  if (!weight || weight->size() != 1) return std::nullopt;
  WeightData data = weight->load();
  if (weight->encoding.granularity != Encoding::Granularity::kNone || bits_of(data.values.dtype()) < 8) return std::nullopt;
  return data.values.to(DType::kF32).data<float>()[0];
}

void remove_unread(const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  std::map<ValueId, int> uses;
  for (PlanNode& plan : nodes)
    for (ValueId v : plan.node.inputs) uses[v]++;
  std::vector<PlanNode> left;
  // Later ones first, as they may be the last readers of earlier ones.
  for (size_t n = nodes.size(); n-- > 0;) {
    const Node& node = nodes[n].node;
    bool read = writes_state(node);
    for (ValueId v : node.outputs) read = read || (v != kNoValue && (uses[v] > 0 || kept[size_t(v)]));
    if (!read) {
      for (ValueId v : node.inputs) uses[v]--;
      continue;
    }
    left.push_back(std::move(nodes[n]));
  }
  std::reverse(left.begin(), left.end());
  nodes = std::move(left);
}

}  // namespace lacuna
