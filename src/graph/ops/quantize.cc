// Quantization of activations: the shape of the input.
#include "base/cat.h"
#include "graph/ops/rules.h"

namespace lacuna::ops {
namespace {

// A scale is a scalar, a vector along axis, or (with block_size) has the rank of x.
void expect_scale(const InferContext& context) {
  auto *x = context.shape(0), *scale = context.shape(1);
  if (!x || !scale || scale->empty()) return;
  if (context.attributes().integer("block_size", 0) > 0) return expect_rank(context, 1, x->size());
  expect_rank(context, 1, 1);
  if (scale->back() == Dim(1) || x->empty()) return;
  int64_t axis = normalise_axis(context.attributes().integer("axis", 1), int64_t(x->size()), context);
  expect_equal(context, scale->back(), (*x)[size_t(axis)], cat("the number of scales and axis ", axis));
}

// The type of the zero point, of attribute dtype, or u8.
void quantize(InferContext& context) {
  expect_scale(context);
  std::string name = context.attributes().text("dtype", "u8");
  auto dtype = dtype_from_name(name);
  if (!dtype || is_float(*dtype)) context.fail(cat("attribute 'dtype' is '", name, "', wanted an integer type"));
  context.set(0, context.has_input(2) ? context.input(2).dtype : *dtype, context.input(0).shape);
}

void dequantize(InferContext& context) {
  expect_scale(context);
  context.set(0, context.input(1).dtype, context.input(0).shape);
}

void dynamic_quantize(InferContext& context) {
  context.set(0, DType::kU8, context.input(0).shape);
  context.set(1, DType::kF32, SymShape{});
  context.set(2, DType::kU8, SymShape{});
}

const OpSchema kSchemas[] = {
    {Op::quantize, 2, 3, 1, 1, {"axis", "dtype", "block_size"}, quantize},
    {Op::dequantize, 2, 3, 1, 1, {"axis", "block_size"}, dequantize},
    {Op::dynamic_quantize, 1, 1, 3, 3, {}, dynamic_quantize},
};

}  // namespace

std::span<const OpSchema> quantize_schemas() { return kSchemas; }

}  // namespace lacuna::ops
