// com.microsoft: what ONNX Runtime's transformer optimizer fuses BERT-like models into. Version 1 of each.
#include "base/cat.h"
#include "io/onnx/quantized.h"

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

namespace {

// The sum of the rows of three tables, normalised. `rows` gives rows of the table that is input i, `vector` the vector that is input i.
template <class Rows, class Vector>
void embed(OpContext& context, ValueId mask, ValueId positions, Rows&& rows, Vector&& vector) {
  ValueId ids = context.required(0);
  if (positions == kNoValue) {
    ValueId shape = context.add(Op::shape_of, {ids}, with({{"start", int64_t(1)}}), "shape");
    ValueId tokens = context.add(Op::squeeze, {shape}, with({{"axes", std::vector<int64_t>{0}}}), "tokens");
    positions = context.add(Op::range, {context.scalar(0, DType::kS64, "zero"), tokens, context.scalar(1, DType::kS64, "one")}, {}, "positions");
  }
  ValueId sum = context.add(Op::add, {rows(2, ids, "word"), rows(3, positions, "position")}, {}, "word_and_position");
  if (context.has(1) && context.has(4)) sum = context.add(Op::add, {sum, rows(4, context.input(1), "segment")}, {}, "sum");
  context.set_output(0, context.add(Op::layer_norm, {sum, vector(5, "scale"), vector(6, "bias")},
                                    with({{"axis", int64_t(-1)}, {"epsilon", context.number("epsilon", 1e-12f)}})));
  context.set_output(2, sum);
  if (!context.wants(1)) return;
  if (mask == kNoValue) {
    ValueId batch = context.add(Op::shape_of, {ids}, with({{"start", int64_t(0)}, {"end", int64_t(1)}}), "batch");
    return context.set_output(1, context.add(Op::constant_of_shape, {batch}, with({{"value", 0.0}, {"dtype", "s32"}}), "mask_index"));
  }
  ValueId count = context.add(Op::reduce_sum, {mask}, with({{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t(0)}}), "mask_sum");
  context.set_output(1, context.cast(count, DType::kS32, "mask_index"));
}

}  // namespace

// input_ids, segment_ids?, word, position, segment?, scale, bias, mask?, position_ids?
void contrib_embed_layer_normalization(OpContext& context) {
  auto rows = [&](size_t table, ValueId at, const char* name) {
    return context.add(Op::gather, {context.required(table), at}, with({{"axis", int64_t(0)}}), name);
  };
  embed(context, context.input(7), context.input(8), rows, [&](size_t i, const char*) { return context.required(i); });
}

// As before, tables and vectors of codes: their scales are inputs 8 to 12, their zero points 13 to 17.
void contrib_qembed_layer_normalization(OpContext& context) {
  auto value = [&](ValueId codes, size_t table, const char* name) {
    return dequantized(context, codes, context.required(table + 6), context.input(table + 11), 0, name);
  };
  auto rows = [&](size_t table, ValueId at, std::string name) {
    return value(context.add(Op::gather, {context.required(table), at}, with({{"axis", int64_t(0)}}), name + "_codes"), table, name.c_str());
  };
  embed(context, context.input(7), kNoValue, rows, [&](size_t i, const char* name) { return value(context.required(i), i, name); });
}

}  // namespace lacuna::onnx::import
