// Gather, GatherElements, GatherND (12 adds batch_dims), Scatter (9; the old name of ScatterElements), ScatterElements and ScatterND
// (16 adds the reductions add and mul, 18 max and min).
#include "base/cat.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void gather(OpContext& context) {
  ValueId x = context.required(0), indices = context.required(1);
  const std::string& type = context.type();
  if (type == "GatherND")
    return context.set_output(0, context.add(Op::gather_nd, {x, indices}, with({{"batch_dims", context.integer("batch_dims", 0)}})));
  context.set_output(0, context.add(type == "Gather" ? Op::gather : Op::gather_elements, {x, indices}, with({{"axis", context.integer("axis", 0)}})));
}

void scatter(OpContext& context) {
  std::string reduction = context.text("reduction", "none");
  if (reduction != "none" && reduction != "add" && reduction != "mul" && reduction != "max" && reduction != "min")
    context.unsupported("reduction = " + reduction);
  Attributes attributes = with({{"reduction", reduction}});
  bool nd = context.type() == "ScatterND";
  if (!nd) attributes.set("axis", context.integer("axis", 0));
  context.set_output(
      0, context.add(nd ? Op::scatter_nd : Op::scatter_elements, {context.required(0), context.required(1), context.required(2)}, attributes));
}

}  // namespace lacuna::onnx::import
