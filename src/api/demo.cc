#include "lacuna/demo.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "base/cpu.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "kernels/linear.h"
#include "sparse/format.h"
#include "sparse/pattern.h"

namespace lacuna {
namespace {

Tensor gaussian(int64_t rows, int64_t cols, double scale, uint64_t seed) {
  Rng rng(seed);
  Tensor t(DType::kF32, {rows, cols});
  for (float& v : t.mutable_data<float>()) v = float(rng.normal() * scale);
  return t;
}

ConstMatrixRef matrix(const Tensor& t) { return {t.data<float>().data(), t.dim(0), t.dim(1), t.dim(1)}; }

Tensor magnitudes(const Tensor& w) {
  Tensor scores = w.clone();
  for (float& v : scores.mutable_data<float>()) v = std::abs(v);
  return scores;
}

Mask choose(const Pattern& pattern, const Tensor& scores, double sparsity) {
  int64_t inner = scores.dim(1), units = pattern.unit_rows(scores.dim(0)) * pattern.unit_cols(scores.dim(1), inner);
  return pattern.select(matrix(scores), inner, int64_t(std::llround((1 - sparsity) * double(units))), false);
}

// ||X W^T - X (W o mask)^T|| / ||X W^T||, Frobenius.
double output_error(const Tensor& w, const Mask& mask, const Tensor& x) {
  int64_t rows = w.dim(0), cols = w.dim(1), inputs = x.dim(0);
  auto weight = matrix(w), input = matrix(x);
  std::vector<double> lost(static_cast<size_t>(rows)), whole(static_cast<size_t>(rows));
  parallel_for(rows, [&](int64_t r) {
    std::vector<float> removed(size_t(cols), 0.0f);
    for (int64_t c = 0; c < cols; c++)
      if (!mask.kept(r, c)) removed[size_t(c)] = weight.row(r)[size_t(c)];
    for (int64_t i = 0; i < inputs; i++) {
      float error = 0, all = 0;
      auto row = input.row(i), full = weight.row(r);
      for (size_t c = 0; c < size_t(cols); c++) {
        error += row[c] * removed[c];
        all += row[c] * full[c];
      }
      lost[size_t(r)] += double(error) * double(error);
      whole[size_t(r)] += double(all) * double(all);
    }
  });
  double a = 0, b = 0;
  for (size_t r = 0; r < size_t(rows); r++) a += lost[r], b += whole[r];
  return std::sqrt(a / b);
}

std::vector<DemoQuality> measure_quality(Progress* progress) {
  Tensor w = gaussian(256, 256, 1.0 / 16, 0), x = gaussian(4096, 256, 1, 1), scores = magnitudes(w), random(DType::kF32, {256, 256});
  Rng rng(2);
  for (float& v : random.mutable_data<float>()) v = float(rng.uniform());
  const std::vector<double> sparsities = {0.25, 0.5, 0.75, 0.9};
  struct Row {
    const char *label, *pattern;
    const Tensor* scores;
    double only;  // 0: every sparsity
  };
  const Row rows[] = {{"unstructured", "unstructured", &scores, 0},
                      {"32:64", "32:64", &scores, 0.5},
                      {"8:16", "8:16", &scores, 0.5},
                      {"2:4", "2:4", &scores, 0.5},
                      {"4:16", "4:16", &scores, 0.75},
                      {"1:4", "1:4", &scores, 0.75},
                      {"block 1x4", "block:1x4", &scores, 0},
                      {"block 4x4", "block:4x4", &scores, 0},
                      {"random", "unstructured", &random, 0}};
  std::vector<DemoQuality> out;
  for (auto& row : rows) {
    if (progress) progress->update("measuring quality", int64_t(out.size()), int64_t(std::size(rows)));
    DemoQuality quality{row.label, sparsities, {}};
    auto pattern = parse_pattern(row.pattern);
    for (double s : sparsities) quality.errors.push_back(row.only && row.only != s ? -1 : output_error(w, choose(*pattern, *row.scores, s), x));
    out.push_back(std::move(quality));
  }
  return out;
}

using Clock = std::chrono::steady_clock;

double time_ms(const kernels::PackedLinear& packed, const Tensor& x, Tensor& y) {
  auto start = Clock::now();
  packed.run(x.data<float>().data(), x.dim(1), x.dim(0), y.mutable_data<float>().data(), y.dim(1), {});
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// The fastest candidate that accepts, among the sparse or the dense ones.
std::unique_ptr<kernels::PackedLinear> fastest(const kernels::LinearProblem& problem, const kernels::WeightMatrix& weight, const Tensor& x, Tensor& y,
                                               bool sparse) {
  std::unique_ptr<kernels::PackedLinear> best;
  double best_ms = 0;
  for (auto& kernel : kernels::linear_kernels()) {
    if (kernel.sparse != sparse || kernel.name.starts_with("reference") || kernel.accepts(problem, x.dim(0), cpu_features())) continue;
    auto packed = kernel.pack(problem, weight);
    std::vector<double> times;
    for (int i = 0; i < 7; i++) times.push_back(time_ms(*packed, x, y));
    if (double ms = median(times); !best || ms < best_ms) best = std::move(packed), best_ms = ms;
  }
  if (!best) {  // no vector unit: the reference stands for both
    const auto& reference = kernels::linear_kernels().back();
    best = reference.pack(problem, weight);
  }
  return best;
}

std::vector<DemoSpeed> measure_speed(Progress* progress) {
  constexpr int64_t kRows = 3072, kCols = 768, kTokens = 128, kRuns = 21;
  Tensor w = gaussian(kRows, kCols, 0.05, 3), x = gaussian(kTokens, kCols, 1, 4), scores = magnitudes(w), y(DType::kF32, {kTokens, kRows});
  kernels::LinearProblem dense_problem{.rows = kRows, .cols = kCols};
  kernels::WeightMatrix dense_weight{.rows = kRows, .cols = kCols, .values = w.data<float>().data()};
  auto dense = fastest(dense_problem, dense_weight, x, y, false);
  struct Row {
    const char* pattern;
    double sparsity;
  };
  const Row rows[] = {{"unstructured", 0.5}, {"unstructured", 0.7}, {"unstructured", 0.8}, {"unstructured", 0.9}, {"unstructured", 0.95},
                      {"2:4", 0.5},          {"4:16", 0.75},        {"block:4x4", 0.8},    {"block:4x4", 0.9}};
  std::vector<DemoSpeed> out;
  for (auto& row : rows) {
    if (progress) progress->update("measuring speed", int64_t(out.size()), int64_t(std::size(rows)));
    auto pattern = parse_pattern(row.pattern);
    MaskedMatrix masked{DType::kF32, choose(*pattern, scores, row.sparsity), w.clone()};
    auto codes = masked.codes.mutable_data<float>();
    for (int64_t r = 0; r < kRows; r++)
      for (int64_t c = 0; c < kCols; c++)
        if (!masked.mask.kept(r, c)) codes[size_t(r * kCols + c)] = 0;
    FormatChoice stored = smallest_format(masked, row.pattern, kCols);
    kernels::LinearProblem problem{.rows = kRows, .cols = kCols, .pattern = row.pattern, .sparsity = masked.mask.sparsity()};
    kernels::WeightMatrix weight{.rows = kRows, .cols = kCols, .values = codes.data(), .mask = &masked.mask};
    auto sparse = fastest(problem, weight, x, y, true);
    std::vector<double> dense_times, sparse_times, ratios;
    for (int64_t i = 0; i < kRuns; i++) {
      dense_times.push_back(time_ms(*dense, x, y));
      sparse_times.push_back(time_ms(*sparse, x, y));
      ratios.push_back(dense_times.back() / sparse_times.back());
    }
    out.push_back({.pattern = row.pattern,
                   .format = std::string(stored.format->name),
                   .kernel = std::string(sparse->kernel()),
                   .sparsity = masked.mask.sparsity(),
                   .dense_bytes = kRows * kCols * 4,
                   .bytes = stored.size_bytes,
                   .dense_ms = median(dense_times),
                   .ms = median(sparse_times),
                   .speedup = median(ratios)});
  }
  return out;
}

}  // namespace

DemoReport demo(Progress* progress) {
  DemoReport report{.cpu = cpu_name(), .isa = isa_summary(cpu_features()), .threads = thread_count()};
  report.quality = measure_quality(progress);
  report.speed = measure_speed(progress);
  return report;
}

}  // namespace lacuna
