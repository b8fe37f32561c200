// Elementwise ops with several inputs, broadcast as numpy does.
#include <cmath>
#include <type_traits>
#include <utility>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

// Both inputs in one type: the first's, or f32 if one of them is.
struct Operands {
  Tensor a, b;
  Shape shape;
};
Operands operands_of(const OpCall& call) {
  Tensor a = call.in(0), b = call.in(1);
  if (a.dtype() != b.dtype()) {
    DType type = a.dtype() == DType::kF32 || b.dtype() == DType::kF32 ? DType::kF32 : a.dtype();
    a = a.to(type), b = b.to(type);
  }
  return {a, b, broadcast_shapes(call, a.shape(), b.shape())};
}

template <class F>
void combine(const OpCall& call, F&& f) {
  const Operands operands = operands_of(call);
  const Tensor &a = operands.a, &b = operands.b;  // clang 14 does not let a lambda see the names of a structured binding
  const Shape& shape = operands.shape;
  Tensor& y = call.make(0, a.dtype(), shape);
  with_type(a.dtype(), [&](auto type) {
    using T = decltype(type);
    std::array strides{broadcast_strides(a.shape(), shape), broadcast_strides(b.shape(), shape)};
    for_each<2>(shape, strides, [&](int64_t i, auto& at) { elements<T>(y)[i] = T(f(elements<T>(a)[at[0]], elements<T>(b)[at[1]])); });
  });
}

template <class F>
void compare(const OpCall& call, F&& f) {
  const Operands operands = operands_of(call);
  const Tensor &a = operands.a, &b = operands.b;  // clang 14 does not let a lambda see the names of a structured binding
  const Shape& shape = operands.shape;
  Tensor& y = call.make(0, DType::kBool, shape);
  with_type(a.dtype(), [&](auto type) {
    using T = decltype(type);
    std::array strides{broadcast_strides(a.shape(), shape), broadcast_strides(b.shape(), shape)};
    for_each<2>(shape, strides, [&](int64_t i, auto& at) { elements<bool>(y)[i] = f(elements<T>(a)[at[0]], elements<T>(b)[at[1]]); });
  });
}

// Integers wrap; signed overflow is not defined in C++, so they go through unsigned.
template <class T>
using Wrapping = std::conditional_t<std::is_floating_point_v<T>, T, uint64_t>;

// Any number of inputs, folded from the left.
template <class F>
void fold(const OpCall& call, F&& f) {
  Tensor result = call.in(0);
  for (size_t n = 1; n < call.node.inputs.size(); n++) {
    const Tensor& b = call.in(n);
    if (b.dtype() != result.dtype()) call.fail(cat("inputs are ", name_of(result.dtype()), " and ", name_of(b.dtype())));
    Shape shape = broadcast_shapes(call, result.shape(), b.shape());
    Tensor y(result.dtype(), shape, false);
    with_type(b.dtype(), [&](auto type) {
      using T = decltype(type);
      std::array strides{broadcast_strides(result.shape(), shape), broadcast_strides(b.shape(), shape)};
      for_each<2>(shape, strides,
                  [&](int64_t i, auto& at) { elements<T>(y)[i] = f(elements<T>(std::as_const(result))[at[0]], elements<T>(b)[at[1]]); });
    });
    result = y;
  }
  call.share(0, result);
}

template <class T>
T integer_power(T base, T exponent) {
  if (exponent < T(0)) return base == T(1) ? T(1) : T(0);
  uint64_t result = 1, factor = uint64_t(base);
  for (uint64_t e = uint64_t(exponent); e; e >>= 1, factor *= factor)
    if (e & 1) result *= factor;
  return T(result);
}

}  // namespace

void add(const OpCall& call) {
  combine(call, [](auto a, auto b) { return Wrapping<decltype(a)>(a) + Wrapping<decltype(a)>(b); });
}
void sub(const OpCall& call) {
  combine(call, [](auto a, auto b) { return Wrapping<decltype(a)>(a) - Wrapping<decltype(a)>(b); });
}
void mul(const OpCall& call) {
  combine(call, [](auto a, auto b) { return Wrapping<decltype(a)>(a) * Wrapping<decltype(a)>(b); });
}

void div(const OpCall& call) {
  combine(call, [&](auto a, auto b) {
    using T = decltype(a);
    if constexpr (std::is_floating_point_v<T>)
      return a / b;
    else if constexpr (std::is_same_v<T, bool>)
      return a && b;
    else {
      if (b == 0) call.fail("integer division by zero");
      if constexpr (std::is_signed_v<T>)
        if (b == T(-1)) return T(uint64_t(0) - uint64_t(a));
      return T(a / b);
    }
  });
}

void mod(const OpCall& call) {
  bool fmod = call.integer("fmod", 0) != 0;
  combine(call, [&](auto a, auto b) {
    using T = decltype(a);
    if constexpr (std::is_floating_point_v<T>) {
      T r = std::fmod(a, b);
      return !fmod && r != 0 && (r < 0) != (b < 0) ? r + b : r;
    } else if constexpr (std::is_same_v<T, bool>) {
      return false;
    } else {
      if (b == 0) call.fail("integer division by zero");
      if constexpr (std::is_signed_v<T>)
        if (b == T(-1)) return T(0);
      T r = T(a % b);
      return !fmod && r != 0 && (r < 0) != (b < 0) ? T(r + b) : r;
    }
  });
}

// The result has the type of the base, whatever the exponent's.
void pow(const OpCall& call) {
  const Tensor &base = call.in(0), &exponent = call.in(1);
  Shape shape = broadcast_shapes(call, base.shape(), exponent.shape());
  Tensor& y = call.make(0, base.dtype(), shape);
  with_type(base.dtype(), [&](auto type) {
    using T = decltype(type);
    with_type(exponent.dtype(), [&](auto exponent_type) {
      using E = decltype(exponent_type);
      std::array strides{broadcast_strides(base.shape(), shape), broadcast_strides(exponent.shape(), shape)};
      for_each<2>(shape, strides, [&](int64_t i, auto& at) {
        T b = elements<T>(base)[at[0]];
        E e = elements<E>(exponent)[at[1]];
        if constexpr (std::is_integral_v<T> && std::is_integral_v<E>)
          elements<T>(y)[i] = integer_power<T>(b, T(e));
        else
          elements<T>(y)[i] = T(std::pow(double(b), double(e)));
      });
    });
  });
}

void minimum(const OpCall& call) {
  fold(call, [](auto a, auto b) { return a != a || a < b ? a : b; });
}
void maximum(const OpCall& call) {
  fold(call, [](auto a, auto b) { return a != a || a > b ? a : b; });
}
void prelu(const OpCall& call) {
  combine(call, [](auto x, auto slope) { return x < decltype(x)(0) ? decltype(x)(x * slope) : x; });
}
void equal(const OpCall& call) {
  compare(call, [](auto a, auto b) { return a == b; });
}
void less(const OpCall& call) {
  compare(call, [](auto a, auto b) { return a < b; });
}
void less_equal(const OpCall& call) {
  compare(call, [](auto a, auto b) { return a <= b; });
}
void greater(const OpCall& call) {
  compare(call, [](auto a, auto b) { return a > b; });
}
void greater_equal(const OpCall& call) {
  compare(call, [](auto a, auto b) { return a >= b; });
}
void logical_and(const OpCall& call) {
  compare(call, [](auto a, auto b) { return bool(a) && bool(b); });
}
void logical_or(const OpCall& call) {
  compare(call, [](auto a, auto b) { return bool(a) || bool(b); });
}
void logical_xor(const OpCall& call) {
  compare(call, [](auto a, auto b) { return bool(a) != bool(b); });
}

void where(const OpCall& call) {
  const Tensor& condition = call.in(0);
  Tensor x = call.in(1), y = call.in(2);
  if (x.dtype() != y.dtype()) x = as_f32(x), y = as_f32(y);
  if (condition.dtype() != DType::kBool) call.fail(cat("condition is ", name_of(condition.dtype()), ", wanted bool"));
  Shape shape = broadcast_shapes(call, broadcast_shapes(call, condition.shape(), x.shape()), y.shape());
  Tensor& out = call.make(0, x.dtype(), shape);
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    std::array strides{broadcast_strides(condition.shape(), shape), broadcast_strides(x.shape(), shape), broadcast_strides(y.shape(), shape)};
    for_each<3>(shape, strides, [&](int64_t i, auto& at) {
      elements<T>(out)[i] = elements<bool>(condition)[at[0]] ? elements<T>(std::as_const(x))[at[1]] : elements<T>(std::as_const(y))[at[2]];
    });
  });
}

}  // namespace lacuna::reference
