#include "kernels/cases.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/cat.h"
#include "base/rng.h"
#include "lacuna/error.h"

namespace lacuna::kernels {
namespace {

// "8:16" or "1x4" to its two numbers; false if it is not that.
bool parse_pair(std::string_view text, char separator, int64_t& first, int64_t& second) {
  size_t at = text.find(separator);
  if (at == std::string_view::npos) return false;
  auto a = std::from_chars(text.data(), text.data() + at, first);
  auto b = std::from_chars(text.data() + at + 1, text.data() + text.size(), second);
  return a.ptr == text.data() + at && b.ptr == text.data() + text.size() && first > 0 && second > 0;
}

void keep_n_of_m(Mask& mask, int64_t row, int64_t begin, int64_t end, int64_t n, int64_t m, Rng& rng) {
  int64_t length = end - begin, wanted = (n * length + m - 1) / m;
  for (int64_t c = begin; c < end; c++)
    if (rng.below(end - c) < wanted) mask.set(row, c, true), wanted--;
}

void fill(WeightCase& w, DType type, bool minima, uint64_t seed) {
  Rng rng(seed);
  size_t size = size_t(w.rows * w.cols), groups = size_t(w.rows * (w.group ? (w.cols + w.group - 1) / w.group : 1));
  auto kept = [&](size_t i) { return w.dense || w.mask.kept(int64_t(i) / w.cols, int64_t(i) % w.cols); };
  if (is_float(type)) {
    w.values.resize(size);
    for (size_t i = 0; i < size; i++) w.values[i] = kept(i) ? float(rng.uniform() + rng.uniform() + rng.uniform() - 1.5) : 0.0f;
    return;
  }
  w.codes.resize(size);
  for (size_t i = 0; i < size; i++) {
    int code = type == DType::kS4 ? int(rng.below(16)) - 8 : int(rng.below(255)) - 127;
    w.codes[i] = kept(i) ? int8_t(code) : int8_t(0);
  }
  w.scales.resize(groups);
  for (float& s : w.scales) s = float(0.005 + 0.01 * rng.uniform());
  w.minima.resize(minima ? groups : 0);
  for (float& m : w.minima) m = float(0.1 * rng.uniform() - 0.05);
}

}  // namespace

WeightMatrix WeightCase::matrix() const {
  return {.rows = rows,
          .cols = cols,
          .values = codes.empty() ? values.data() : nullptr,
          .codes = codes.empty() ? nullptr : codes.data(),
          .scales = codes.empty() ? nullptr : scales.data(),
          .minima = minima.empty() ? nullptr : minima.data(),
          .group = group,
          .mask = dense ? nullptr : &mask,
          .inner = inner};
}

Mask random_mask(int64_t rows, int64_t cols, int64_t inner, std::string_view pattern, double sparsity, uint64_t seed) {
  Rng rng(seed ^ 0x6d61736b);
  Mask mask(rows, cols, false);
  if (inner == 0) inner = cols;
  int64_t a = 0, b = 0;
  if (pattern == "unstructured") {
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < cols; c++) mask.set(r, c, rng.uniform() >= sparsity);
  } else if (parse_pair(pattern, ':', a, b)) {
    for (int64_t r = 0; r < rows; r++)
      for (int64_t position = 0; position < cols; position += inner)
        for (int64_t c = position; c < position + inner; c += b) keep_n_of_m(mask, r, c, std::min(c + b, position + inner), a, b, rng);
  } else if (pattern.starts_with("block:") && parse_pair(pattern.substr(6), 'x', a, b)) {
    for (int64_t r = 0; r < rows; r += a)
      for (int64_t c = 0; c < cols; c += b) {
        bool kept = rng.uniform() >= sparsity;
        for (int64_t i = r; i < std::min(r + a, rows); i++)
          for (int64_t j = c; j < std::min(c + b, cols); j++) mask.set(i, j, kept);
      }
  } else {
    throw InvalidArgument(cat("unknown pattern '", pattern, "'; known: dense, unstructured, N:M (8:16), block:RxC (block:1x4)"));
  }
  return mask;
}

void fill_weight(WeightCase& weight, const LinearProblem& problem, uint64_t seed, const Mask* mask) {
  weight.rows = problem.rows, weight.cols = problem.cols, weight.group = problem.group, weight.inner = 0;
  weight.dense = problem.pattern == "dense";
  if (!weight.dense) weight.mask = mask ? *mask : random_mask(problem.rows, problem.cols, 0, problem.pattern, problem.sparsity, seed);
  fill(weight, problem.weights, problem.minima, seed);
}

void fill_weight(WeightCase& weight, const ConvProblem& problem, uint64_t seed, const Mask* mask) {
  int64_t inner = problem.in_channels / problem.groups;
  weight.rows = problem.out_channels, weight.cols = inner * problem.kernel_h * problem.kernel_w, weight.group = 0, weight.inner = inner;
  weight.dense = problem.pattern == "dense";
  if (!weight.dense) weight.mask = mask ? *mask : random_mask(weight.rows, weight.cols, inner, problem.pattern, problem.sparsity, seed);
  fill(weight, problem.weights, false, seed);
}

std::vector<float> random_floats(int64_t count, uint64_t seed) {
  Rng rng(seed ^ 0x696e707574);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& v : out) v = float(rng.uniform() + rng.uniform() + rng.uniform() - 1.5) * 2;
  return out;
}

void fill_absolute(WeightCase& absolute, const WeightCase& weight) {
  absolute.rows = weight.rows, absolute.cols = weight.cols, absolute.inner = weight.inner, absolute.group = 0, absolute.dense = true;
  absolute.values.resize(size_t(weight.rows * weight.cols));
  int64_t group = weight.group ? weight.group : std::max<int64_t>(weight.cols, 1), groups = std::max<int64_t>((weight.cols + group - 1) / group, 1);
  for (int64_t r = 0; r < weight.rows; r++)
    for (int64_t c = 0; c < weight.cols; c++) {
      size_t i = size_t(r * weight.cols + c), g = size_t(r * groups + c / group);
      if (!weight.dense && !weight.mask.kept(r, c)) continue;
      absolute.values[i] = weight.codes.empty() ? std::fabs(weight.values[i]) : std::fabs(float(weight.codes[i])) * weight.scales[g];
      if (!weight.minima.empty()) absolute.values[i] += std::fabs(weight.minima[g]);
    }
}

}  // namespace lacuna::kernels
