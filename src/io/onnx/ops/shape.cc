// Shapes: Reshape since 5 (14 adds allowzero), Shape (15 adds start and end), Squeeze and Unsqueeze (13: axes an input), Flatten
// (11 allows negative axes), Expand 8, Tile 6, Transpose 1. Later versions only add types.
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void reshape(OpContext& context) {
  Attributes attributes;
  context.copy(attributes, {"allowzero"});
  context.set_output(0, context.add(Op::reshape, {context.required(0), context.required(1)}, attributes));
}

void shape(OpContext& context) {
  Attributes attributes;
  context.copy(attributes, {"start", "end"});
  context.set_output(0, context.add(context.type() == "Shape" ? Op::shape_of : Op::size_of, {context.required(0)}, attributes));
}

void flatten(OpContext& context) {
  context.set_output(0, context.add(Op::flatten, {context.required(0)}, with({{"axis", context.integer("axis", 1)}})));
}

void transpose(OpContext& context) {
  Attributes attributes;
  context.copy(attributes, {"perm"});
  context.set_output(0, context.add(Op::transpose, {context.required(0)}, attributes));
}

void squeeze(OpContext& context) {
  Attributes attributes;
  context.copy(attributes, {"axes"});
  ValueId axes = context.input(1);
  if (auto known = context.integers_of(axes)) {
    attributes.set("axes", *known);
    axes = kNoValue;
  }
  context.set_output(0, context.add(context.type() == "Squeeze" ? Op::squeeze : Op::unsqueeze, {context.required(0), axes}, attributes));
}

void expand(OpContext& context) { context.set_output(0, context.add(Op::expand, {context.required(0), context.required(1)})); }

void tile(OpContext& context) { context.set_output(0, context.add(Op::tile, {context.required(0), context.required(1)})); }

}  // namespace lacuna::onnx::import
