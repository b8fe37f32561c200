// What the reference ops share: dispatch over element types, index arithmetic, windows of convolutions and pools.
#pragma once

#include <array>

#include "base/cat.h"
#include "runtime/reference/reference.h"
#include "tensor/with_type.h"

namespace lacuna::reference {

// f(T{}) for an unsigned integer as wide as the type: movement ops do not care what they move.
template <class F>
void with_width(DType type, F&& f) {
  switch (bits_of(type)) {
    case 8: return f(uint8_t{});
    case 16: return f(uint16_t{});
    case 32: return f(uint32_t{});
    case 64: return f(uint64_t{});
    default: LACUNA_ASSERT(!"type is not held while running");
  }
}

template <class T>
const T* elements(const Tensor& t) {
  return reinterpret_cast<const T*>(t.raw());
}
// Of an output, or of a local that is only read and may be a view of a mapped file: writing is for tensors of make().
template <class T>
T* elements(Tensor& t) {
  return reinterpret_cast<T*>(const_cast<std::byte*>(t.raw()));
}

// Elements to skip for one step along each axis of a row-major tensor.
std::vector<int64_t> strides_of(const Shape& shape);
// Axis in [0, rank), or fails.
int64_t axis_of(const OpCall& call, int64_t axis, int64_t rank);
// The elements of an integer input (any integer type).
std::vector<int64_t> integers_of(const Tensor& t);
// Elements of input `input` if present, or of attribute `name`.
std::vector<int64_t> integers_of(const OpCall& call, size_t input, std::string_view name);
// The one element of an input as a number.
double scalar_of(const OpCall& call, size_t input);
// The input converted to f32, as f32 tensors are.
Tensor as_f32(const Tensor& t);

// numpy broadcasting of shapes; fails on a contradiction.
Shape broadcast_shapes(const OpCall& call, const Shape& a, const Shape& b);
// Strides of `shape` seen as broadcast to `out`: 0 along repeated axes.
std::vector<int64_t> broadcast_strides(const Shape& shape, const Shape& out);

// Calls f(i, offsets) for each element i of `out` in order, offsets[n] = its position under strides[n].
template <size_t N, class F>
void for_each(const Shape& out, const std::array<std::vector<int64_t>, N>& strides, F&& f) {
  int64_t count = element_count(out);
  std::vector<int64_t> index(out.size(), 0);
  std::array<int64_t, N> offsets{};
  for (int64_t i = 0; i < count; i++) {
    f(i, offsets);
    for (size_t axis = out.size(); axis-- > 0;) {
      for (size_t n = 0; n < N; n++) offsets[n] += strides[n][axis];
      if (++index[axis] < out[axis]) break;
      for (size_t n = 0; n < N; n++) offsets[n] -= strides[n][axis] * out[axis];
      index[axis] = 0;
    }
  }
}

// Calls f(index, i) for every index of `shape` in row-major order.
template <class F>
void for_each_index(const Shape& shape, F&& f) {
  std::vector<int64_t> index(shape.size(), 0);
  int64_t count = element_count(shape);
  for (int64_t i = 0; i < count; i++) {
    f(std::span<const int64_t>(index), i);
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}

// A tensor seen as [outer, length, inner] around one axis.
struct AxisView {
  int64_t outer = 1, length = 1, inner = 1;
  AxisView(const Shape& shape, int64_t axis) {
    for (int64_t i = 0; i < int64_t(shape.size()); i++) (i < axis ? outer : i == axis ? length : inner) *= shape[size_t(i)];
  }
};

// A slice as a strided view: what starts, ends, axes and steps select.
struct SliceView {
  Shape shape;
  std::vector<int64_t> strides;
  int64_t offset = 0;
};
SliceView slice_view(const OpCall& call, const Shape& x, const std::vector<int64_t>& starts, const std::vector<int64_t>& ends,
                     std::optional<std::vector<int64_t>> axes, std::optional<std::vector<int64_t>> steps);

// Sliding windows over the spatial axes: attributes resolved for an actual input.
struct Windows {
  Shape input, kernel, strides, dilations, pad_begin, pad_end, output;
  void add_axis();               // one spatial dimension becomes a picture of height 1
  Windows without_axis() const;  // without the first
};
// `transposed`: conv_transpose, whose output size is computed by its own rules (left empty here).
Windows windows_of(const OpCall& call, const Shape& input_shape, const Shape& kernel, bool transposed = false);
// Of conv_transpose, with that size: x [n, c, ...], weight [c, out / groups, kernel...].
Windows transposed_windows_of(const OpCall& call, const Shape& x, const Shape& weight);

// A resize, axis by axis: for each output index the input indices and weights that make it. No taps: outside, the extrapolation value.
struct Tap {
  int64_t index;
  double weight;
};
struct ResizePlan {
  Shape shape;
  std::vector<std::vector<std::vector<Tap>>> taps;  // [axis][output index]
};
// Empty roi, scales or sizes: not given. Sizes win.
ResizePlan resize_plan(const OpCall& call, const Shape& x, const std::vector<float>& roi, const std::vector<float>& scales,
                       const std::vector<int64_t>& sizes);

}  // namespace lacuna::reference
