// Ops of one operand with attributes. Defaults are written out, so that the Graph does not depend on ONNX's. Versions: 6 on
// (ThresholdedRelu 10, Celu 12, HardSwish 14, Gelu 20, Swish 24); later ones only add types.
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void activation(OpContext& context) {
  ValueId x = context.required(0);
  const std::string& type = context.type();
  auto alpha = [&](double fallback) { return std::pair("alpha", Attribute(context.number("alpha", fallback))); };
  auto number = [&](const char* name, double fallback) { return std::pair(name, Attribute(context.number(name, fallback))); };
  ValueId y = kNoValue;
  if (type == "Celu") y = context.add(Op::celu, {x}, with({alpha(1)}));
  if (type == "Elu") y = context.add(Op::elu, {x}, with({alpha(1)}));
  if (type == "Gelu") {
    std::string approximate = context.text("approximate", "none");
    if (approximate != "none" && approximate != "tanh") context.unsupported("approximate = " + approximate);
    y = context.add(Op::gelu, {x}, with({{"approximate", approximate}}));
  }
  if (type == "HardSigmoid") y = context.add(Op::hard_sigmoid, {x}, with({alpha(0.2f), number("beta", 0.5)}));
  if (type == "HardSwish") y = context.add(Op::hard_swish, {x});
  if (type == "IsInf")
    y = context.add(Op::is_inf, {x},
                    with({{"detect_negative", context.integer("detect_negative", 1)}, {"detect_positive", context.integer("detect_positive", 1)}}));
  if (type == "LeakyRelu") y = context.add(Op::leaky_relu, {x}, with({alpha(0.01f)}));
  if (type == "Selu") y = context.add(Op::selu, {x}, with({alpha(1.67326319217681884765625), number("gamma", 1.05070102214813232421875)}));
  if (type == "Shrink") y = context.add(Op::shrink, {x}, with({number("bias", 0), number("lambd", 0.5)}));
  if (type == "ThresholdedRelu") y = context.add(Op::thresholded_relu, {x}, with({alpha(1)}));
  if (type == "Swish") {
    double a = context.number("alpha", 1);
    if (a == 1) {
      y = context.add(Op::silu, {x});
    } else {
      ValueId scaled = context.add(Op::mul, {x, context.scalar(a, context.dtype(x), "alpha")}, {}, "scaled");
      y = context.add(Op::mul, {x, context.add(Op::sigmoid, {scaled}, {}, "sigmoid")});
    }
  }
  context.set_output(0, y);
}

}  // namespace lacuna::onnx::import
