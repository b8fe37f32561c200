// What the passes share: matching patterns from their last node upwards and rewriting that node in place.
//
// A rewritten node keeps its position and its output values, so readers of the pattern notice nothing; the nodes it no longer
// needs stay until finish() removes what nothing reads.
#pragma once

#include <map>

#include "graph/infer.h"
#include "graph/passes/passes.h"

namespace lacuna::passes {

class Rewriter {
 public:
  explicit Rewriter(Graph& graph);

  Graph& graph() { return graph_; }
  size_t node_count() const { return count_; }  // nodes at the start: those to look at
  const Node& node(NodeId id) const { return graph_.node(id); }

  // The node that produces a value, if it has this op (any, without one); nullptr otherwise.
  const Node* producer(ValueId value) const;
  const Node* producer(ValueId value, Op op) const;
  bool read(ValueId value) const { return !users_[size_t(value)].empty() || outputs_[size_t(value)]; }
  // Is the value read by one node only, and no output?
  bool single_use(ValueId value) const;

  // The only reader of a value that is no output; nullptr if there are others.
  const Node* only_user(ValueId value) const;

  // The value of a constant of one element; nullopt for anything else.
  std::optional<double> scalar(ValueId value) const;
  // How exactly a constant of its type holds a number, relative: the root of 2 is 1.4140625 as a half.
  double precision(ValueId value) const;
  bool is_scalar(ValueId value, double wanted, double tolerance = 1e-4) const;  // relative
  // The integers of a small constant.
  std::optional<std::vector<int64_t>> integers(ValueId value) const;
  // Splits the inputs of a commutative node into a constant of one element and the other; nullopt if neither is one.
  struct Scaled {
    ValueId value;
    double constant;
  };
  std::optional<Scaled> with_scalar(const Node& node) const;
  // Input 0 or 1 of a binary node that is not `value`; kNoValue if neither is.
  ValueId other_input(const Node& node, ValueId value) const;

  // Shapes as last inferred; nullptr if unknown. Values made since have none.
  const SymShape* shape(ValueId value) const;
  DType dtype(ValueId value) const { return graph_.value(value).dtype; }
  int64_t rank(ValueId value) const { return shape(value) ? int64_t(shape(value)->size()) : -1; }
  // The axes of a reduction that are the last ones of its input, as the first of them counted from the end (-1: only the last).
  std::optional<int64_t> trailing_axes(const Node& reduction) const;

  // Makes the node another one with the same outputs. `named_after` gives it the name and block of that node of the pattern.
  void replace(const Node& node, Op op, std::vector<ValueId> inputs, Attributes attributes, const Node* named_after = nullptr);
  // Adds a node in front of another; its single result. References to nodes do not survive it.
  ValueId insert_before(NodeId position, Op op, std::vector<ValueId> inputs, Attributes attributes, std::string_view suffix);
  // A small integer vector as a weight, shared by all who ask for the same one.
  ValueId constant(const std::vector<int64_t>& values);
  // Every reader of `from` reads `to` instead.
  void forward(ValueId from, ValueId to);

  // Puts inserted nodes in their place, removes what nothing reads and infers shapes again if anything changed.
  // Returns the number of changes.
  int64_t finish();

  NodeId id_of(const Node& node) const { return NodeId(&node - graph_.nodes().data()); }

 private:
  Graph& graph_;
  size_t count_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<bool> outputs_;
  std::multimap<NodeId, Node> inserted_;  // by the node they come before
  int64_t changes_ = 0;
};

// A weight name that is not taken: `wanted`, or with a number behind.
std::string free_weight_name(const Graph& graph, const std::string& wanted);

// Removes nodes that no output needs; the number removed.
int64_t remove_dead_nodes(Graph& graph);

}  // namespace lacuna::passes
