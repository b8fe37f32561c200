// Reductions over axes and accumulation along one. Float sums accumulate in double.
#include <cmath>
#include <limits>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

// Which axes are reduced, and the shape of the result.
struct Reduction {
  std::vector<bool> axes;
  Shape shape;  // as returned
  Shape kept;   // with the reduced axes as 1
  bool identity = false;
};

Reduction reduction_of(const OpCall& call) {
  const Shape& in = call.in(0).shape();
  auto axes = integers_of(call, 1, "axes");
  Reduction r;
  r.identity = axes.empty() && call.integer("noop_with_empty_axes", 0) != 0;
  r.axes.assign(in.size(), axes.empty() && !r.identity);
  for (int64_t axis : axes) r.axes[size_t(axis_of(call, axis, int64_t(in.size())))] = true;
  bool keep = call.integer("keepdims", 1) != 0;
  for (size_t i = 0; i < in.size(); i++) {
    r.kept.push_back(r.axes[i] ? 1 : in[i]);
    if (!r.axes[i] || keep) r.shape.push_back(r.kept.back());
  }
  return r;
}

// result = finish(fold of step over the slice, number of elements). S is the type that accumulates.
template <class Start, class Step, class Finish>
void reduce(const OpCall& call, Start&& start, Step&& step, Finish&& finish) {
  const Tensor& x = call.in(0);
  Reduction r = reduction_of(call);
  Tensor& y = call.make(0, x.dtype(), r.shape);
  int64_t count = y.size() ? x.size() / y.size() : 0;
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    using S = std::conditional_t<std::is_floating_point_v<T>, double, std::conditional_t<std::is_same_v<T, bool>, int64_t, T>>;
    std::vector<S> results(size_t(y.size()), S(start(S(0))));
    for_each<1>(x.shape(), {broadcast_strides(r.kept, x.shape())}, [&](int64_t i, auto& at) {
      S& result = results[size_t(at[0])];
      result = S(step(result, S(elements<T>(x)[i])));
    });
    for (size_t i = 0; i < results.size(); i++) elements<T>(y)[i] = T(finish(results[i], count));
  });
}

constexpr auto kZero = [](auto zero) { return zero; };
constexpr auto kSame = [](auto sum, int64_t) { return sum; };
constexpr auto kSum = [](auto sum, auto x) { return sum + x; };

template <class S>
S lowest() {
  return std::numeric_limits<S>::has_infinity ? S(-std::numeric_limits<S>::infinity()) : std::numeric_limits<S>::lowest();
}
template <class S>
S highest() {
  return std::numeric_limits<S>::has_infinity ? std::numeric_limits<S>::infinity() : std::numeric_limits<S>::max();
}

}  // namespace

void reduce_sum(const OpCall& call) { reduce(call, kZero, kSum, kSame); }
void reduce_mean(const OpCall& call) {
  reduce(call, kZero, kSum, [](auto sum, int64_t n) { return n ? sum / decltype(sum)(n) : sum; });
}
void reduce_max(const OpCall& call) {
  reduce(
      call, [](auto zero) { return lowest<decltype(zero)>(); }, [](auto best, auto x) { return x > best || x != x ? x : best; }, kSame);
}
void reduce_min(const OpCall& call) {
  reduce(
      call, [](auto zero) { return highest<decltype(zero)>(); }, [](auto best, auto x) { return x < best || x != x ? x : best; }, kSame);
}
void reduce_prod(const OpCall& call) {
  reduce(
      call, [](auto zero) { return decltype(zero)(1); }, [](auto product, auto x) { return product * x; }, kSame);
}
void reduce_l1(const OpCall& call) {
  reduce(
      call, kZero, [](auto sum, auto x) { return x < decltype(x)(0) ? sum - x : sum + x; }, kSame);
}
void reduce_l2(const OpCall& call) {
  reduce(
      call, kZero, [](auto sum, auto x) { return sum + x * x; }, [](auto sum, int64_t) { return std::sqrt(double(sum)); });
}
void reduce_sum_square(const OpCall& call) {
  reduce(
      call, kZero, [](auto sum, auto x) { return sum + x * x; }, kSame);
}
void reduce_log_sum(const OpCall& call) {
  reduce(call, kZero, kSum, [](auto sum, int64_t) { return std::log(double(sum)); });
}

// Shifted by the largest element, so that exp does not overflow.
void reduce_log_sum_exp(const OpCall& call) {
  const Tensor& x = call.in(0);
  if (x.dtype() != DType::kF32) call.fail(cat("input is ", name_of(x.dtype()), ", wanted a float type"));
  Reduction r = reduction_of(call);
  Tensor& y = call.make(0, DType::kF32, r.shape);
  std::vector<double> largest(size_t(y.size()), -std::numeric_limits<double>::infinity()), sums(size_t(y.size()), 0);
  auto strides = broadcast_strides(r.kept, x.shape());
  for_each<1>(x.shape(), {strides},
              [&](int64_t i, auto& at) { largest[size_t(at[0])] = std::max(largest[size_t(at[0])], double(elements<float>(x)[i])); });
  for_each<1>(x.shape(), {strides}, [&](int64_t i, auto& at) {
    double shift = std::isfinite(largest[size_t(at[0])]) ? largest[size_t(at[0])] : 0;
    sums[size_t(at[0])] += std::exp(elements<float>(x)[i] - shift);
  });
  for (size_t i = 0; i < sums.size(); i++) elements<float>(y)[i] = float(std::log(sums[i]) + (std::isfinite(largest[i]) ? largest[i] : 0));
}

namespace {
template <class Better>
void arg_best(const OpCall& call, Better&& better) {
  const Tensor& x = call.in(0);
  int64_t axis = axis_of(call, call.integer("axis", 0), x.rank());
  bool last = call.integer("select_last_index", 0) != 0;
  AxisView v(x.shape(), axis);
  if (v.length == 0) call.fail("the axis is empty");
  Shape shape = x.shape();
  if (call.integer("keepdims", 1))
    shape[size_t(axis)] = 1;
  else
    shape.erase(shape.begin() + axis);
  Tensor& y = call.make(0, DType::kS64, shape);
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t o = 0; o < v.outer; o++)
      for (int64_t i = 0; i < v.inner; i++) {
        auto at = [&](int64_t k) { return elements<T>(x)[(o * v.length + k) * v.inner + i]; };
        int64_t best = 0;
        for (int64_t k = 1; k < v.length; k++)
          if (better(at(k), at(best)) || (last && at(k) == at(best))) best = k;
        elements<int64_t>(y)[o * v.inner + i] = best;
      }
  });
}
}  // namespace

void arg_max(const OpCall& call) {
  arg_best(call, [](auto a, auto b) { return a > b; });
}
void arg_min(const OpCall& call) {
  arg_best(call, [](auto a, auto b) { return a < b; });
}

void cum_sum(const OpCall& call) {
  const Tensor& x = call.in(0);
  AxisView v(x.shape(), axis_of(call, int64_t(scalar_of(call, 1)), x.rank()));
  bool exclusive = call.integer("exclusive", 0) != 0, reverse = call.integer("reverse", 0) != 0;
  Tensor& y = call.make(0, x.dtype(), x.shape());
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    using S = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;
    for (int64_t o = 0; o < v.outer; o++)
      for (int64_t i = 0; i < v.inner; i++) {
        S sum = 0;
        for (int64_t n = 0; n < v.length; n++) {
          int64_t at = (o * v.length + (reverse ? v.length - 1 - n : n)) * v.inner + i;
          S value = S(elements<T>(x)[at]);
          elements<T>(y)[at] = T(exclusive ? sum : sum + value);
          sum += value;
        }
      }
  });
}

}  // namespace lacuna::reference
