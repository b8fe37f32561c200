// Ops that make tensors from shapes and positions: ConstantOfShape 9, Range 11, OneHot 9 (11 allows negative axes), EyeLike 9,
// Trilu 14, NonZero 9, NonMaxSuppression 10 (11 clarifies).
#include "base/cat.h"
#include "io/onnx/importer.h"
#include "io/onnx/tensors.h"

namespace lacuna::onnx::import {

void constant_of_shape(OpContext& context) {
  DType dtype = DType::kF32;
  double value = 0;
  if (context.has_attribute("value")) {
    Tensor t = context.tensor("value");
    if (t.size() != 1) context.invalid(cat("attribute 'value' has ", t.size(), " elements, wanted 1"));
    if (bits_of(t.dtype()) < 8) context.unsupported("4-bit values");
    dtype = t.dtype();
    value = t.to(DType::kF64).data<double>()[0];
  }
  context.set_output(0, context.add(Op::constant_of_shape, {context.required(0)}, with({{"value", value}, {"dtype", std::string(name_of(dtype))}})));
}

void range(OpContext& context) { context.set_output(0, context.add(Op::range, {context.required(0), context.required(1), context.required(2)})); }

void one_hot(OpContext& context) {
  context.set_output(
      0, context.add(Op::one_hot, {context.required(0), context.required(1), context.required(2)}, with({{"axis", context.integer("axis", -1)}})));
}

void eye_like(OpContext& context) {
  Attributes attributes = with({{"k", context.integer("k", 0)}});
  if (context.has_attribute("dtype")) {
    int code = int(context.integer("dtype", 0));
    auto dtype = dtype_of_code(code);
    if (!dtype) context.unsupported(cat("dtype ", type_name_of_code(code)));
    attributes.set("dtype", std::string(name_of(*dtype)));
  }
  context.set_output(0, context.add(Op::eye_like, {context.required(0)}, attributes));
}

void trilu(OpContext& context) {
  context.set_output(0, context.add(Op::trilu, {context.required(0), context.input(1)}, with({{"upper", context.integer("upper", 1)}})));
}

void non_zero(OpContext& context) { context.set_output(0, context.add(Op::non_zero, {context.required(0)})); }

void non_max_suppression(OpContext& context) {
  std::vector<ValueId> inputs = {context.required(0), context.required(1), context.input(2), context.input(3), context.input(4)};
  context.set_output(0, context.add(Op::non_max_suppression, inputs, with({{"center_point_box", context.integer("center_point_box", 0)}})));
}

}  // namespace lacuna::onnx::import
