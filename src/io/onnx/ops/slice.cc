// Slice: 1 has starts, ends and axes as attributes; 10 as inputs, with steps. Pad: 2 has pads and value as attributes; 11 as inputs;
// 18 adds axes, 19 the mode wrap.
#include "base/cat.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void slice(OpContext& context) {
  ValueId x = context.required(0);
  if (context.version() >= 10)
    return context.set_output(0, context.add(Op::slice, {x, context.required(1), context.required(2), context.input(3), context.input(4)}));
  ValueId starts = context.constant(context.integers("starts"), "starts"), ends = context.constant(context.integers("ends"), "ends");
  ValueId axes = context.has_attribute("axes") ? context.constant(context.integers("axes"), "axes") : kNoValue;
  context.set_output(0, context.add(Op::slice, {x, starts, ends, axes}));
}

void pad(OpContext& context) {
  ValueId x = context.required(0);
  std::string mode = context.text("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap") context.unsupported("mode = " + mode);
  Attributes attributes = with({{"mode", mode}});
  if (context.version() >= 11)
    return context.set_output(
        0, context.add(Op::pad, {x, context.required(1), mode == "constant" ? context.input(2) : kNoValue, context.input(3)}, attributes));
  double value = context.number("value", 0);
  ValueId fill = value != 0 && mode == "constant" ? context.scalar(value, context.dtype(x), "value") : kNoValue;
  context.set_output(0, context.add(Op::pad, {x, context.constant(context.integers("pads"), "pads"), fill}, attributes));
}

}  // namespace lacuna::onnx::import
