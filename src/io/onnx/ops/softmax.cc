// Softmax, LogSoftmax, Hardmax. 1 and 11 flatten the axes from `axis` (1) on into one; 13 works along `axis` (-1) alone.
#include "base/cat.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void softmax(OpContext& context) {
  ValueId x = context.required(0);
  bool flatten = context.version() < 13;
  int64_t axis = context.integer("axis", flatten ? 1 : -1);
  auto rank = context.rank(x);
  if (flatten && rank && (axis == *rank - 1 || axis == -1)) flatten = false;
  Attributes attributes = with({{"axis", axis}});
  if (flatten) attributes.set("flatten", int64_t(1));
  context.set_output(0, context.add(context.type() == "Softmax" ? Op::softmax : Op::log_softmax, {x}, attributes));
}

// One where the first largest element is, zero elsewhere.
void hardmax(OpContext& context) {
  ValueId x = context.required(0), original_shape = kNoValue;
  bool flatten = context.version() < 13;
  int64_t axis = context.integer("axis", flatten ? 1 : -1), rank = context.required_rank(x);
  if (flatten) {
    original_shape = context.add(Op::shape_of, {x}, {}, "shape");
    x = context.add(Op::flatten, {x}, with({{"axis", axis}}), "flat");
    axis = 1, rank = 2;
  }
  if (axis < 0) axis += rank;
  auto shape = context.shape(x);
  if (axis < 0 || axis >= int64_t(shape->size()) || !(*shape)[size_t(axis)].is_constant())
    context.unsupported("a length of the axis that is not known before the run");
  ValueId index = context.add(Op::arg_max, {x}, with({{"axis", axis}, {"keepdims", int64_t(0)}}), "index");
  ValueId depth = context.scalar(double((*shape)[size_t(axis)].value()), DType::kS64, "depth");
  ValueId values = context.constant(Tensor::of<double>({2}, std::vector<double>{0, 1}).to(context.dtype(x)), "values");
  ValueId y = context.add(Op::one_hot, {index, depth, values}, with({{"axis", axis}}), flatten ? "one_hot" : "");
  if (flatten) y = context.add(Op::reshape, {y, original_shape});
  context.set_output(0, y);
}

}  // namespace lacuna::onnx::import
