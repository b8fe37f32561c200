#include "recipe/kept_floats.h"

#include <algorithm>
#include <map>

#include "recipe/claims.h"

namespace lacuna {

std::vector<KeptFloats> kept_floats(const Graph& graph, std::span<const int64_t> bytes) {
  std::map<WeightId, std::string> reasons;
  for (const WeightUse& use : weight_uses(graph)) {
    bool matrix = graph.weights[use.weight].layout != MatrixLayout::kNone;
    std::string reason = reason_against_quantizing(use, graph.node(use.node));
    reasons[use.weight] = reason.empty() ? "no line claims it" : matrix ? reason : "bias, norm or constant";
  }
  std::map<std::string, KeptFloats> groups;
  std::map<std::string, int64_t> largest;
  for (auto& [id, reason] : reasons) {
    const Weight& weight = graph.weights[id];
    if (!is_float(weight.encoding.values) || size_t(id) >= bytes.size()) continue;
    KeptFloats& group = groups[reason];
    group.why = reason;
    group.can_be_included = weight.layout != MatrixLayout::kNone && reason != kTransposedConvolution;
    group.weights++, group.bytes += bytes[size_t(id)];
    if (bytes[size_t(id)] > largest[reason]) largest[reason] = bytes[size_t(id)], group.largest = weight.name;
  }
  std::vector<KeptFloats> out;
  for (auto& [reason, group] : groups) out.push_back(std::move(group));
  std::stable_sort(out.begin(), out.end(), [](auto& a, auto& b) { return a.bytes > b.bytes; });
  return out;
}

}  // namespace lacuna
