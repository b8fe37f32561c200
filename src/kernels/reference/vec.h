// Eight floats in plain loops: the vector of the inner/*.inl templates where no instruction set is assumed.
#pragma once

#include <cmath>
#include <cstdint>

namespace lacuna::kernels::reference {

struct Vec {
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 16;
  float v[kLanes];

  template <class F>
  static Vec each(F f) {
    Vec out;
    for (int i = 0; i < kLanes; i++) out.v[i] = f(i);
    return out;
  }
  static Vec zero() { return set1(0); }
  static Vec set1(float x) {
    return each([&](int) { return x; });
  }
  static Vec load(const float* p) {
    return each([&](int i) { return p[i]; });
  }
  static Vec load_even(const float* p) {
    return each([&](int i) { return p[2 * i]; });
  }
  static Vec load_first(const float* p, int64_t n) {
    return each([&](int i) { return i < n ? p[i] : 0.0f; });
  }
  static Vec even(Vec a, Vec b) {
    return each([&](int i) { return i < kLanes / 2 ? a.v[2 * i] : b.v[2 * i - kLanes]; });
  }
  static Vec odd(Vec a, Vec b) {
    return each([&](int i) { return i < kLanes / 2 ? a.v[2 * i + 1] : b.v[2 * i + 1 - kLanes]; });
  }
  static Vec follow(Vec a, Vec b) {
    return each([&](int i) { return i == 0 ? a.v[kLanes - 1] : b.v[i - 1]; });
  }
  static Vec first_of(Vec a, int64_t n, Vec b) {
    return each([&](int i) { return i < n ? a.v[i] : b.v[i]; });
  }
  static void store(float* p, Vec a) {
    for (int i = 0; i < kLanes; i++) p[i] = a.v[i];
  }
  static void store_first(float* p, Vec a, int64_t n) {
    for (int i = 0; i < n; i++) p[i] = a.v[i];
  }
  static Vec fmadd(Vec a, Vec b, Vec c) {
    return each([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
  }
  static Vec add(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] + b.v[i]; });
  }
  static Vec sub(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] - b.v[i]; });
  }
  static Vec mul(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] * b.v[i]; });
  }
  static Vec div(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] / b.v[i]; });
  }
  static Vec max(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  static Vec min(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
  }
  static bool any_above(Vec a, Vec b) {
    bool any = false;
    for (int i = 0; i < kLanes; i++) any |= a.v[i] > b.v[i];
    return any;
  }
  static Vec round(Vec a) {
    return each([&](int i) { return std::nearbyint(a.v[i]); });
  }
  static Vec floor(Vec a) {
    return each([&](int i) { return std::floor(a.v[i]); });
  }
  static Vec ceil(Vec a) {
    return each([&](int i) { return std::ceil(a.v[i]); });
  }
  static Vec sqrt(Vec a) {
    return each([&](int i) { return std::sqrt(a.v[i]); });
  }
  static Vec abs(Vec a) {
    return each([&](int i) { return std::abs(a.v[i]); });
  }
  static Vec neg(Vec a) {
    return each([&](int i) { return -a.v[i]; });
  }
  static Vec mantissa(Vec a) {
    int exponent;
    return each([&](int i) { return 2 * std::frexp(a.v[i], &exponent); });
  }
  static Vec exponent(Vec a) {
    return each([&](int i) {
      int exponent;
      std::frexp(a.v[i], &exponent);
      return float(exponent - 1);
    });
  }
  static float sum(Vec a) {
    float total = 0;
    for (float lane : a.v) total += lane;
    return total;
  }
  static Vec swap_pairs(Vec a) {
    return each([&](int i) { return a.v[i ^ 1]; });
  }
  static Vec power_of_two(Vec n) {
    return each([&](int i) { return n.v[i] == n.v[i] ? std::ldexp(1.0f, int(n.v[i])) : n.v[i]; });
  }
  // Four columns of eight rows: lane i of column c is p[row(i) * stride + c], row(i) = min(i, rows - 1).
  struct Four;
  static Four load_transposed(const float* p, int64_t stride, int64_t rows);
  static Vec where_nan(Vec a, Vec b, Vec c) {
    return each([&](int i) { return a.v[i] != a.v[i] ? b.v[i] : c.v[i]; });
  }
  static Vec where_negative(Vec a, Vec b, Vec c) {
    return each([&](int i) { return a.v[i] < 0 ? b.v[i] : c.v[i]; });
  }
};

struct Vec::Four {
  Vec column[4];
};
inline Vec::Four Vec::load_transposed(const float* p, int64_t stride, int64_t rows) {
  Four four;
  for (int c = 0; c < 4; c++) four.column[c] = each([&](int i) { return p[(i < rows ? i : rows - 1) * stride + c]; });
  return four;
}

}  // namespace lacuna::kernels::reference
