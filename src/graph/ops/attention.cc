// Attention, positions and pooling over tokens.
#include "base/cat.h"
#include "graph/ops/rules.h"

namespace lacuna::ops {
namespace {

int64_t positive(const InferContext& context, const char* name) {
  int64_t value = context.attributes().integer(name, 0);
  if (value < 1) context.fail(cat("attribute '", name, "' is ", value, ", wanted at least 1"));
  return value;
}

// q [b, t, heads * d], k [b, s, kv_heads * d], v [b, s, kv_heads * dv], mask, k_state and v_state [b, kv_heads, capacity, d]
// -> [b, t, heads * dv]
void attention(InferContext& context) {
  const Fact& q = context.input(0);
  for (size_t i = 0; i < 3; i++) expect_rank(context, i, 3);
  int64_t heads = positive(context, "heads"), head_dim = positive(context, "head_dim");
  int64_t kv_heads = context.attributes().has("kv_heads") ? positive(context, "kv_heads") : heads;
  if (heads % kv_heads != 0) context.fail(cat("kv_heads ", kv_heads, " do not divide heads ", heads));
  if (context.has_input(4) != context.has_input(5)) context.fail("k_state and v_state come together");
  for (size_t i = 4; i < 6; i++) expect_rank(context, i, 4);
  auto *k = context.shape(1), *v = context.shape(2), *mask = context.shape(3);
  Dim width = Dim(heads) * Dim(head_dim);
  if (q.shape) expect_equal(context, q.shape->back(), width, "the width of q and heads * head_dim");
  if (k) expect_equal(context, k->back(), Dim(kv_heads) * Dim(head_dim), "the width of k and kv_heads * head_dim");
  if (k && v) expect_equal(context, (*k)[1], (*v)[1], "the lengths of k and v");
  if (q.shape && k) expect_equal(context, (*q.shape)[0], (*k)[0], "the batches of q and k");
  if (mask && mask->size() > 4) context.fail(cat("mask has shape ", to_string(*mask), ", wanted [b, s] or what broadcasts to [b, heads, t, s]"));
  if (mask && k && !mask->empty() && !context.has_input(4) && mask->back() != Dim(1))
    expect_equal(context, mask->back(), (*k)[1], "the last dimension of the mask and the length of k");
  if (!q.shape) return context.set(0, q.dtype, std::nullopt);
  SymShape out = *q.shape;
  if (v) out.back() = floor_div(v->back(), Dim(kv_heads)) * Dim(heads);
  context.set(0, q.dtype, out);
}

// x [b, t, heads * d], positions [b, t] -> as x
void rope(InferContext& context) {
  expect_rank(context, 0, 3);
  expect_rank(context, 1, 2);
  int64_t heads = positive(context, "heads"), head_dim = positive(context, "head_dim");
  int64_t rotary = context.attributes().integer("rotary_dim", head_dim);
  if (rotary < 2 || rotary % 2 != 0 || rotary > head_dim)
    context.fail(cat("rotary_dim is ", rotary, ", wanted an even number up to head_dim ", head_dim));
  auto frequencies = context.attributes().numbers("inv_freq");
  if (!frequencies.empty() && int64_t(frequencies.size()) != rotary / 2)
    context.fail(cat("inv_freq has ", frequencies.size(), " entries, wanted rotary_dim / 2 = ", rotary / 2));
  if (auto* x = context.shape(0)) expect_equal(context, x->back(), Dim(heads) * Dim(head_dim), "the width of x and heads * head_dim");
  same_as_input(context);
}

void positions(InferContext& context) {
  expect_rank(context, 0, 2);
  expect_rank(context, 1, 2);
  context.set(0, DType::kS64, context.input(0).shape);
}

// hidden [b, t, d], attention_mask [b, t] -> [b, d]
void token_pool(InferContext& context) {
  const Fact& x = context.input(0);
  expect_rank(context, 0, 3);
  expect_rank(context, 1, 2);
  std::string mode = context.attributes().text("mode", "mean");
  if (mode != "mean" && mode != "cls" && mode != "max" && mode != "last") context.fail(cat("mode is '", mode, "', known are mean, cls, max, last"));
  if (!x.shape) return context.set(0, x.dtype, std::nullopt);
  context.set(0, x.dtype, SymShape{(*x.shape)[0], (*x.shape)[2]});
}

const OpSchema kSchemas[] = {
    {Op::attention, 3, 6, 1, 1, {"heads", "kv_heads", "head_dim", "scale", "causal", "window", "softcap"}, attention},
    {Op::rope, 2, 2, 1, 1, {"heads", "head_dim", "rotary_dim", "theta", "interleaved", "inv_freq", "attention_factor"}, rope},
    {Op::positions, 1, 2, 1, 1, {"offset", "padding_id"}, positions},
    {Op::token_pool, 1, 2, 1, 1, {"mode"}, token_pool},
};

}  // namespace

std::span<const OpSchema> attention_schemas() { return kSchemas; }

}  // namespace lacuna::ops
