// com.microsoft: attention as ONNX Runtime's optimizer fuses it. Attention and QAttention project first, by one matrix [in, q + k + v];
// MultiHeadAttention takes queries, keys and values. Version 1 of each; none with past keys.
#include "base/cat.h"
#include "io/onnx/gemm.h"
#include "io/onnx/quantized.h"

namespace lacuna::onnx::import {
namespace {

int64_t heads_of(OpContext& context) {
  int64_t heads = context.integer("num_heads", 0);
  if (heads < 1) context.invalid(cat("num_heads is ", heads));
  if (context.integer("do_rotary", 0) != 0) context.unsupported("do_rotary");
  return heads;
}

// ONNX Runtime's masks as ours: the number of keys of each row [b], kept keys [b, s], or kept keys of each query [b, t, s].
ValueId kept_keys(OpContext& context, ValueId keys, ValueId mask) {
  if (mask == kNoValue) return mask;
  int64_t rank = context.required_rank(mask);
  if (rank == 2) return mask;
  std::vector<int64_t> axis = {1};
  if (rank == 3) return context.add(Op::unsqueeze, {context.cast(mask, DType::kBool, "mask_bool")}, with({{"axes", axis}}), "mask");
  if (rank != 1) context.unsupported(cat("a mask of ", rank, " dimensions"));
  ValueId size = context.add(Op::shape_of, {keys}, with({{"start", int64_t(1)}, {"end", int64_t(2)}}), "shape");
  ValueId tokens = context.add(Op::squeeze, {size}, with({{"axes", std::vector<int64_t>{0}}}), "tokens");
  ValueId range = context.add(Op::range, {context.scalar(0, DType::kS64, "zero"), tokens, context.scalar(1, DType::kS64, "one")}, {}, "keys");
  ValueId counts = context.add(Op::unsqueeze, {context.cast(mask, DType::kS64, "count")}, with({{"axes", axis}}), "counts");
  return context.add(Op::less, {range, counts}, {}, "mask");
}

ValueId attend(OpContext& context, int64_t heads, ValueId q, ValueId k, ValueId v, ValueId mask) {
  auto shape = context.shape(q);
  if (!shape || shape->size() != 3 || !shape->back().is_constant()) context.unsupported("a width that is not known before the run");
  Attributes attributes = with({{"heads", heads}, {"kv_heads", heads}, {"head_dim", shape->back().value() / heads}});
  if (double scale = context.number("scale", 0); scale != 0) attributes.set("scale", scale);
  if (context.integer("unidirectional", 0) != 0) attributes.set("causal", int64_t(1));
  return context.add(Op::attention, {q, k, v, mask}, attributes);
}

std::vector<ValueId> split(OpContext& context, ValueId qkv, int64_t axis, const std::vector<int64_t>& sizes, std::string_view suffix) {
  return context.add_node(Op::split, {qkv}, 3, with({{"axis", axis}, {"split", sizes}}), suffix);
}

// product [b, t, q + k + v] of the input and a matrix of weights
void attend_projected(OpContext& context, ValueId product, ValueId mask) {
  int64_t heads = heads_of(context);
  ValueId qkv = context.has(2) ? context.add(Op::add, {product, context.input(2)}, {}, "qkv") : product;
  auto sizes = context.integers("qkv_hidden_sizes");
  auto shape = context.shape(context.required(1));
  if (sizes.empty() && shape && shape->size() == 2 && (*shape)[1].is_constant()) sizes.assign(3, (*shape)[1].value() / 3);
  if (sizes.size() != 3) context.unsupported("a width that is not known before the run");
  auto parts = split(context, qkv, 2, sizes, "split");
  context.set_output(0, attend(context, heads, parts[0], parts[1], parts[2], kept_keys(context, context.required(0), mask)));
}

}  // namespace

// x [b, t, in], weights [in, q + k + v], bias, mask?, past?, attention_bias?
void contrib_attention(OpContext& context) {
  if (context.has(4) || context.wants(1)) context.unsupported("past and present keys");
  if (context.has(5)) context.unsupported("attention_bias");
  attend_projected(context, add_matmul(context, context.required(0), context.required(1), "qkv_product"), context.input(3));
}

// x and weights as codes, bias, scales of both, mask?, zero points of both, past?
void contrib_qattention(OpContext& context) {
  if (context.has(8) || context.wants(1)) context.unsupported("past and present keys");
  ValueId x = dequantized(context, context.required(0), context.required(3), context.input(6), -1, "x");
  ValueId weights = dequantized(context, context.required(1), context.required(4), context.input(7), -1, "weights");
  attend_projected(context, add_matmul(context, x, weights, "qkv_product"), context.input(5));
}

// query [b, t, heads*d], key, value, bias [q + k + v]?, key_padding_mask?, attention_bias [b, heads, t, s]?, past keys and values?
void contrib_multi_head_attention(OpContext& context) {
  int64_t heads = heads_of(context);
  if (context.input_count() > 6 && (context.has(6) || context.has(7))) context.unsupported("past and present keys");
  if (context.wants(1) || context.wants(2)) context.unsupported("past and present keys");
  if (context.has(4) && context.has(5)) context.unsupported("a key_padding_mask together with an attention_bias");
  std::vector<ValueId> qkv;
  for (size_t i = 0; i < 3; i++) {
    if (!context.has(i) || context.required_rank(context.input(i)) != 3) context.unsupported("packed queries, keys and values");
    qkv.push_back(context.input(i));
  }
  if (context.has(3)) {
    std::vector<int64_t> widths;
    for (ValueId v : qkv) {
      Dim width = context.shape(v)->back();
      if (!width.is_constant()) context.unsupported("a width that is not known before the run");
      widths.push_back(width.value());
    }
    auto biases = split(context, context.input(3), 0, widths, "biases");
    for (size_t i = 0; i < 3; i++) qkv[i] = context.add(Op::add, {qkv[i], biases[i]}, {}, cat("biased_", "qkv"[i]));
  }
  ValueId mask = context.has(5) ? context.input(5) : kept_keys(context, qkv[1], context.input(4));
  context.set_output(0, attend(context, heads, qkv[0], qkv[1], qkv[2], mask));
}

}  // namespace lacuna::onnx::import
