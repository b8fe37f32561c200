// Rare functions, by identities over exp, log and atan. Versions 7 and 9; 22 only adds types.
//   asin x = atan(x / sqrt(1 - x^2)), acos x = pi/2 - asin x, sinh and cosh from exp,
//   asinh x = sign(x) log(|x| + sqrt(x^2 + 1)), acosh x = log(x + sqrt(x^2 - 1)), atanh x = log((1 + x) / (1 - x)) / 2
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void trigonometry(OpContext& context) {
  ValueId x = context.required(0);
  int step = 0;
  auto constant = [&](double v) { return context.scalar(v, context.dtype(x), "constant_" + std::to_string(++step)); };
  auto op = [&](Op o, std::vector<ValueId> inputs) { return context.add(o, std::move(inputs), {}, "step_" + std::to_string(++step)); };
  ValueId one = constant(1), square = kNoValue;
  const std::string& type = context.type();
  if (type != "Sinh" && type != "Cosh" && type != "Atanh") square = op(Op::mul, {x, x});
  auto asin = [&] { return op(Op::atan, {op(Op::div, {x, op(Op::sqrt, {op(Op::sub, {one, square})})})}); };
  ValueId y = kNoValue;
  if (type == "Asin") y = asin();
  if (type == "Acos") y = op(Op::sub, {constant(1.5707963267948966), asin()});
  if (type == "Sinh" || type == "Cosh") {
    ValueId up = op(Op::exp, {x}), down = op(Op::exp, {op(Op::neg, {x})});
    y = op(Op::mul, {op(type == "Sinh" ? Op::sub : Op::add, {up, down}), constant(0.5)});
  }
  if (type == "Asinh") {
    ValueId root = op(Op::sqrt, {op(Op::add, {square, one})});
    y = op(Op::mul, {op(Op::sign, {x}), op(Op::log, {op(Op::add, {op(Op::abs, {x}), root})})});
  }
  if (type == "Acosh") y = op(Op::log, {op(Op::add, {x, op(Op::sqrt, {op(Op::sub, {square, one})})})});
  if (type == "Atanh") y = op(Op::mul, {op(Op::log, {op(Op::div, {op(Op::add, {one, x}), op(Op::sub, {one, x})})}), constant(0.5)});
  context.set_output(0, y);
}

}  // namespace lacuna::onnx::import
