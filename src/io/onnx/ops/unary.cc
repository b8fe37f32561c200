// Ops of one operand that are one op of the Graph, without attributes: every version since opset 6; later ones only add types.
#include <map>

#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void unary(OpContext& context) {
  static const std::map<std::string_view, Op> ops = {
      {"Abs", Op::abs},         {"Atan", Op::atan},       {"Ceil", Op::ceil},    {"Cos", Op::cos},           {"Erf", Op::erf},
      {"Exp", Op::exp},         {"Floor", Op::floor},     {"IsNaN", Op::is_nan}, {"Log", Op::log},           {"Mish", Op::mish},
      {"Neg", Op::neg},         {"Not", Op::logical_not}, {"Relu", Op::relu},    {"Round", Op::round},       {"Reciprocal", Op::reciprocal},
      {"Sigmoid", Op::sigmoid}, {"Sign", Op::sign},       {"Sin", Op::sin},      {"Softplus", Op::softplus}, {"Softsign", Op::softsign},
      {"Sqrt", Op::sqrt},       {"Tan", Op::tan},         {"Tanh", Op::tanh},
  };
  context.set_output(0, context.add(ops.at(context.type()), {context.required(0)}));
}

}  // namespace lacuna::onnx::import
