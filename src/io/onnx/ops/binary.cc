// Ops of two operands with numpy broadcasting, since 7 (before, broadcasting was an attribute), and the variadic ones since 6;
// later versions only add types. PRelu: the slope broadcasts to x.
#include <map>

#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void binary(OpContext& context) {
  static const std::map<std::string_view, Op> ops = {
      {"Add", Op::add},         {"And", Op::logical_and},
      {"Div", Op::div},         {"Equal", Op::equal},
      {"Greater", Op::greater}, {"GreaterOrEqual", Op::greater_equal},
      {"Less", Op::less},       {"LessOrEqual", Op::less_equal},
      {"Mod", Op::mod},         {"Mul", Op::mul},
      {"Or", Op::logical_or},   {"PRelu", Op::prelu},
      {"Pow", Op::pow},         {"Sub", Op::sub},
      {"Xor", Op::logical_xor},
  };
  ValueId a = context.required(0), b = context.required(1);
  Attributes attributes;
  context.copy(attributes, {"fmod"});
  // Pow computes in the type of the base.
  if (context.type() == "Pow" && context.dtype(a) != context.dtype(b)) b = context.cast(b, context.dtype(a), "exponent");
  context.set_output(0, context.add(ops.at(context.type()), {a, b}, attributes));
}

// Max, Min, Sum, Mean of any number of operands.
void variadic(OpContext& context) {
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < context.input_count(); i++) inputs.push_back(context.required(i));
  if (inputs.empty()) context.invalid("has no inputs");
  const std::string& type = context.type();
  if (type == "Max" || type == "Min") return context.set_output(0, context.add(type == "Max" ? Op::maximum : Op::minimum, inputs));
  ValueId sum = inputs[0];
  bool mean = type == "Mean";
  for (size_t i = 1; i < inputs.size(); i++) {
    bool last = i + 1 == inputs.size() && !mean;
    sum = context.add(Op::add, {sum, inputs[i]}, {}, last ? "" : "sum_" + std::to_string(i));
  }
  if (mean && inputs.size() > 1) sum = context.add(Op::div, {sum, context.scalar(double(inputs.size()), context.dtype(sum), "count")});
  context.set_output(0, sum);
}

void where(OpContext& context) { context.set_output(0, context.add(Op::where, {context.required(0), context.required(1), context.required(2)})); }

}  // namespace lacuna::onnx::import
