// com.microsoft: ops on quantized tensors, as ONNX Runtime's quantizer writes them. Each is the float op between dequantize and
// quantize. Version 1 of each.
#include "base/cat.h"
#include "io/onnx/gemm.h"
#include "io/onnx/quantized.h"

namespace lacuna::onnx::import {
namespace {

// Operands x, scale, zero point at `first`.
ValueId operand(OpContext& context, size_t first, std::string_view name) {
  return dequantized(context, context.required(first), context.required(first + 1), context.input(first + 2), -1, name);
}

}  // namespace

// a, its scale and zero point, b and its, scale and zero point of the result
void contrib_qlinear_binary(OpContext& context) {
  ValueId a = operand(context, 0, "a"), b = operand(context, 3, "b");
  ValueId y = context.add(context.type() == "QLinearAdd" ? Op::add : Op::mul, {a, b}, {}, "float");
  context.set_output(0, quantized(context, y, context.required(6), context.input(7), ""));
}

void contrib_qlinear_unary(OpContext& context) {
  ValueId x = operand(context, 0, "x"), y;
  if (context.type() == "QLinearLeakyRelu")
    y = context.add(Op::leaky_relu, {x}, with({{"alpha", context.number("alpha", 0.01f)}}), "float");
  else if (context.type() == "QLinearSoftmax")
    y = context.add(Op::softmax, {x}, with({{"axis", context.integer("axis", -1)}}), "float");
  else
    y = context.add(Op::sigmoid, {x}, {}, "float");
  context.set_output(0, quantized(context, y, context.required(3), context.input(4), ""));
}

void contrib_qlinear_pool(OpContext& context) {
  if (context.integer("channels_last", 0) != 0) context.unsupported("channels_last = 1");
  ValueId x = operand(context, 0, "x"), y;
  if (context.type() == "QLinearGlobalAveragePool") {
    y = context.add(Op::global_average_pool, {x}, {}, "float");
  } else {
    Attributes attributes;
    context.copy(attributes, {"kernel_shape", "strides", "pads", "ceil_mode", "count_include_pad"});
    if (std::string auto_pad = context.text("auto_pad", "NOTSET"); auto_pad != "NOTSET") attributes.set("auto_pad", auto_pad);
    y = context.add(Op::average_pool, {x}, attributes, "float");
  }
  context.set_output(0, quantized(context, y, context.required(3), context.input(4), ""));
}

// scale and zero point of the result, then x, scale, zero point of each part
void contrib_qlinear_concat(OpContext& context) {
  std::vector<ValueId> parts;
  for (size_t i = 2; i + 2 < context.input_count() + 1; i += 3) parts.push_back(operand(context, i, cat("part_", parts.size())));
  if (parts.empty()) context.invalid("has no inputs");
  ValueId y = context.add(Op::concat, parts, with({{"axis", context.integer("axis", 1)}}), "float");
  context.set_output(0, quantized(context, y, context.required(0), context.input(1), ""));
}

// a, scale, zero point; b, scale, zero point; c in units of the product of the scales; scale and zero point of the result, if quantized
void contrib_qgemm(OpContext& context) {
  bool transpose_b = context.integer("transB", 0) != 0;
  GemmOperands g{.a = operand(context, 0, "a")};
  g.b = dequantized(context, context.required(3), context.required(4), context.input(5), transpose_b ? 0 : 1, "b");
  g.transpose_a = context.integer("transA", 0) != 0;
  g.transpose_b = transpose_b;
  g.alpha = context.number("alpha", 1);
  if (context.has(6)) {
    if (g.alpha != 1) context.unsupported("alpha other than 1 with a bias");
    g.c = dequantized(context, context.input(6), product_of_scales(context, context.input(1), context.input(4), "c_scale"), kNoValue, 0, "c");
  }
  bool codes = context.has(7);
  ValueId y = add_gemm(context, g, codes ? "float" : "");
  context.set_output(0, codes ? quantized(context, y, context.input(7), context.input(8), "") : y);
}

// a, b, scales, zero points?, bias?
void contrib_matmul_integer_to_float(OpContext& context) {
  ValueId a = dequantized(context, context.required(0), context.required(2), context.input(4), -2, "a");
  ValueId b = dequantized(context, context.required(1), context.required(3), context.input(5), -1, "b");
  ValueId y = add_matmul(context, a, b, context.has(6) ? "product" : "");
  context.set_output(0, context.has(6) ? context.add(Op::add, {y, context.input(6)}) : y);
}

// a as float, quantized on the way; b, scale, zero point?, bias?
void contrib_dynamic_quantize_matmul(OpContext& context) {
  auto codes = context.add_node(Op::dynamic_quantize, {context.required(0)}, 3, {}, "codes");
  ValueId a = dequantized(context, codes[0], codes[1], codes[2], -1, "a");
  ValueId b = dequantized(context, context.required(1), context.required(2), context.input(3), -1, "b");
  ValueId y = add_matmul(context, a, b, context.has(4) ? "product" : "");
  context.set_output(0, context.has(4) ? context.add(Op::add, {y, context.input(4)}) : y);
}

}  // namespace lacuna::onnx::import
