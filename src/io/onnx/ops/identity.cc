// Identity since 1; Dropout since 7, which at inference passes its input on. 12: ratio and training_mode become inputs.
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void identity(OpContext& context) { context.set_output(0, context.required(0)); }

void dropout(OpContext& context) {
  ValueId x = context.required(0);
  if (context.has(2)) {
    auto training = context.integers_of(context.input(2));
    if (!training || training->size() != 1 || (*training)[0] != 0) context.unsupported("training_mode");
  }
  context.set_output(0, x);
  if (!context.wants(1)) return;
  // The mask of kept elements is all true; before version 10 it had the type of the input.
  DType dtype = context.version() < 10 ? context.dtype(x) : DType::kBool;
  ValueId shape = context.add(Op::shape_of, {x}, {}, "mask_shape");
  context.set_output(1, context.add(Op::constant_of_shape, {shape}, with({{"value", 1.0}, {"dtype", std::string(name_of(dtype))}}), "mask"));
}

}  // namespace lacuna::onnx::import
