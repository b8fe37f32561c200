#include "tensor/tensor.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "base/cat.h"
#include "lacuna/error.h"
#include "tensor/with_type.h"

namespace lacuna {
namespace {

size_t bytes_for(DType dtype, const Shape& shape) {
  if (bits_of(dtype) >= 8) return size_t(element_count(shape)) * size_t(bits_of(dtype) / 8);
  // Nibbles: each row starts on a byte.
  int64_t row = shape.empty() ? 1 : shape.back();
  if (row == 0) return 0;
  return size_t(element_count(shape) / row * ((row + 1) / 2));
}

template <class To, class From>
To convert_value(From v) {
  if constexpr (std::is_same_v<To, bool>) {
    return v != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (std::isnan(v)) return To(0);
    double r = std::nearbyint(double(v));
    if (r <= double(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (r >= double(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return To(r);
  } else {
    return To(v);
  }
}

Tensor half_to_f32(const Tensor& t) {
  Tensor out(DType::kF32, t.shape(), false);
  convert_to_f32(t.dtype(), t.raw(), t.size(), out.mutable_data<float>().data());
  return out;
}

template <class Combine>
double compare(const Tensor& a, const Tensor& b, Combine&& combine) {
  if (a.shape() != b.shape()) return std::numeric_limits<double>::infinity();
  Tensor x = a.to(DType::kF64), y = b.to(DType::kF64);
  double difference = 0, magnitude = 0;
  for (int64_t i = 0; i < x.size(); i++) {
    double p = x.data<double>()[size_t(i)], q = y.data<double>()[size_t(i)];
    if (p == q || (std::isnan(p) && std::isnan(q))) {
      if (std::isfinite(q)) magnitude = std::max(magnitude, std::abs(q));
      continue;
    }
    if (!std::isfinite(p) || !std::isfinite(q)) return std::numeric_limits<double>::infinity();
    difference = std::max(difference, std::abs(p - q));
    magnitude = std::max(magnitude, std::abs(q));
  }
  return combine(difference, magnitude);
}

}  // namespace

int64_t checked_element_count(std::span<const int64_t> shape, DType dtype, std::string_view what) {
  int64_t count = 1;
  for (int64_t d : shape) {
    if (d < 0) throw InvalidData(cat(what, ": shape ", to_string(shape), " has a negative dimension"));
    if (d != 0 && count > std::numeric_limits<int64_t>::max() / 64 / d)  // a number of bits must not overflow either
      throw InvalidData(cat(what, ": shape ", to_string(shape), " of ", name_of(dtype), " overflows"));
    count *= d;
  }
  return count;
}

Tensor::Tensor(DType dtype, Shape shape, bool zeroed) : dtype_(dtype), shape_(std::move(shape)), size_(element_count(shape_)), writable_(true) {
  size_t size = bytes_for(dtype_, shape_);
  auto memory = allocate(size, zeroed);
  const std::byte* data = memory.get();
  bytes_ = {std::shared_ptr<const void>(memory, data), data, size};
}

Tensor::Tensor(DType dtype, Shape shape, Bytes bytes)
    : dtype_(dtype), shape_(std::move(shape)), size_(element_count(shape_)), bytes_(std::move(bytes)) {
  LACUNA_ASSERT(bytes_.size == bytes_for(dtype_, shape_));
}

Tensor Tensor::writable_view(DType dtype, Shape shape, Bytes bytes) {
  Tensor t(dtype, std::move(shape), std::move(bytes));
  t.writable_ = true;
  return t;
}

Tensor Tensor::reshaped(Shape shape) const {
  LACUNA_ASSERT(element_count(shape) == size_);
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

Tensor Tensor::clone() const {
  Tensor t(dtype_, shape_, false);
  if (size_bytes()) std::memcpy(t.mutable_raw(), raw(), size_bytes());
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  if (dtype_ == DType::kF16 || dtype_ == DType::kBF16) return half_to_f32(*this).to(dtype);
  Tensor out(dtype, shape_, false);
  if (dtype == DType::kF16 || dtype == DType::kBF16) {
    Tensor f = to(DType::kF32);
    convert_from_f32(f.data<float>().data(), size_, dtype, out.mutable_raw());
    return out;
  }
  with_type(dtype_, [&](auto from) {
    using From = decltype(from);
    with_type(dtype, [&](auto into) {
      using To = decltype(into);
      auto in = data<From>();
      auto result = out.mutable_data<To>();
      for (size_t i = 0; i < in.size(); i++) result[i] = convert_value<To, From>(in[i]);
    });
  });
  return out;
}

double relative_error(const Tensor& a, const Tensor& b) {
  return compare(a, b, [](double difference, double magnitude) {
    return difference == 0 ? 0 : magnitude == 0 ? std::numeric_limits<double>::infinity() : difference / magnitude;
  });
}

double absolute_error(const Tensor& a, const Tensor& b) {
  return compare(a, b, [](double difference, double) { return difference; });
}

std::string to_string(std::span<const int64_t> shape) { return cat(shape); }

void convert_to_f32(DType type, const std::byte* in, int64_t n, float* out) {
  if (type == DType::kF32) {
    if (n) std::memcpy(out, in, size_t(n) * 4);
  } else if (type == DType::kF16 || type == DType::kBF16) {
    auto convert = [&](auto to_f32) {
      for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        std::memcpy(&h, in + 2 * i, 2);
        out[i] = to_f32(h);
      }
    };
    type == DType::kF16 ? convert([](uint16_t h) { return f16_to_f32(h); }) : convert([](uint16_t h) { return bf16_to_f32(h); });
  } else {
    with_type(type, [&](auto scalar) {
      using T = decltype(scalar);
      for (int64_t i = 0; i < n; i++) {
        T v;
        std::memcpy(&v, in + size_t(i) * sizeof(T), sizeof(T));
        out[i] = float(v);
      }
    });
  }
}

void convert_from_f32(const float* in, int64_t n, DType type, std::byte* out) {
  LACUNA_ASSERT(is_float(type));
  auto convert = [&](auto rounded) {
    for (int64_t i = 0; i < n; i++) {
      auto v = rounded(in[i]);
      std::memcpy(out + i * int64_t(sizeof v), &v, sizeof v);
    }
  };
  switch (type) {
    case DType::kF64: return convert([](float v) { return double(v); });
    case DType::kF32: return convert([](float v) { return v; });
    case DType::kF16: return convert([](float v) { return f32_to_f16(v); });
    default: return convert([](float v) { return f32_to_bf16(v); });
  }
}

}  // namespace lacuna
