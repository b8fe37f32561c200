// Clip. 6: bounds are attributes. 11: optional inputs; 12 and 13 add types.
#include <limits>

#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void clip(OpContext& context) {
  ValueId x = context.required(0);
  if (context.version() < 11) {
    Attributes attributes;
    if (context.has_attribute("min")) attributes.set("min", context.number("min", 0));
    if (context.has_attribute("max")) attributes.set("max", context.number("max", 0));
    return context.set_output(0, context.add(Op::clip, {x}, attributes));
  }
  context.set_output(0, context.add(Op::clip, {x, context.input(1), context.input(2)}));
}

}  // namespace lacuna::onnx::import
