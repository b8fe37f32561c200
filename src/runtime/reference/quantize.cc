// Quantization of activations as ONNX defines it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

// Position of the scale of each element of x: one, one per index of an axis, or one per block of it.
std::vector<int64_t> scale_strides(const OpCall& call, const Tensor& x, const Tensor& scale, int64_t& axis, int64_t& block) {
  block = std::max<int64_t>(1, call.integer("block_size", 0));
  std::vector<int64_t> strides(x.shape().size(), 0);
  axis = 0;
  if (scale.size() == 1 && scale.rank() < 2) return strides;
  axis = axis_of(call, call.integer("axis", 1), x.rank());
  if (call.integer("block_size", 0) > 0) {
    Shape wanted = x.shape();
    wanted[size_t(axis)] = (wanted[size_t(axis)] + block - 1) / block;
    if (scale.shape() != wanted) call.fail(cat("scale ", to_string(scale.shape()), " does not fit ", to_string(x.shape()), " in blocks of ", block));
    return strides_of(wanted);
  }
  if (scale.size() != x.dim(axis)) call.fail(cat("scale ", to_string(scale.shape()), " does not fit axis ", axis, " of ", to_string(x.shape())));
  strides[size_t(axis)] = 1;
  return strides;
}

// Calls f(i, s): element i takes scale s.
template <class F>
void for_each_scaled(const OpCall& call, const Tensor& x, const Tensor& scale, F&& f) {
  int64_t axis, block;
  auto strides = scale_strides(call, x, scale, axis, block);
  for_each_index(x.shape(), [&](std::span<const int64_t> index, int64_t i) {
    int64_t s = 0;
    for (size_t d = 0; d < index.size(); d++) s += (int64_t(d) == axis ? index[d] / block : index[d]) * strides[d];
    f(i, s);
  });
}

template <class T>
T saturate(double v) {
  return T(std::clamp(v, double(std::numeric_limits<T>::min()), double(std::numeric_limits<T>::max())));
}

}  // namespace

// y = saturate(round_half_even(x / scale) + zero_point)
void quantize(const OpCall& call) {
  Tensor x = as_f32(call.in(0)), scale = as_f32(call.in(1));
  auto type = call.has(2) ? call.in(2).dtype() : dtype_from_name(call.text("dtype", "u8"));
  if (!type || is_float(*type) || bits_of(*type) < 8) call.fail(cat("cannot quantize to '", call.text("dtype", "u8"), "'"));
  Tensor& y = call.make(0, *type, x.shape());
  with_type(*type, [&](auto scalar) {
    using T = decltype(scalar);
    for_each_scaled(call, x, scale, [&](int64_t i, int64_t s) {
      double zero = call.has(2) ? double(elements<T>(call.in(2))[s]) : 0;
      elements<T>(y)[i] = saturate<T>(std::nearbyint(elements<float>(x)[i] / elements<float>(scale)[s]) + zero);
    });
  });
}

// y = (x - zero_point) * scale
void dequantize(const OpCall& call) {
  const Tensor& x = call.in(0);
  Tensor scale = as_f32(call.in(1));
  Tensor& y = call.make(0, DType::kF32, x.shape());
  with_type(x.dtype(), [&](auto scalar) {
    using T = decltype(scalar);
    for_each_scaled(call, x, scale, [&](int64_t i, int64_t s) {
      double zero = call.has(2) ? double(elements<T>(call.in(2))[s]) : 0;
      elements<float>(y)[i] = float((double(elements<T>(x)[i]) - zero) * elements<float>(scale)[s]);
    });
  });
}

// One scale for the tensor, so that [min(x, 0), max(x, 0)] fills 0..255.
void dynamic_quantize(const OpCall& call) {
  const Tensor& x = call.in(0);
  float low = 0, high = 0;
  for (int64_t i = 0; i < x.size(); i++) low = std::min(low, elements<float>(x)[i]), high = std::max(high, elements<float>(x)[i]);
  float scale = (high - low) / 255;
  if (scale == 0) scale = 1;
  uint8_t zero = saturate<uint8_t>(std::nearbyint(-low / scale));
  Tensor& y = call.make(0, DType::kU8, x.shape());
  for (int64_t i = 0; i < x.size(); i++) elements<uint8_t>(y)[i] = saturate<uint8_t>(std::nearbyint(elements<float>(x)[i] / scale) + zero);
  elements<float>(call.make(1, DType::kF32, {}))[0] = scale;
  elements<uint8_t>(call.make(2, DType::kU8, {}))[0] = zero;
}

}  // namespace lacuna::reference
