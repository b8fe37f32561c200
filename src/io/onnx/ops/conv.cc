// Conv and ConvTranspose since 1; 11 fixes defaults that exporters wrote already, 22 adds types.
#include "base/cat.h"
#include "io/onnx/gemm.h"

namespace lacuna::onnx {

Attributes conv_attributes(OpContext& context, ValueId weight) {
  Attributes attributes;
  context.copy(attributes, {"strides", "pads", "dilations"});
  attributes.set("groups", context.integer("group", 1));
  std::string auto_pad = context.text("auto_pad", "NOTSET");
  if (auto_pad != "NOTSET" && !auto_pad.empty()) attributes.set("auto_pad", auto_pad);
  auto kernel = context.integers("kernel_shape");
  if (auto shape = context.shape(weight); shape && !kernel.empty()) {
    bool fits = shape->size() == kernel.size() + 2;
    for (size_t i = 0; fits && i < kernel.size(); i++) fits = !(*shape)[i + 2].is_constant() || (*shape)[i + 2].value() == kernel[i];
    if (!fits) context.invalid(cat("kernel_shape ", kernel, " does not fit the weight's shape ", to_string(*shape)));
  }
  return attributes;
}

namespace import {

void conv(OpContext& context) {
  ValueId weight = context.required(1);
  context.set_output(0, context.add(Op::conv, {context.required(0), weight, context.input(2)}, conv_attributes(context, weight)));
}

void conv_transpose(OpContext& context) {
  ValueId weight = context.required(1);
  Attributes attributes = conv_attributes(context, weight);
  context.copy(attributes, {"output_padding", "output_shape"});
  context.set_output(0, context.add(Op::conv_transpose, {context.required(0), weight, context.input(2)}, attributes));
}

void einsum(OpContext& context) {
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < context.input_count(); i++) inputs.push_back(context.required(i));
  context.set_output(0, context.add(Op::einsum, inputs, with({{"equation", context.text("equation", "")}})));
}

}  // namespace import
}  // namespace lacuna::onnx
