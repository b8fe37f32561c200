// com.microsoft: what ONNX Runtime's transformer optimizer fuses BERT-like models into. Version 1 of each.
#include "base/cat.h"
#include "io/onnx/gemm.h"

namespace lacuna::onnx::import {

// Gelu(x), BiasGelu(x, bias): exact; FastGelu(x, bias?): tanh; QuickGelu(x): x sigmoid(alpha x)
void contrib_gelu(OpContext& context) {
  ValueId x = context.required(0);
  const std::string& type = context.type();
  if (type == "QuickGelu") {
    ValueId scaled = context.add(Op::mul, {x, context.scalar(context.number("alpha", 1.702f), context.dtype(x), "alpha")}, {}, "scaled");
    return context.set_output(0, context.add(Op::mul, {x, context.add(Op::sigmoid, {scaled}, {}, "sigmoid")}));
  }
  if (context.has(1)) x = context.add(Op::add, {x, context.input(1)}, {}, "biased");
  context.set_output(0, context.add(Op::gelu, {x}, with({{"approximate", type == "FastGelu" ? "tanh" : "none"}})));
}

// LayerNormalization or RMS of x + skip + bias: x, skip, scale, [beta,] bias
void contrib_skip_layer_normalization(OpContext& context) {
  bool simplified = context.type() == "SkipSimplifiedLayerNormalization";
  ValueId sum = context.add(Op::add, {context.required(0), context.required(1)}, {}, "skip");
  if (ValueId bias = context.input(simplified ? 3 : 4); bias != kNoValue) sum = context.add(Op::add, {sum, bias}, {}, "biased");
  if (context.wants(1) || context.wants(2)) context.unsupported("mean and deviation as outputs");
  Attributes attributes = with({{"axis", int64_t(-1)}, {"epsilon", context.number("epsilon", 1e-12f)}});
  if (simplified)
    context.set_output(0, context.add(Op::rms_norm, {sum, context.required(2)}, attributes));
  else
    context.set_output(0, context.add(Op::layer_norm, {sum, context.required(2), context.input(3)}, attributes));
  context.set_output(3, sum);
}

// input_ids, segment_ids?, word, position, segment?, scale, bias, mask?, position_ids?
void contrib_embed_layer_normalization(OpContext& context) {
  ValueId ids = context.required(0);
  auto rows = [&](ValueId table, ValueId at, const char* name) { return context.add(Op::gather, {table, at}, with({{"axis", int64_t(0)}}), name); };
  ValueId positions = context.input(8);
  if (positions == kNoValue) {
    ValueId shape = context.add(Op::shape_of, {ids}, with({{"start", int64_t(1)}}), "shape");
    ValueId tokens = context.add(Op::squeeze, {shape}, with({{"axes", std::vector<int64_t>{0}}}), "tokens");
    positions = context.add(Op::range, {context.scalar(0, DType::kS64, "zero"), tokens, context.scalar(1, DType::kS64, "one")}, {}, "positions");
  }
  ValueId sum =
      context.add(Op::add, {rows(context.required(2), ids, "word"), rows(context.required(3), positions, "position")}, {}, "word_and_position");
  if (context.has(1) && context.has(4)) sum = context.add(Op::add, {sum, rows(context.input(4), context.input(1), "segment")}, {}, "sum");
  context.set_output(0, context.add(Op::layer_norm, {sum, context.required(5), context.required(6)},
                                    with({{"axis", int64_t(-1)}, {"epsilon", context.number("epsilon", 1e-12f)}})));
  context.set_output(2, sum);
  if (!context.wants(1)) return;
  if (!context.has(7)) context.unsupported("mask_index without a mask");
  ValueId count = context.add(Op::reduce_sum, {context.input(7)}, with({{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t(0)}}), "mask_sum");
  context.set_output(1, context.cast(count, DType::kS32, "mask_index"));
}

// x [b, t, in], weights [in, q + k + v], bias, mask_index?, past?, attention_bias?
void contrib_attention(OpContext& context) {
  ValueId x = context.required(0), weights = context.required(1), mask = context.input(3);
  if (context.has(4) || context.wants(1)) context.unsupported("past and present keys");
  if (context.integer("do_rotary", 0) != 0) context.unsupported("do_rotary");
  if (context.has(5)) context.unsupported("attention_bias");
  int64_t heads = context.integer("num_heads", 0);
  if (heads < 1) context.invalid(cat("num_heads is ", heads));
  ValueId qkv = add_matmul(context, x, weights, "qkv_product");
  if (context.has(2)) qkv = context.add(Op::add, {qkv, context.input(2)}, {}, "qkv");
  auto sizes = context.integers("qkv_hidden_sizes");
  auto shape = context.shape(weights);
  if (sizes.empty() && shape && shape->size() == 2 && (*shape)[1].is_constant()) sizes.assign(3, (*shape)[1].value() / 3);
  if (sizes.size() != 3) context.unsupported("a width that is not known before the run");
  auto parts = context.add_node(Op::split, {qkv}, 3, with({{"axis", int64_t(2)}, {"split", sizes}}), "split");
  if (mask != kNoValue) {
    int64_t rank = context.required_rank(mask);
    if (rank == 1) {  // the number of keys of each row: key j is kept if j < count
      ValueId tokens = context.add(Op::squeeze, {context.add(Op::shape_of, {x}, with({{"start", int64_t(1)}, {"end", int64_t(2)}}), "shape")},
                                   with({{"axes", std::vector<int64_t>{0}}}), "tokens");
      ValueId range = context.add(Op::range, {context.scalar(0, DType::kS64, "zero"), tokens, context.scalar(1, DType::kS64, "one")}, {}, "keys");
      ValueId count = context.add(Op::unsqueeze, {context.cast(mask, DType::kS64, "count")}, with({{"axes", std::vector<int64_t>{1}}}), "counts");
      mask = context.add(Op::less, {range, count}, {}, "mask");
    } else if (rank == 3) {
      mask = context.add(Op::unsqueeze, {context.cast(mask, DType::kBool, "mask_bool")}, with({{"axes", std::vector<int64_t>{1}}}), "mask");
    } else if (rank != 2) {
      context.unsupported(cat("a mask of ", rank, " dimensions"));
    }
  }
  Attributes attributes = with({{"heads", heads}, {"kv_heads", heads}, {"head_dim", sizes[0] / heads}});
  if (double scale = context.number("scale", 0); scale != 0) attributes.set("scale", scale);
  if (context.integer("unidirectional", 0) != 0) attributes.set("causal", int64_t(1));
  context.set_output(0, context.add(Op::attention, {parts[0], parts[1], parts[2], mask}, attributes));
}

}  // namespace lacuna::onnx::import
