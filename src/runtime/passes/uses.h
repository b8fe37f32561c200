// What the passes over a plan share.
#pragma once

#include <optional>
#include <vector>

#include "runtime/plan_node.h"

namespace lacuna {

// Who makes and who reads each value.
class Uses {
 public:
  Uses(const Graph& graph, std::vector<PlanNode>& nodes) : nodes_(nodes), maker_(graph.values().size(), -1), readers_(graph.values().size()) {
    for (size_t n = 0; n < nodes.size(); n++) {
      for (ValueId v : nodes[n].node.outputs)
        if (v != kNoValue) maker_[size_t(v)] = int64_t(n);
      for (ValueId v : nodes[n].node.inputs)
        if (v != kNoValue) readers_[size_t(v)].push_back(n);
    }
  }
  PlanNode* maker(ValueId v) const { return maker_[size_t(v)] < 0 ? nullptr : &nodes_[size_t(maker_[size_t(v)])]; }
  const Node* made_by(ValueId v, Op op) const {
    PlanNode* plan = maker(v);
    return plan && plan->node.op == op ? &plan->node : nullptr;
  }
  const std::vector<size_t>& readers(ValueId v) const { return readers_[size_t(v)]; }
  PlanNode& node(size_t index) const { return nodes_[index]; }
  PlanNode* only_reader(ValueId v, const std::vector<bool>& kept) const {
    return readers_[size_t(v)].size() == 1 && !kept[size_t(v)] ? &nodes_[readers_[size_t(v)][0]] : nullptr;
  }

 private:
  std::vector<PlanNode>& nodes_;
  std::vector<int64_t> maker_;
  std::vector<std::vector<size_t>> readers_;
};

// The number a constant of one element holds.
std::optional<double> constant_of(const Graph& graph, ValueId value);

// Removes nodes that nothing reads, but for those in `kept` and those that write a state.
void remove_unread(const std::vector<bool>& kept, std::vector<PlanNode>& nodes);

}  // namespace lacuna
