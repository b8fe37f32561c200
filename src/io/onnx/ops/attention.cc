// Attention 23 (24: nonpad_kv_seqlen is not read; 25 adds nothing here) and RotaryEmbedding 23.
#include "base/cat.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {
namespace {

// [b, heads, t, d] -> [b, t, heads * d]
ValueId join_heads(OpContext& context, ValueId x, std::string_view name) {
  ValueId turned = context.add(Op::transpose, {x}, with({{"perm", std::vector<int64_t>{0, 2, 1, 3}}}), cat(name, "_by_token"));
  return context.reshape(turned, {0, 0, -1}, cat(name, "_joined"));
}

// [b, t, heads * d] -> [b, heads, t, d]
ValueId split_heads(OpContext& context, ValueId x, int64_t heads, std::string_view name) {
  ValueId parted = context.reshape(x, {0, 0, heads, -1}, cat(name, "_parted"));
  return context.add(Op::transpose, {parted}, with({{"perm", std::vector<int64_t>{0, 2, 1, 3}}}), cat(name, "_by_head"));
}

int64_t constant_dim(OpContext& context, ValueId x, size_t axis, const char* what) {
  auto shape = context.shape(x);
  if (!shape || axis >= shape->size() || !(*shape)[axis].is_constant()) context.unsupported(cat(what, " that is not known before the run"));
  return (*shape)[axis].value();
}

}  // namespace

// Q [b, heads, t, d] or [b, t, heads * d], K and V likewise, mask, past key and value [b, kv_heads, p, d]
void attention(OpContext& context) {
  ValueId q = context.required(0), k = context.required(1), v = context.required(2), mask = context.input(3);
  bool matrices = context.required_rank(q) == 4;
  int64_t heads = matrices ? constant_dim(context, q, 1, "a number of heads") : context.integer("q_num_heads", 0);
  int64_t kv_heads = matrices ? constant_dim(context, k, 1, "a number of heads") : context.integer("kv_num_heads", 0);
  if (heads < 1 || kv_heads < 1) context.invalid("q_num_heads and kv_num_heads are wanted for 3-D inputs");
  if (context.wants(3)) context.unsupported("the scores as an output");
  if (context.has(6)) context.unsupported("nonpad_kv_seqlen");
  bool causal = context.integer("is_causal", 0) != 0;
  double softcap = context.number("softcap", 0);
  if (softcap != 0 && mask != kNoValue) context.unsupported("softcap together with a mask");
  if (context.has(4) || context.wants(1) || context.wants(2)) {
    if (!matrices) k = split_heads(context, k, kv_heads, "k"), v = split_heads(context, v, kv_heads, "v");
    if (context.has(4)) {
      if (causal) context.unsupported("is_causal together with past keys");
      k = context.add(Op::concat, {context.required(4), k}, with({{"axis", int64_t(2)}}), "all_keys");
      v = context.add(Op::concat, {context.required(5), v}, with({{"axis", int64_t(2)}}), "all_values");
    }
    context.set_output(1, k);
    context.set_output(2, v);
    k = join_heads(context, k, "k"), v = join_heads(context, v, "v");
  } else if (matrices) {
    k = join_heads(context, k, "k"), v = join_heads(context, v, "v");
  }
  if (matrices) q = join_heads(context, q, "q");
  int64_t width = constant_dim(context, q, 2, "a width of the heads");
  auto queries = context.shape(q), keys = context.shape(k);
  // ONNX aligns a causal mask at the first key, the Graph at the last; they agree where there are as many keys as queries.
  if (causal && (!keys || !((*queries)[1] == (*keys)[1]))) context.unsupported("is_causal with more keys than queries");
  if (mask != kNoValue) {
    int64_t rank = context.required_rank(mask);
    std::vector<int64_t> lead;
    for (int64_t i = 0; i < 4 - rank; i++) lead.push_back(i);
    if (!lead.empty()) mask = context.add(Op::unsqueeze, {mask}, with({{"axes", lead}}), "mask");
  }
  Attributes attributes = with({{"heads", heads}, {"kv_heads", kv_heads}, {"head_dim", width / heads}});
  context.copy(attributes, {"scale", "softcap"});
  if (causal) attributes.set("causal", int64_t(1));
  ValueId y = context.add(Op::attention, {q, k, v, mask}, attributes, matrices ? "joined" : "");
  context.set_output(0, matrices ? split_heads(context, y, heads, "y") : y);
}

// X [b, heads, t, d] or [b, t, heads * d]; caches [positions, r / 2] with position_ids [b, t], or [b, t, r / 2] without.
void rotary_embedding(OpContext& context) {
  ValueId x = context.required(0), cos = context.required(1), sin = context.required(2);
  bool joined = context.required_rank(x) == 3, interleaved = context.integer("interleaved", 0) != 0;
  int64_t heads = joined ? context.integer("num_heads", 0) : constant_dim(context, x, 1, "a number of heads");
  if (heads < 1) context.invalid("num_heads is wanted for a 3-D input");
  ValueId parts = joined ? context.reshape(x, {0, 0, heads, -1}, "parted")
                         : context.add(Op::transpose, {x}, with({{"perm", std::vector<int64_t>{0, 2, 1, 3}}}), "by_token");  // [b, t, heads, d]
  int64_t width = constant_dim(context, parts, 3, "a width of the heads"), rotary = context.integer("rotary_embedding_dim", 0);
  if (rotary == 0) rotary = width;
  if (context.has(3)) {
    cos = context.add(Op::gather, {cos, context.input(3)}, with({{"axis", int64_t(0)}}), "cos");
    sin = context.add(Op::gather, {sin, context.input(3)}, with({{"axis", int64_t(0)}}), "sin");
  }
  cos = context.add(Op::unsqueeze, {cos}, with({{"axes", std::vector<int64_t>{2}}}), "cos_by_head");
  sin = context.add(Op::unsqueeze, {sin}, with({{"axes", std::vector<int64_t>{2}}}), "sin_by_head");
  auto part = [&](int64_t begin, int64_t end, int64_t step, const char* name) {
    auto bound = [&](int64_t value, const char* which) { return context.constant({value}, cat(name, which)); };
    return context.add(Op::slice, {parts, bound(begin, "_begin"), bound(end, "_end"), bound(3, "_axis"), bound(step, "_step")}, {}, name);
  };
  ValueId first = interleaved ? part(0, rotary, 2, "first") : part(0, rotary / 2, 1, "first");
  ValueId second = interleaved ? part(1, rotary, 2, "second") : part(rotary / 2, rotary, 1, "second");
  auto product = [&](ValueId a, ValueId b, const char* name) { return context.add(Op::mul, {a, b}, {}, name); };
  std::vector<ValueId> turned = {context.add(Op::sub, {product(first, cos, "first_cos"), product(second, sin, "second_sin")}, {}, "turned_first"),
                                 context.add(Op::add, {product(second, cos, "second_cos"), product(first, sin, "first_sin")}, {}, "turned_second")};
  if (interleaved) {
    for (size_t i = 0; i < 2; i++) turned[i] = context.add(Op::unsqueeze, {turned[i]}, with({{"axes", std::vector<int64_t>{4}}}), cat("pair_", i));
    turned = {context.reshape(context.add(Op::concat, turned, with({{"axis", int64_t(4)}}), "pairs"), {0, 0, heads, rotary}, "turned")};
  }
  if (rotary < width) turned.push_back(part(rotary, width, 1, "rest"));
  ValueId y = turned.size() == 1 ? turned[0] : context.add(Op::concat, turned, with({{"axis", int64_t(3)}}), "rotated");
  if (joined) return context.set_output(0, context.reshape(y, {0, 0, heads * width}, "joined"));
  context.set_output(0, context.add(Op::transpose, {y}, with({{"perm", std::vector<int64_t>{0, 2, 1, 3}}})));
}

}  // namespace lacuna::onnx::import
