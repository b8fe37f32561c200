// Shapes and movement.
#include "io/onnx/lower/lowerings.h"
#include "io/onnx/tensors.h"

namespace lacuna::onnx::lower {
namespace {

void squeeze(Lowering& l) {
  std::string axes = l.attributes().has("axes") ? l.constant(l.attributes().integers("axes")) : l.input(1);
  l.finish(l.node().op == Op::squeeze ? "Squeeze" : "Unsqueeze", {l.input(0), axes});
}

void split(Lowering& l) {
  std::map<std::string, AttributeValue> attributes = {{"axis", l.attributes().integer("axis", 0)}};
  if (l.has(1)) return l.finish("Split", l.inputs(), attributes);
  if (l.attributes().has("split")) return l.finish("Split", {l.input(0), l.constant(l.attributes().integers("split"))}, attributes);
  int64_t parts = int64_t(l.node().outputs.size());
  const SymShape* shape = l.shape(0);
  int64_t axis = l.attributes().integer("axis", 0);
  if (shape && axis < 0) axis += int64_t(shape->size());
  bool even = shape && (*shape)[size_t(axis)].is_constant() && (*shape)[size_t(axis)].value() % parts == 0;
  if (!even) l.needs_opset(18);
  if (l.opset() >= 18) attributes["num_outputs"] = parts;
  l.finish("Split", {l.input(0)}, attributes);
}

void pad(Lowering& l) {
  std::string mode = l.attributes().text("mode", "constant");
  if (l.has(3)) l.needs_opset(18);
  if (mode == "wrap") l.needs_opset(19);
  l.finish("Pad", l.inputs(), {{"mode", mode}});
}

void scatter(Lowering& l) {
  std::string reduction = l.attributes().text("reduction", "none");
  if (reduction == "max" || reduction == "min") l.needs_opset(18);
  auto attributes = l.copied({"axis"});
  if (reduction != "none") attributes["reduction"] = reduction;
  l.finish(l.node().op == Op::scatter_nd ? "ScatterND" : "ScatterElements", l.inputs(), attributes);
}

// Bounds of one element pass for scalars in many runtimes, but not in shape inference.
void range(Lowering& l) {
  std::vector<std::string> bounds = l.inputs();
  for (size_t i = 0; i < 3; i++)
    if (l.rank(i) && *l.rank(i) > 0) bounds[i] = l.reshape(bounds[i], {});
  l.finish("Range", bounds);
}

void constant_of_shape(Lowering& l) {
  DType dtype = *dtype_from_name(l.attributes().text("dtype", "f32"));
  Tensor value = Tensor::of<double>({1}, std::vector<double>{l.attributes().number("value", 0)}).to(dtype);
  l.finish("ConstantOfShape", {l.input(0)}, {{"value", value}});
}

void eye_like(Lowering& l) {
  auto attributes = l.copied({"k"});
  if (l.attributes().has("dtype")) attributes["dtype"] = int64_t(code_of(*dtype_from_name(l.attributes().text("dtype", "f32"))));
  l.finish("EyeLike", l.inputs(), attributes);
}

const Entry kEntries[] = {
    {Op::shape_of, LACUNA_LOWER_AS("Shape", "start", "end")},
    {Op::size_of, LACUNA_LOWER_AS("Size")},
    {Op::reshape, LACUNA_LOWER_AS("Reshape", "allowzero")},
    {Op::flatten, LACUNA_LOWER_AS("Flatten", "axis")},
    {Op::transpose, LACUNA_LOWER_AS("Transpose", "perm")},
    {Op::squeeze, squeeze},
    {Op::unsqueeze, squeeze},
    {Op::concat, LACUNA_LOWER_AS("Concat", "axis")},
    {Op::split, split},
    {Op::slice, LACUNA_LOWER_AS("Slice")},
    {Op::gather, LACUNA_LOWER_AS("Gather", "axis")},
    {Op::gather_elements, LACUNA_LOWER_AS("GatherElements", "axis")},
    {Op::gather_nd, LACUNA_LOWER_AS("GatherND", "batch_dims")},
    {Op::scatter_elements, scatter},
    {Op::scatter_nd, scatter},
    {Op::expand, LACUNA_LOWER_AS("Expand")},
    {Op::tile, LACUNA_LOWER_AS("Tile")},
    {Op::pad, pad},
    {Op::constant_of_shape, constant_of_shape},
    {Op::range, range},
    {Op::one_hot, LACUNA_LOWER_AS("OneHot", "axis")},
    {Op::trilu, LACUNA_LOWER_AS("Trilu", "upper")},
    {Op::eye_like, eye_like},
    {Op::non_zero, LACUNA_LOWER_AS("NonZero")},
    {Op::non_max_suppression, LACUNA_LOWER_AS("NonMaxSuppression", "center_point_box")},
};

}  // namespace

std::span<const Entry> movement() { return kEntries; }

}  // namespace lacuna::onnx::lower
