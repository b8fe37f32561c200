// What the shape rules of the ops share. Each file of this folder gives the schemas of one kind of op; schemas.cc collects them.
#pragma once

#include <functional>
#include <span>

#include "graph/infer.h"

namespace lacuna::ops {

std::span<const OpSchema> linear_schemas();
std::span<const OpSchema> conv_schemas();
std::span<const OpSchema> attention_schemas();
std::span<const OpSchema> norm_schemas();
std::span<const OpSchema> elementwise_schemas();
std::span<const OpSchema> pool_schemas();
std::span<const OpSchema> reduce_schemas();
std::span<const OpSchema> shape_schemas();
std::span<const OpSchema> gather_schemas();
std::span<const OpSchema> quantize_schemas();
std::span<const OpSchema> recurrent_schemas();
std::span<const OpSchema> detect_schemas();

// Output 0 has the shape and type of input 0.
void same_as_input(InferContext& context);

// dtype of a float computation over inputs of both types: the wider; f16 with bf16 is f32. Integers keep the first's type.
DType promote(DType a, DType b);

// Throws unless the input's rank, if known, is `rank` (or at least, with `at_least`).
void expect_rank(const InferContext& context, size_t input, size_t rank, bool at_least = false);
// Throws if both are constants and differ. `what` names the two: "columns of the weight and width of the input".
void expect_equal(const InferContext& context, const Dim& a, const Dim& b, std::string_view what);

// Attribute or constant input `axes`, normalised and without duplicates; nullopt if the input is not known.
// `given` is false where there are none.
std::optional<std::vector<int64_t>> axes_of(const InferContext& context, size_t input, int64_t rank, bool& given);

// A row-major tensor of elements seen as [outer, axis, inner].
struct Blocks {
  int64_t outer = 1, axis = 1, inner = 1;
};
Blocks blocks_of(std::span<const int64_t> shape, int64_t axis);

// Elements of output 0 from those of the inputs, one by one with broadcasting; `combine` gives nullopt for what it cannot tell.
// Does nothing unless the elements of every input are known. Call after set().
using Combine = std::function<std::optional<Dim>(std::span<const Dim* const> operands)>;
void combine_elements(InferContext& context, const Combine& combine);

// Comparisons of expressions whose symbols are at least 0; nullopt where it depends.
std::optional<bool> is_equal(const Dim& a, const Dim& b);
std::optional<bool> is_less(const Dim& a, const Dim& b);

// Windows of convolution and pooling along the spatial axes of an input [n, c, spatial...].
struct Windows {
  std::vector<int64_t> strides, dilations, pads;  // pads: begin..., end...
  std::string auto_pad;                           // NOTSET, VALID, SAME_UPPER, SAME_LOWER
  bool ceil_mode = false;
};
// Reads and checks the attributes for `spatial` axes.
Windows windows_of(const InferContext& context, size_t spatial);
Dim windows_along(const InferContext& context, const Windows& windows, size_t axis, const Dim& size, const Dim& kernel);

}  // namespace lacuna::ops
