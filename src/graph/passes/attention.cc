// softmax(q k^T * scale + mask) v with heads split by reshape and transpose -> attention over [b, t, heads * d].
//
// Matched from the product with v. Downwards: transpose (0, 2, 1, 3), reshape to [b, t, heads * d]; where something else follows, the
// result is turned back to [b, heads, t, d]. Upwards: softmax, masks (added, or
// chosen by where) and scales (before or after the product, or split between q and k) until the product of q and k; from each
// operand through its scales and transposes to the split of heads. Operands whose split is not a reshape of [b, t, heads * d] (one
// product for q, k and v as in vision transformers) are brought into that form by a transpose and a reshape of their own.
#include <algorithm>
#include <array>

#include "graph/passes/rewrite.h"

namespace lacuna::passes {
namespace {

using Permutation = std::array<int64_t, 4>;

struct Operand {
  ValueId value;  // under its scales and transposes
  double scale = 1;
  Permutation perm{0, 1, 2, 3};  // operand = transpose(value, perm)
};

struct Scores {
  const Node* product = nullptr;
  double scale = 1;
  std::vector<ValueId> added;  // masks
  struct Chosen {
    ValueId condition, fill;
    bool keeps;  // where the condition holds, the score stays
  };
  std::vector<Chosen> chosen;
};

struct Operation {
  NodeId last;       // becomes the attention, or a transpose of it
  bool joins_heads;  // last is the reshape to [b, t, heads * d]; otherwise the product [b, heads, t, d]
  NodeId softmax;
  Operand q, k, v;
  double scale;
  Scores scores;
  int64_t heads, kv_heads, head_dim, value_dim;
};

std::optional<int64_t> constant_dim(const Rewriter& rewriter, ValueId value, size_t axis) {
  auto* shape = rewriter.shape(value);
  return shape && axis < shape->size() ? (*shape)[axis].constant() : std::nullopt;
}

// x * c or x / c as (x, c or 1 / c).
std::optional<Rewriter::Scaled> match_scale(const Rewriter& rewriter, const Node& node) {
  if (node.op == Op::mul) return rewriter.with_scalar(node);
  auto divisor = node.op == Op::div ? rewriter.scalar(node.inputs[1]) : std::nullopt;
  if (!divisor) return std::nullopt;
  return Rewriter::Scaled{node.inputs[0], 1 / *divisor};
}

bool leads_to_product(const Rewriter& rewriter, ValueId value, int depth = 6) {
  const Node* node = depth ? rewriter.producer(value) : nullptr;
  if (!node) return false;
  if (node->op == Op::matmul) return rewriter.rank(value) == 4;
  if (node->op == Op::where) return leads_to_product(rewriter, node->inputs[1], depth - 1) || leads_to_product(rewriter, node->inputs[2], depth - 1);
  if (node->op != Op::add && node->op != Op::mul && node->op != Op::div) return false;
  return leads_to_product(rewriter, node->inputs[0], depth - 1) || (node->op != Op::div && leads_to_product(rewriter, node->inputs[1], depth - 1));
}

std::optional<Scores> match_scores(const Rewriter& rewriter, ValueId value) {
  Scores out;
  for (int step = 0; step < 8; step++) {
    const Node* node = rewriter.producer(value);
    if (!node || !rewriter.single_use(value)) return std::nullopt;
    if (node->op == Op::matmul) {
      if (node->attributes.integer("transpose_a", 0) || node->attributes.integer("transpose_b", 0)) return std::nullopt;
      out.scale *= node->attributes.number("scale", 1);
      out.product = node;
      return out;
    }
    if (node->op == Op::add) {
      bool left = leads_to_product(rewriter, node->inputs[0]), right = leads_to_product(rewriter, node->inputs[1]);
      if (left == right || out.scale != 1) return std::nullopt;  // a scale above the mask would scale the mask
      out.added.push_back(node->inputs[left ? 1 : 0]);
      value = node->inputs[left ? 0 : 1];
    } else if (node->op == Op::where) {
      bool keeps = leads_to_product(rewriter, node->inputs[1]);
      ValueId fill = node->inputs[keeps ? 2 : 1];
      auto constant = rewriter.scalar(fill);
      if (!constant || *constant > -1000) return std::nullopt;  // not a mask
      out.chosen.push_back({node->inputs[0], fill, keeps});
      value = node->inputs[keeps ? 1 : 2];
    } else {
      auto scale = match_scale(rewriter, *node);
      if (!scale) return std::nullopt;
      out.scale *= scale->constant;
      value = scale->value;
    }
  }
  return std::nullopt;
}

// What reshape(transpose(reshape(x, [b * h, s, d]), (0, 2, 1)), [b, h, d, s]) turns: transpose(x, (0, 1, 3, 2)) in disguise.
ValueId match_folded_turn(const Rewriter& rewriter, const Node& node) {
  if (node.op != Op::reshape) return kNoValue;
  const Node* turn = rewriter.producer(node.inputs[0], Op::transpose);
  const Node* fold =
      turn && turn->attributes.integers("perm") == std::vector<int64_t>{0, 2, 1} ? rewriter.producer(turn->inputs[0], Op::reshape) : nullptr;
  if (!fold) return kNoValue;
  auto *in = rewriter.shape(fold->inputs[0]), *flat = rewriter.shape(turn->inputs[0]), *out = rewriter.shape(node.outputs[0]);
  if (!in || !flat || !out || in->size() != 4 || flat->size() != 3 || out->size() != 4) return kNoValue;
  SymShape turned = {(*in)[0], (*in)[1], (*in)[3], (*in)[2]};
  bool same = *out == turned && (*flat)[1] == (*in)[2] && (*flat)[2] == (*in)[3];
  return same ? fold->inputs[0] : kNoValue;
}

std::optional<Operand> match_operand(const Rewriter& rewriter, ValueId value) {
  Operand out{value};
  for (const Node* node = rewriter.producer(value); node; node = rewriter.producer(out.value)) {
    if (node->op == Op::transpose) {
      auto perm = node->attributes.integers("perm");
      if (perm.size() != 4) break;
      for (int64_t& axis : out.perm) axis = perm[size_t(axis)];
      out.value = node->inputs[0];
    } else if (auto scale = match_scale(rewriter, *node)) {
      out.scale *= scale->constant;
      out.value = scale->value;
    } else if (ValueId turned = match_folded_turn(rewriter, *node); turned != kNoValue) {
      std::replace(out.perm.begin(), out.perm.end(), int64_t(2), int64_t(-1));
      std::replace(out.perm.begin(), out.perm.end(), int64_t(3), int64_t(2));
      std::replace(out.perm.begin(), out.perm.end(), int64_t(-1), int64_t(3));
      out.value = turned;
    } else {
      break;
    }
  }
  return rewriter.rank(out.value) == 4 ? std::optional(out) : std::nullopt;
}

// The softmax whose result a product reads, also behind PyTorch's guard: where(is_nan(p), 0, p).
const Node* match_softmax(const Rewriter& rewriter, ValueId value) {
  const Node* node = rewriter.producer(value);
  if (!node || !rewriter.single_use(value)) return nullptr;
  if (node->op == Op::where) {
    const Node* guard = rewriter.producer(node->inputs[0], Op::is_nan);
    if (!guard || guard->inputs[0] != node->inputs[2] || rewriter.scalar(node->inputs[1]) != 0) return nullptr;
    node = rewriter.producer(node->inputs[2]);
  }
  bool last_axis = node && node->op == Op::softmax && !node->attributes.integer("flatten", 0) && rewriter.rank(node->inputs[0]) == 4 &&
                   (node->attributes.integer("axis", -1) == -1 || node->attributes.integer("axis", -1) == 3);
  return last_axis ? node : nullptr;
}

std::optional<Operation> match(const Rewriter& rewriter, const Node& context) {
  if (context.op != Op::matmul || context.attributes.integer("transpose_a", 0) || context.attributes.integer("transpose_b", 0)) return std::nullopt;
  const Node* softmax = match_softmax(rewriter, context.inputs[0]);
  auto scores = softmax ? match_scores(rewriter, softmax->inputs[0]) : std::nullopt;
  if (!scores) return std::nullopt;
  ValueId q_value = scores->product->inputs[0], k_value = scores->product->inputs[1], v_value = context.inputs[1];
  auto q = match_operand(rewriter, q_value), k = match_operand(rewriter, k_value), v = match_operand(rewriter, v_value);
  if (!q || !k || !v || v->scale != 1 || context.attributes.number("scale", 1) != 1) return std::nullopt;
  auto heads = constant_dim(rewriter, q_value, 1), head_dim = constant_dim(rewriter, q_value, 3);
  auto kv_heads = constant_dim(rewriter, k_value, 1), value_dim = constant_dim(rewriter, v_value, 3);
  if (!heads || !head_dim || !kv_heads || !value_dim || (*kv_heads != *heads && *kv_heads != 1) || constant_dim(rewriter, v_value, 1) != kv_heads)
    return std::nullopt;
  for (ValueId other : {k_value, v_value})
    if (!((*rewriter.shape(other))[0] == (*rewriter.shape(q_value))[0])) return std::nullopt;
  Operation out{.last = rewriter.id_of(context), .joins_heads = false, .softmax = rewriter.id_of(*softmax), .q = *q, .k = *k, .v = *v};
  out.scale = scores->scale * q->scale * k->scale;
  out.scores = *scores;
  out.heads = *heads, out.kv_heads = *kv_heads, out.head_dim = *head_dim, out.value_dim = *value_dim;
  const Node* turned = rewriter.only_user(context.outputs[0]);
  if (!turned || turned->op != Op::transpose || turned->attributes.integers("perm") != std::vector<int64_t>{0, 2, 1, 3}) return out;
  const Node* joined = rewriter.only_user(turned->outputs[0]);
  auto* split = rewriter.shape(turned->outputs[0]);
  auto* flat = joined && joined->op == Op::reshape ? rewriter.shape(joined->outputs[0]) : nullptr;
  if (flat && split && flat->size() == 3 && (*flat)[0] == (*split)[0] && (*flat)[1] == (*split)[1] && (*flat)[2] == Dim(*heads * *value_dim)) {
    out.last = rewriter.id_of(*joined);
    out.joins_heads = true;
  }
  return out;
}

Attributes with(const char* name, std::vector<int64_t> values) {
  Attributes out;
  out.set(name, std::move(values));
  return out;
}

// [b, t, heads * d] of an operand that `to_tokens` turns into [b, t, heads, d].
ValueId tokens_of(Rewriter& rewriter, NodeId before, const Operand& operand, const Permutation& to_tokens, int64_t width, std::string_view name) {
  std::vector<int64_t> perm;
  for (int64_t axis : to_tokens) perm.push_back(operand.perm[size_t(axis)]);
  bool straight = std::is_sorted(perm.begin(), perm.end());
  const Node* split = rewriter.producer(operand.value, Op::reshape);
  if (straight && split) {
    auto *whole = rewriter.shape(split->inputs[0]), *parts = rewriter.shape(operand.value);
    if (whole && whole->size() == 3 && (*whole)[0] == (*parts)[0] && (*whole)[1] == (*parts)[1] && whole->back() == Dim(width))
      return split->inputs[0];
  }
  ValueId value = operand.value;
  if (!straight) value = rewriter.insert_before(before, Op::transpose, {value}, with("perm", perm), std::string(name) + "_tokens");
  return rewriter.insert_before(before, Op::reshape, {value, rewriter.constant({0, 0, width})}, {}, name);
}

ValueId four_dimensions(Rewriter& rewriter, NodeId before, ValueId mask, int64_t rank, std::string_view name) {
  if (rank == 4) return mask;
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < 4 - rank; i++) axes.push_back(i);
  return rewriter.insert_before(before, Op::unsqueeze, {mask}, with("axes", axes), name);
}

// One mask out of all: kept positions as bools if only chosen, otherwise what is added.
ValueId mask_of(Rewriter& rewriter, NodeId before, const Scores& scores) {
  ValueId keep = kNoValue, added = kNoValue;
  for (auto& chosen : scores.chosen) {
    ValueId condition = chosen.condition;
    int64_t rank = rewriter.rank(condition);
    const Node* inverse = rewriter.producer(condition, Op::logical_not);
    if (!chosen.keeps) condition = inverse ? inverse->inputs[0] : rewriter.insert_before(before, Op::logical_not, {condition}, {}, "keep");
    condition = four_dimensions(rewriter, before, condition, rank, "keep_4d");
    keep = keep == kNoValue ? condition : rewriter.insert_before(before, Op::logical_and, {keep, condition}, {}, "keep_both");
  }
  for (ValueId mask : scores.added) {
    mask = four_dimensions(rewriter, before, mask, rewriter.rank(mask), "mask_4d");
    added = added == kNoValue ? mask : rewriter.insert_before(before, Op::add, {added, mask}, {}, "mask_sum");
  }
  if (keep == kNoValue) return added;
  if (added == kNoValue) return keep;
  return rewriter.insert_before(before, Op::where, {keep, added, scores.chosen[0].fill}, {}, "mask_where");
}

bool masks_have_ranks(const Rewriter& rewriter, const Scores& scores) {
  auto known = [&](ValueId v) { return rewriter.rank(v) >= 0 && rewriter.rank(v) <= 4; };
  return std::all_of(scores.added.begin(), scores.added.end(), known) &&
         std::all_of(scores.chosen.begin(), scores.chosen.end(), [&](auto& c) { return known(c.condition); });
}

using MaskCache = std::map<std::vector<ValueId>, ValueId>;  // the layers of a model share their mask

ValueId shared_mask(Rewriter& rewriter, const Operation& op, MaskCache& cache) {
  std::vector<ValueId> key = op.scores.added;
  for (auto& chosen : op.scores.chosen) key.insert(key.end(), {kNoValue, chosen.condition, chosen.fill, chosen.keeps});
  auto it = cache.find(key);
  if (it == cache.end()) it = cache.emplace(key, mask_of(rewriter, op.last, op.scores)).first;
  return it->second;
}

void raise(Rewriter& rewriter, const Operation& op, MaskCache& cache) {
  ValueId q = tokens_of(rewriter, op.last, op.q, {0, 2, 1, 3}, op.heads * op.head_dim, "q");
  ValueId k = tokens_of(rewriter, op.last, op.k, {0, 3, 1, 2}, op.kv_heads * op.head_dim, "k");
  ValueId v = tokens_of(rewriter, op.last, op.v, {0, 2, 1, 3}, op.kv_heads * op.value_dim, "v");
  ValueId mask = shared_mask(rewriter, op, cache);
  Attributes attributes;
  attributes.set("heads", op.heads);
  attributes.set("kv_heads", op.kv_heads);
  attributes.set("head_dim", op.head_dim);
  attributes.set("scale", op.scale);
  std::vector<ValueId> inputs = {q, k, v};
  if (mask != kNoValue) inputs.push_back(mask);
  if (op.joins_heads) return rewriter.replace(rewriter.node(op.last), Op::attention, inputs, attributes, &rewriter.node(op.softmax));
  ValueId joined = rewriter.insert_before(op.last, Op::attention, inputs, attributes, "attention");
  ValueId split = rewriter.insert_before(op.last, Op::reshape, {joined, rewriter.constant({0, 0, op.heads, op.value_dim})}, {}, "heads");
  rewriter.replace(rewriter.node(op.last), Op::transpose, {split}, with("perm", {0, 2, 1, 3}));
}

}  // namespace

int64_t attention(Graph& graph, const PassOptions&) {
  Rewriter rewriter(graph);
  MaskCache masks;
  for (size_t i = 0; i < rewriter.node_count(); i++) {
    auto found = match(rewriter, rewriter.node(NodeId(i)));
    if (found && masks_have_ranks(rewriter, found->scores)) raise(rewriter, *found, masks);
  }
  return rewriter.finish();
}

}  // namespace lacuna::passes
