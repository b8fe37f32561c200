// Nodes that change nothing, alone or in pairs; reshapes to computed sizes that are known to be those of the input.
#include <algorithm>

#include "graph/passes/rewrite.h"

namespace lacuna::passes {
namespace {

// Does the node hand its first input through unchanged?
bool passes_through(const Rewriter& rewriter, const Node& node) {
  ValueId in = node.inputs[0], out = node.outputs[0];
  switch (node.op) {
    case Op::identity: return true;
    case Op::cast: return rewriter.dtype(in) == rewriter.dtype(out);
    case Op::concat: return node.inputs.size() == 1;
    case Op::transpose: {
      auto perm = node.attributes.integers("perm");
      return node.attributes.has("perm") && std::is_sorted(perm.begin(), perm.end());
    }
    case Op::reshape: return rewriter.shape(in) && rewriter.shape(out) && *rewriter.shape(in) == *rewriter.shape(out);
    default: return false;
  }
}

std::vector<int64_t> permutation(const Rewriter& rewriter, const Node& node) {
  auto perm = node.attributes.integers("perm");
  if (!node.attributes.has("perm"))
    for (int64_t i = rewriter.rank(node.inputs[0]); i-- > 0;) perm.push_back(i);
  return perm;
}

std::optional<std::vector<int64_t>> axes(const Rewriter& rewriter, const Node& node, int64_t rank) {
  auto out = node.inputs.size() > 1 && node.inputs[1] != kNoValue ? rewriter.integers(node.inputs[1]) : node.attributes.integers("axes");
  if (!out || rank < 0) return std::nullopt;
  for (int64_t& axis : *out)
    if (axis < 0) axis += rank;
  std::sort(out->begin(), out->end());
  return out;
}

// transpose(transpose(x)) is one transpose; reshape(reshape(x)) the last; squeeze undoes unsqueeze; unsqueezes join.
bool merge_pair(Rewriter& rewriter, const Node& node) {
  const Node* up = rewriter.producer(node.inputs[0]);
  if (!up) return false;
  ValueId source = up->inputs.empty() ? kNoValue : up->inputs[0];
  if (node.op == Op::transpose && up->op == Op::transpose && rewriter.rank(source) >= 0) {
    auto first = permutation(rewriter, *up), second = permutation(rewriter, node), joint = second;
    for (size_t i = 0; i < joint.size(); i++) joint[i] = first[size_t(second[i])];
    if (std::is_sorted(joint.begin(), joint.end())) {
      rewriter.forward(node.outputs[0], source);
    } else {
      Attributes attributes;
      attributes.set("perm", joint);
      rewriter.replace(node, Op::transpose, {source}, attributes);
    }
    return true;
  }
  if (node.op == Op::reshape && (up->op == Op::reshape || up->op == Op::flatten)) {
    if (rewriter.shape(source) && rewriter.shape(node.outputs[0]) && *rewriter.shape(source) == *rewriter.shape(node.outputs[0])) {
      rewriter.forward(node.outputs[0], source);
      return true;
    }
    auto target = rewriter.integers(node.inputs[1]);
    if (!target || std::find(target->begin(), target->end(), 0) != target->end()) return false;  // 0 copies a size of the inner one
    rewriter.replace(node, Op::reshape, {source, node.inputs[1]}, node.attributes);
    return true;
  }
  bool undoes = (node.op == Op::squeeze && up->op == Op::unsqueeze) || (node.op == Op::unsqueeze && up->op == Op::squeeze);
  if (undoes) {
    int64_t wide = rewriter.rank(node.op == Op::squeeze ? node.inputs[0] : node.outputs[0]);
    bool named = node.inputs.size() > 1 || node.attributes.has("axes"), up_named = up->inputs.size() > 1 || up->attributes.has("axes");
    auto a = axes(rewriter, node, wide), b = axes(rewriter, *up, wide);
    if (!named || !up_named || !a || !b || *a != *b) return false;
    rewriter.forward(node.outputs[0], source);
    return true;
  }
  if (node.op == Op::unsqueeze && up->op == Op::unsqueeze) {
    int64_t rank = rewriter.rank(node.outputs[0]);
    auto outer = axes(rewriter, node, rank), inner = axes(rewriter, *up, rank - int64_t(outer ? outer->size() : 0));
    if (!outer || !inner) return false;
    // The inner axes sit at the inner-th places that the outer ones leave free.
    std::vector<int64_t> joint = *outer;
    for (int64_t axis = 0, place = 0; axis < rank; axis++) {
      if (std::binary_search(outer->begin(), outer->end(), axis)) continue;
      if (std::binary_search(inner->begin(), inner->end(), place)) joint.push_back(axis);
      place++;
    }
    std::sort(joint.begin(), joint.end());
    Attributes attributes;
    attributes.set("axes", joint);
    rewriter.replace(node, Op::unsqueeze, {source}, attributes);
    return true;
  }
  return false;
}

// A computed target of a reshape as constants: 0 where a size is copied, -1 for one that is left. What computed it dies.
bool make_target_constant(Rewriter& rewriter, const Node& node, const std::vector<Fact>& facts) {
  if (node.op != Op::reshape || rewriter.graph().weight_of(node.inputs[1]) || node.attributes.integer("allowzero", 0)) return false;
  auto &in = facts[size_t(node.inputs[0])].shape, &out = facts[size_t(node.outputs[0])].shape;
  if (!in || !out || !facts[size_t(node.inputs[1])].elements) return false;
  std::vector<int64_t> target;
  for (size_t i = 0; i < out->size(); i++) {
    const Dim& d = (*out)[i];
    if (d == Dim(0)) return false;
    target.push_back(d.is_constant() ? d.value() : i < in->size() && d == (*in)[i] ? 0 : -1);
  }
  if (std::count(target.begin(), target.end(), -1) > 1) return false;
  rewriter.replace(node, Op::reshape, {node.inputs[0], rewriter.constant(target)}, {});
  return true;
}

}  // namespace

int64_t simplify(Graph& graph, const PassOptions&) {
  int64_t total = 0;
  for (;;) {
    auto facts = infer_facts(graph);
    Rewriter rewriter(graph);
    for (size_t i = 0; i < rewriter.node_count(); i++) {
      const Node& node = rewriter.node(NodeId(i));
      if (node.inputs.empty() || node.inputs[0] == kNoValue) continue;
      if (!rewriter.read(node.outputs[0])) continue;
      if (passes_through(rewriter, node))
        rewriter.forward(node.outputs[0], node.inputs[0]);
      else if (!merge_pair(rewriter, node))
        make_target_constant(rewriter, node, facts);
    }
    int64_t changes = rewriter.finish();
    if (changes == 0) return total;
    total += changes;
  }
}

}  // namespace lacuna::passes
