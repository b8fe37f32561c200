#include "advise/advise.h"

#include <algorithm>
#include <tuple>

#include "base/cat.h"
#include "kernels/cases.h"
#include "kernels/problem.h"
#include "lacuna/error.h"
#include "runtime/measure.h"
#include "sparse/pattern.h"

namespace lacuna {
namespace {

using kernels::ConvCase;
using kernels::LinearCase;

template <class Kernel>
AdvicePoint point_of(const Choice<Kernel>& choice, double sparsity) {
  AdvicePoint p{.sparsity = sparsity,
                .kernel = choice.sparse_kernel,
                .dense_kernel = choice.dense_kernel,
                .microseconds = choice.sparse_us,
                .dense_microseconds = choice.dense_us};
  p.speedup = p.microseconds > 0 ? p.dense_microseconds / p.microseconds : 0;
  return p;
}

// From the table if it is there; else on a seeded weight.
AdvicePoint measure(const LinearCase& c, int64_t model_weights) {
  if (auto known = known_choice(c.problem, c.tokens, model_weights)) return point_of(*known, c.problem.sparsity);
  kernels::WeightCase weight;
  kernels::fill_weight(weight, c.problem, 1);
  return point_of(measured_choice(c.problem, weight.matrix(), c.tokens, model_weights), c.problem.sparsity);
}
AdvicePoint measure(const ConvCase& c, int64_t model_weights) {
  if (auto known = known_choice(c.problem, c.batch, c.in_h, c.in_w, model_weights)) return point_of(*known, c.problem.sparsity);
  kernels::WeightCase weight;
  kernels::fill_weight(weight, c.problem, 1);
  return point_of(measured_choice(c.problem, weight.matrix(), c.batch, c.in_h, c.in_w, model_weights), c.problem.sparsity);
}

void set_precision(LinearCase& c, DType type) { c.problem.weights = type, c.problem.activations = type == DType::kS8 ? DType::kS8 : DType::kF32; }
void set_precision(ConvCase& c, DType type) {
  c.problem.weights = type, c.problem.activations = type == DType::kS8 ? DType::kS8 : DType::kF32;
  c.problem.input_scale = type == DType::kS8 ? 0.03f : 0;
}

DType type_of(const std::string& precision) {
  if (precision == "f32") return DType::kF32;
  if (precision == "bf16") return DType::kBF16;
  if (precision == "int8") return DType::kS8;
  throw InvalidArgument(cat("unknown precision '", precision, "'; known: f32, bf16, int8"));
}

double worthwhile_of(const LinearCase&) { return kWorthwhile; }
double worthwhile_of(const ConvCase& c) { return c.problem.activations == DType::kS8 ? kWorthwhile : kWorthwhileConv; }

bool carries(const Pattern& pattern, const LinearCase& c) { return !pattern.refuses(c.problem.rows, c.problem.cols, c.problem.cols); }
bool carries(const Pattern& pattern, const ConvCase& c) {
  int64_t inner = c.problem.in_channels / c.problem.groups;
  return !pattern.refuses(c.problem.out_channels, inner * c.problem.kernel_h * c.problem.kernel_w, inner);
}

}  // namespace

AdviceCurve measure_curve(const std::string& dense_problem, const std::string& pattern_text, const std::string& precision,
                          std::span<const double> sparsities, int64_t model_weights) {
  auto pattern = parse_pattern(pattern_text);
  DType type = type_of(precision);
  AdviceCurve curve{.pattern = pattern->name(), .precision = precision};
  std::vector<double> wanted(sparsities.begin(), sparsities.end());
  if (auto fixed = pattern->fixed_sparsity()) wanted = {*fixed};
  std::sort(wanted.begin(), wanted.end());
  std::visit(
      [&](auto c) {
        if (!carries(*pattern, c)) return;
        set_precision(c, type);
        curve.worthwhile = worthwhile_of(c);
        c.problem.pattern = curve.pattern;
        for (double sparsity : wanted) {
          if (!(sparsity >= 0 && sparsity < 1)) throw InvalidArgument(cat("found sparsity ", sparsity, ", wanted 0 or more and less than 1"));
          c.problem.sparsity = sparsity;
          AdvicePoint point = measure(c, model_weights);
          if (point.speedup > 0) curve.points.push_back(std::move(point));
        }
      },
      kernels::parse_problem(dense_problem));
  curve.starts_at = start_of_gain(curve.points, curve.worthwhile);
  return curve;
}

double measure_dense(const std::string& dense_problem, int64_t model_weights) {
  return std::visit([&](const auto& c) { return measure(c, model_weights).dense_microseconds; }, kernels::parse_problem(dense_problem));
}

std::optional<double> start_of_gain(std::span<const AdvicePoint> points, double worthwhile) {
  size_t first = points.size();
  while (first > 0 && points[first - 1].speedup >= worthwhile) first--;
  if (first == points.size()) return std::nullopt;
  if (first == 0) return points[0].sparsity;
  const AdvicePoint &below = points[first - 1], &above = points[first];
  return below.sparsity + (above.sparsity - below.sparsity) * (worthwhile - below.speedup) / (above.speedup - below.speedup);
}

std::vector<AdviceTotal> totals_of(std::span<const LayerAdvice> layers) {
  struct Sum {
    double now_us = 0, dense_us = 0, us = 0;
  };
  using Key = std::tuple<std::string, std::string, std::string, double>;  // phase, pattern, precision, sparsity
  std::vector<Key> keys;
  auto key_of = [](const LayerAdvice& layer, const AdviceCurve& curve, const AdvicePoint& point) {
    return Key{layer.phase, curve.pattern, curve.precision, point.sparsity};
  };
  for (const LayerAdvice& layer : layers)
    for (const AdviceCurve& curve : layer.curves)
      for (const AdvicePoint& point : curve.points)
        if (Key key = key_of(layer, curve, point); std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  std::vector<AdviceTotal> out;
  for (const Key& key : keys) {
    auto& [phase, pattern, precision, sparsity] = key;
    Sum sum;
    for (const LayerAdvice& layer : layers) {
      if (layer.phase != phase) continue;
      // A layer that cannot carry the pattern runs dense, in the precision if any other pattern shows its time there.
      double dense_us = layer.dense_microseconds, us = dense_us;
      for (const AdviceCurve& curve : layer.curves)
        if (curve.precision == precision && !curve.points.empty()) us = dense_us = curve.points[0].dense_microseconds;
      for (const AdviceCurve& curve : layer.curves)
        for (const AdvicePoint& point : curve.points)
          if (key_of(layer, curve, point) == key)
            dense_us = point.dense_microseconds, us = point.speedup >= curve.worthwhile ? point.microseconds : point.dense_microseconds;
      sum.now_us += layer.dense_microseconds, sum.dense_us += dense_us, sum.us += us;
    }
    out.push_back({.phase = phase,
                   .pattern = pattern,
                   .precision = precision,
                   .sparsity = sparsity,
                   .milliseconds = sum.us / 1000,
                   .speedup = sum.dense_us / sum.us,
                   .speedup_now = sum.now_us / sum.us});
  }
  std::stable_sort(out.begin(), out.end(), [](const AdviceTotal& a, const AdviceTotal& b) {
    return std::tuple(a.phase, a.precision, a.sparsity, -a.milliseconds) < std::tuple(b.phase, b.precision, b.sparsity, -b.milliseconds);
  });
  return out;
}

}  // namespace lacuna
