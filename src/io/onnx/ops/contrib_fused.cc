// com.microsoft: products with what follows them. Version 1 of each.
#include "base/cat.h"
#include "io/onnx/gemm.h"

namespace lacuna::onnx::import {
namespace {

// The activation of a fused op, with its parameters in ONNX's order.
ValueId activated(OpContext& context, ValueId x, const std::string& name, const std::vector<double>& parameters) {
  auto parameter = [&](size_t i, double fallback) { return i < parameters.size() ? parameters[i] : fallback; };
  if (name == "Relu") return context.add(Op::relu, {x});
  if (name == "Tanh") return context.add(Op::tanh, {x});
  if (name == "Sigmoid") return context.add(Op::sigmoid, {x});
  if (name == "LeakyRelu") return context.add(Op::leaky_relu, {x}, with({{"alpha", parameter(0, 0.01f)}}));
  if (name == "Clip")
    return context.add(Op::clip, {x}, with({{"min", parameter(0, -3.4028234663852886e38)}, {"max", parameter(1, 3.4028234663852886e38)}}));
  if (name == "HardSigmoid") return context.add(Op::hard_sigmoid, {x}, with({{"alpha", parameter(0, 0.2f)}, {"beta", parameter(1, 0.5)}}));
  context.unsupported("activation = " + name);
}

}  // namespace

// x, weight, bias?, z? added before the activation
void contrib_fused_conv(OpContext& context) {
  ValueId weight = context.required(1);
  std::string activation = context.text("activation", "");
  bool added = context.has(3), last = activation.empty();
  ValueId y = context.add(Op::conv, {context.required(0), weight, context.input(2)}, conv_attributes(context, weight), added || !last ? "conv" : "");
  if (added) y = context.add(Op::add, {y, context.input(3)}, {}, last ? "" : "sum");
  context.set_output(0, last ? y : activated(context, y, activation, context.numbers("activation_params")));
}

void contrib_fused_gemm(OpContext& context) {
  GemmOperands g{.a = context.required(0), .b = context.required(1), .c = context.input(2)};
  g.transpose_a = context.integer("transA", 0) != 0;
  g.transpose_b = context.integer("transB", 0) != 0;
  g.alpha = context.number("alpha", 1);
  g.beta = context.number("beta", 1);
  std::vector<double> parameters;
  for (const char* name : {"activation_alpha", "activation_beta", "activation_gamma"})
    if (context.has_attribute(name)) parameters.push_back(context.number(name, 0));
  std::string activation = context.text("activation", "");
  ValueId y = add_gemm(context, g, activation.empty() ? "" : "gemm");
  context.set_output(0, activation.empty() ? y : activated(context, y, activation, parameters));
}

void contrib_fused_matmul(OpContext& context) {
  if (context.integer("transBatchA", 0) || context.integer("transBatchB", 0)) context.unsupported("transposed batch dimensions");
  Attributes attributes;
  if (context.integer("transA", 0)) attributes.set("transpose_a", int64_t(1));
  if (context.integer("transB", 0)) attributes.set("transpose_b", int64_t(1));
  if (double alpha = context.number("alpha", 1); alpha != 1) attributes.set("scale", alpha);
  context.set_output(0, context.add(Op::matmul, {context.required(0), context.required(1)}, attributes));
}

}  // namespace lacuna::onnx::import
