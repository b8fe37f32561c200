// Cast since 6 (19 adds saturate, 24 round_mode, both for 8-bit floats only, which are not read), CastLike since 15.
#include "base/cat.h"
#include "io/onnx/importer.h"
#include "io/onnx/tensors.h"

namespace lacuna::onnx::import {

void cast(OpContext& context) {
  ValueId x = context.required(0);
  DType to;
  if (context.type() == "CastLike") {
    to = context.dtype(context.required(1));
  } else {
    int code = int(context.integer("to", 0));
    auto dtype = dtype_of_code(code);
    if (!dtype) context.unsupported(cat("to ", type_name_of_code(code)));
    to = *dtype;
  }
  context.set_output(0, context.add(Op::cast, {x}, with({{"to", std::string(name_of(to))}})));
}

}  // namespace lacuna::onnx::import
