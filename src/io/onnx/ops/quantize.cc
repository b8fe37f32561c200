// QuantizeLinear and DequantizeLinear: 10 per tensor, 13 along an axis, 21 blocks and 16-bit and 4-bit types, 23 output_dtype;
// `saturate` concerns 8-bit floats only. DynamicQuantizeLinear 11. The integer ops (MatMulInteger, ConvInteger 10; QLinearConv 10,
// QLinearMatMul 10 and 21) become the float op between dequantize and quantize: claim_weights makes coded weights of their constants.
#include "base/cat.h"
#include "io/onnx/gemm.h"
#include "io/onnx/quantized.h"
#include "io/onnx/tensors.h"

namespace lacuna::onnx {

ValueId dequantized(OpContext& context, ValueId x, ValueId scale, ValueId zero_point, int64_t axis, std::string_view suffix) {
  Attributes attributes;
  auto shape = context.shape(scale);
  if (!shape || (!shape->empty() && shape->back() != Dim(1))) attributes.set("axis", axis);
  return context.add(Op::dequantize, {x, scale, zero_point}, attributes, suffix);
}

ValueId quantized(OpContext& context, ValueId y, ValueId scale, ValueId zero_point, std::string_view suffix) {
  return context.add(Op::quantize, {y, scale, zero_point}, {}, suffix);
}

ValueId integer_value(OpContext& context, ValueId x, ValueId zero_point, int64_t axis, std::string_view suffix) {
  auto shape = context.shape(zero_point);
  std::string name(suffix);
  if (shape && !shape->empty()) {
    if (shape->size() != 1 || !(*shape)[0].is_constant()) context.unsupported(cat("zero points of shape ", to_string(*shape)));
    std::vector<float> ones(size_t((*shape)[0].value()), 1.0f);
    return dequantized(context, x, context.constant(Tensor::of<float>({int64_t(ones.size())}, ones), name + "_scale"), zero_point, axis, suffix);
  }
  return dequantized(context, x, context.scalar(1, DType::kF32, name + "_scale"), zero_point, axis, suffix);
}

ValueId product_of_scales(OpContext& context, ValueId a, ValueId b, std::string_view suffix) {
  auto x = context.numbers_of(a), y = context.numbers_of(b);
  if (!x || !y || x->size() != 1) return context.add(Op::mul, {a, b}, {}, suffix);
  std::vector<float> product;
  for (double v : *y) product.push_back(float((*x)[0]) * float(v));
  Shape shape = *constant_shape(*context.shape(b));
  return context.constant(Tensor::of<float>(shape, product), suffix);
}

namespace import {

void quantize_linear(OpContext& context) {
  ValueId x = context.required(0), scale = context.required(1);
  Attributes attributes;
  context.copy(attributes, {"axis", "block_size"});
  if (int64_t code = context.integer("output_dtype", 0); code != 0) {
    auto dtype = dtype_of_code(int(code));
    if (!dtype || is_float(*dtype)) context.unsupported(cat("output_dtype ", type_name_of_code(int(code))));
    attributes.set("dtype", std::string(name_of(*dtype)));
  }
  context.set_output(0, context.add(Op::quantize, {x, scale, context.input(2)}, attributes));
}

void dequantize_linear(OpContext& context) {
  ValueId x = context.required(0), scale = context.required(1);
  Attributes attributes;
  context.copy(attributes, {"axis", "block_size"});
  ValueId y = context.add(Op::dequantize, {x, scale, context.input(2)}, attributes);
  if (int64_t code = context.integer("output_dtype", 0); code != 0 && code != code_of(context.dtype(y)))
    context.unsupported("output_dtype other than the scale's");
  context.set_output(0, y);
}

void dynamic_quantize_linear(OpContext& context) {
  auto results = context.add_node(Op::dynamic_quantize, {context.required(0)}, 3, {});
  for (size_t i = 0; i < 3; i++) context.set_output(i, results[i]);
}

void matmul_integer(OpContext& context) {
  ValueId a = context.required(0), b = context.required(1);
  ValueId x = integer_value(context, a, context.input(2), -2, "a"), w = integer_value(context, b, context.input(3), -1, "b");
  ValueId y = add_matmul(context, x, w, "product");
  context.set_output(0, context.add(Op::cast, {y}, with({{"to", "s32"}})));
}

void conv_integer(OpContext& context) {
  ValueId x = integer_value(context, context.required(0), context.input(2), 1, "x");
  ValueId w = integer_value(context, context.required(1), context.input(3), 0, "w");
  ValueId y = context.add(Op::conv, {x, w}, conv_attributes(context, w), "product");
  context.set_output(0, context.add(Op::cast, {y}, with({{"to", "s32"}})));
}

// x, scale, zero point; w, scale, zero point; scale, zero point of y; bias in units of the product of both scales
void qlinear_conv(OpContext& context) {
  ValueId x = dequantized(context, context.required(0), context.required(1), context.required(2), 1, "x");
  ValueId w = dequantized(context, context.required(3), context.required(4), context.required(5), 0, "w");
  ValueId bias = kNoValue;
  if (context.has(8))
    bias = dequantized(context, context.input(8), product_of_scales(context, context.input(1), context.input(4), "bias_scale"), kNoValue, 0, "bias");
  ValueId y = context.add(Op::conv, {x, w, bias}, conv_attributes(context, w), "float");
  context.set_output(0, quantized(context, y, context.required(6), context.required(7), ""));
}

void qlinear_matmul(OpContext& context) {
  ValueId a = dequantized(context, context.required(0), context.required(1), context.required(2), -2, "a");
  ValueId b = dequantized(context, context.required(3), context.required(4), context.required(5), -1, "b");
  context.set_output(0, quantized(context, add_matmul(context, a, b, "float"), context.required(6), context.required(7), ""));
}

}  // namespace import
}  // namespace lacuna::onnx
