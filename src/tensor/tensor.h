// Dense tensors: contiguous, row-major, cheap to copy (they share their bytes).
#pragma once

#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/dtype.h"

namespace lacuna {

using Shape = std::vector<int64_t>;

// Product of the dimensions; 1 for a scalar.
inline int64_t element_count(std::span<const int64_t> shape) { return std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<>()); }
// As element_count, for shapes out of files: throws InvalidData naming `what` if a dimension is negative or the byte size overflows.
int64_t checked_element_count(std::span<const int64_t> shape, DType dtype, std::string_view what);

class Tensor {
 public:
  Tensor() = default;  // dtype f32, shape {0}
  // Zero-initialised. Throws ResourceExhausted.
  Tensor(DType dtype, Shape shape, bool zeroed = true);
  // A view of existing bytes (a mapped file, another tensor); `bytes` must hold exactly the elements.
  Tensor(DType dtype, Shape shape, Bytes bytes);
  // As above, over memory that the caller may write (an arena's).
  static Tensor writable_view(DType dtype, Shape shape, Bytes bytes);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int64_t axis) const { return shape_[size_t(axis < 0 ? axis + rank() : axis)]; }
  int64_t rank() const { return int64_t(shape_.size()); }
  int64_t size() const { return size_; }  // elements
  size_t size_bytes() const { return bytes_.size; }
  const Bytes& bytes() const { return bytes_; }
  const std::byte* raw() const { return bytes_.data; }
  bool empty() const { return size_ == 0; }

  template <class T>
  std::span<const T> data() const {
    LACUNA_ASSERT(sizeof(T) * 8 == size_t(bits_of(dtype_)));
    return {reinterpret_cast<const T*>(bytes_.data), size_t(size_)};
  }
  // Requires that the tensor owns its bytes (was not made from a mapping).
  template <class T>
  std::span<T> mutable_data() {
    LACUNA_ASSERT(writable_ && sizeof(T) * 8 == size_t(bits_of(dtype_)));
    return {reinterpret_cast<T*>(const_cast<std::byte*>(bytes_.data)), size_t(size_)};
  }
  std::byte* mutable_raw() {
    LACUNA_ASSERT(writable_);
    return const_cast<std::byte*>(bytes_.data);
  }

  // Same bytes, other shape of the same element count.
  Tensor reshaped(Shape shape) const;
  // Deep copy, writable.
  Tensor clone() const;
  // Value conversion (not for 4-bit types): float to integer rounds to nearest even and saturates.
  Tensor to(DType dtype) const;

  template <class T>
  static Tensor of(Shape shape, std::span<const T> values);

 private:
  DType dtype_ = DType::kF32;
  Shape shape_ = {0};
  int64_t size_ = 0;
  bool writable_ = false;
  Bytes bytes_;
};

template <class T>
Tensor Tensor::of(Shape shape, std::span<const T> values) {
  Tensor t(dtype_v<T>, std::move(shape), false);
  LACUNA_ASSERT(t.size() == int64_t(values.size()));
  std::copy(values.begin(), values.end(), t.mutable_data<T>().begin());
  return t;
}

// Row-major f32 matrices by reference. `stride` is in elements, >= cols.
struct ConstMatrixRef {
  const float* data;
  int64_t rows, cols, stride;
  std::span<const float> row(int64_t r) const { return {data + r * stride, size_t(cols)}; }
};
struct MatrixRef {
  float* data;
  int64_t rows, cols, stride;
  std::span<float> row(int64_t r) const { return {data + r * stride, size_t(cols)}; }
  operator ConstMatrixRef() const { return {data, rows, cols, stride}; }
};

// max|a - b| / max|b|, the relative error of the house; infinity if shapes differ or a NaN has no partner.
double relative_error(const Tensor& a, const Tensor& b);
// max|a - b|, same rules.
double absolute_error(const Tensor& a, const Tensor& b);

// "[2, 40, 160]"
std::string to_string(std::span<const int64_t> shape);

// Converts n elements of any type but the 4-bit ones to f32.
void convert_to_f32(DType type, const std::byte* in, int64_t n, float* out);
// Rounds n f32 values to a float type.
void convert_from_f32(const float* in, int64_t n, DType type, std::byte* out);

}  // namespace lacuna
