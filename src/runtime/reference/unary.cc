// Elementwise ops with one input.
#include <cmath>
#include <limits>
#include <type_traits>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

// y = f(x) for floats; integers have no such op.
template <class F>
void map_floats(const OpCall& call, F&& f) {
  const Tensor& x = call.in(0);
  if (x.dtype() != DType::kF32) call.fail(cat("input is ", name_of(x.dtype()), ", wanted a float type"));
  Tensor& y = call.make(0, DType::kF32, x.shape());
  for (int64_t i = 0; i < x.size(); i++) elements<float>(y)[i] = f(elements<float>(x)[i]);
}

// y = f(x) for any numeric type; f is generic.
template <class F>
void map_numbers(const OpCall& call, F&& f) {
  const Tensor& x = call.in(0);
  Tensor& y = call.make(0, x.dtype(), x.shape());
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < x.size(); i++) elements<T>(y)[i] = T(f(elements<T>(x)[i]));
  });
}

// y = f(x), a truth value.
template <class F>
void test_floats(const OpCall& call, F&& f) {
  const Tensor& x = call.in(0);
  Tensor& y = call.make(0, DType::kBool, x.shape());
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < x.size(); i++) elements<bool>(y)[i] = f(double(elements<T>(x)[i]));
  });
}

float logistic(float x) { return 1 / (1 + std::exp(-x)); }
float soft_plus(float x) { return std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x))); }

}  // namespace

void relu(const OpCall& call) {
  map_numbers(call, [](auto x) { return x > decltype(x)(0) || x != x ? x : decltype(x)(0); });  // keeps NaN
}
void leaky_relu(const OpCall& call) {
  float alpha = float(call.number("alpha", 0.01));
  map_floats(call, [=](float x) { return x >= 0 ? x : alpha * x; });
}
void elu(const OpCall& call) {
  float alpha = float(call.number("alpha", 1));
  map_floats(call, [=](float x) { return x >= 0 ? x : alpha * std::expm1(x); });
}
void selu(const OpCall& call) {
  float alpha = float(call.number("alpha", 1.67326319217681884765625)), gamma = float(call.number("gamma", 1.05070102214813232421875));
  map_floats(call, [=](float x) { return gamma * (x > 0 ? x : alpha * std::expm1(x)); });
}
void celu(const OpCall& call) {
  float alpha = float(call.number("alpha", 1));
  map_floats(call, [=](float x) { return x > 0 ? x : x < 0 ? alpha * std::expm1(x / alpha) : x; });  // NaN stays
}
void sigmoid(const OpCall& call) { map_floats(call, logistic); }
void hard_sigmoid(const OpCall& call) {
  float alpha = float(call.number("alpha", 0.2)), beta = float(call.number("beta", 0.5));
  map_floats(call, [=](float x) { return std::max(0.0f, std::min(1.0f, alpha * x + beta)); });
}
void hard_swish(const OpCall& call) {
  map_floats(call, [](float x) { return x * std::max(0.0f, std::min(1.0f, x / 6 + 0.5f)); });
}
void tanh(const OpCall& call) {
  map_floats(call, [](float x) { return std::tanh(x); });
}
void gelu(const OpCall& call) {
  std::string approximate = call.text("approximate", "none");
  if (approximate == "tanh")
    return map_floats(call, [](float x) { return 0.5f * x * (1 + std::tanh(0.7978845608028654f * (x + 0.044715f * x * x * x))); });
  if (approximate != "none") call.fail(cat("approximate is '", approximate, "', known are none, tanh"));
  map_floats(call, [](float x) { return 0.5f * x * (1 + std::erf(x * 0.70710678118654752f)); });
}
void silu(const OpCall& call) {
  map_floats(call, [](float x) { return x * logistic(x); });
}
void mish(const OpCall& call) {
  map_floats(call, [](float x) { return x * std::tanh(soft_plus(x)); });
}
void softplus(const OpCall& call) { map_floats(call, soft_plus); }
void softsign(const OpCall& call) {
  map_floats(call, [](float x) { return x / (1 + std::abs(x)); });
}
void thresholded_relu(const OpCall& call) {
  float alpha = float(call.number("alpha", 1));
  map_floats(call, [=](float x) { return x > alpha ? x : 0; });
}
void shrink(const OpCall& call) {
  double bias = call.number("bias", 0), lambd = call.number("lambd", 0.5);
  map_numbers(call, [=](auto x) { return double(x) < -lambd ? double(x) + bias : double(x) > lambd ? double(x) - bias : 0; });
}
void erf(const OpCall& call) {
  map_floats(call, [](float x) { return std::erf(x); });
}
void exp(const OpCall& call) {
  map_floats(call, [](float x) { return std::exp(x); });
}
void log(const OpCall& call) {
  map_floats(call, [](float x) { return std::log(x); });
}
void sqrt(const OpCall& call) {
  map_floats(call, [](float x) { return std::sqrt(x); });
}
void reciprocal(const OpCall& call) {
  map_floats(call, [](float x) { return 1 / x; });
}
void abs(const OpCall& call) {
  map_numbers(call, [](auto x) {
    if constexpr (std::is_floating_point_v<decltype(x)>)
      return std::abs(x);
    else
      return x < decltype(x)(0) ? decltype(x)(0 - x) : x;
  });
}
void neg(const OpCall& call) {
  map_numbers(call, [](auto x) {
    if constexpr (std::is_floating_point_v<decltype(x)>)
      return -x;
    else
      return decltype(x)(uint64_t(0) - uint64_t(x));
  });
}
void sign(const OpCall& call) {
  map_numbers(call, [](auto x) { return x != x ? x : decltype(x)(int(x > decltype(x)(0)) - int(x < decltype(x)(0))); });
}
void floor(const OpCall& call) {
  map_floats(call, [](float x) { return std::floor(x); });
}
void ceil(const OpCall& call) {
  map_floats(call, [](float x) { return std::ceil(x); });
}
void round(const OpCall& call) {
  map_floats(call, [](float x) { return std::nearbyint(x); });
}
void sin(const OpCall& call) {
  map_floats(call, [](float x) { return std::sin(x); });
}
void cos(const OpCall& call) {
  map_floats(call, [](float x) { return std::cos(x); });
}
void tan(const OpCall& call) {
  map_floats(call, [](float x) { return std::tan(x); });
}
void atan(const OpCall& call) {
  map_floats(call, [](float x) { return std::atan(x); });
}
void logical_not(const OpCall& call) {
  test_floats(call, [](double x) { return x == 0; });
}
void is_nan(const OpCall& call) {
  test_floats(call, [](double x) { return std::isnan(x); });
}
void is_inf(const OpCall& call) {
  bool negative = call.integer("detect_negative", 1) != 0, positive = call.integer("detect_positive", 1) != 0;
  test_floats(call, [=](double x) { return std::isinf(x) && (x > 0 ? positive : negative); });
}

void clip(const OpCall& call) {
  const Tensor& x = call.in(0);
  Tensor& y = call.make(0, x.dtype(), x.shape());
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    // Bounds from inputs keep their type, so that 64-bit integers stay exact.
    auto bound = [&](size_t input, const char* name, T fallback) {
      if (call.has(input) && call.in(input).size() == 1 && call.in(input).dtype() == x.dtype()) return elements<T>(call.in(input))[0];
      if (call.has(input) && call.in(input).size() > 0) return T(scalar_of(call, input));
      if (!call.node.attributes.has(name)) return fallback;
      double value = call.number(name, 0);
      return value <= double(std::numeric_limits<T>::lowest()) ? std::numeric_limits<T>::lowest()
             : value >= double(std::numeric_limits<T>::max())  ? std::numeric_limits<T>::max()
                                                               : T(value);
    };
    bool infinite = std::numeric_limits<T>::has_infinity;
    T low = bound(1, "min", infinite ? T(-std::numeric_limits<T>::infinity()) : std::numeric_limits<T>::lowest());
    T high = bound(2, "max", infinite ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max());
    for (int64_t i = 0; i < x.size(); i++) {
      T v = elements<T>(x)[i];
      v = v < low ? low : v;
      elements<T>(y)[i] = v > high ? high : v;
    }
  });
}

void identity(const OpCall& call) { call.share(0, call.in(0)); }

namespace {
// Floats are truncated and saturate (NaN is 0), integers wrap, as in numpy where that is defined.
template <class To, class From>
To cast_value(From v) {
  if constexpr (std::is_same_v<To, bool>) {
    return v != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (std::isnan(v)) return To(0);
    if (double(v) <= double(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (double(v) >= double(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return To(v);
  } else {
    return To(v);
  }
}
}  // namespace

void cast(const OpCall& call) {
  const Tensor& x = call.in(0);
  std::string name = call.text("to", "f32");
  auto to = dtype_from_name(name);
  if (!to || bits_of(*to) < 8) call.fail(cat("cannot cast to '", name, "'"));
  Tensor& y = call.make(0, storage_type(*to), x.shape());
  with_type(x.dtype(), [&](auto from) {
    using From = decltype(from);
    with_type(y.dtype(), [&](auto into) {
      using To = decltype(into);
      for (int64_t i = 0; i < x.size(); i++) elements<To>(y)[i] = cast_value<To, From>(elements<From>(x)[i]);
    });
  });
  if (*to == DType::kF16)
    for (float& v : y.mutable_data<float>()) v = f16_to_f32(f32_to_f16(v));
  if (*to == DType::kBF16)
    for (float& v : y.mutable_data<float>()) v = bf16_to_f32(f32_to_bf16(v));
}

}  // namespace lacuna::reference
