// Seeded weights, masks and inputs for a problem: what tests, benchmarks and the planner's probe multiply.
#pragma once

#include <vector>

#include "kernels/problem.h"

namespace lacuna::kernels {

// A weight that owns its parts. Not copyable: matrix() points into it.
struct WeightCase {
  WeightCase() = default;
  WeightCase(const WeightCase&) = delete;
  WeightCase& operator=(const WeightCase&) = delete;
  WeightMatrix matrix() const;

  int64_t rows = 0, cols = 0, group = 0, inner = 0;
  std::vector<float> values;
  std::vector<int8_t> codes;
  std::vector<float> scales, minima;
  bool dense = true;
  Mask mask;
};

// A random mask of the pattern: "unstructured" (each weight by a coin), "N:M" (exactly N of M, sparsity ignored), "block:RxC".
// Throws InvalidArgument on another pattern.
Mask random_mask(int64_t rows, int64_t cols, int64_t inner, std::string_view pattern, double sparsity, uint64_t seed);

// Normal values (codes uniform in their range, scales about 0.01), zero where not kept. `mask` empty: random_mask of the pattern.
void fill_weight(WeightCase& weight, const LinearProblem& problem, uint64_t seed, const Mask* mask = nullptr);
void fill_weight(WeightCase& weight, const ConvProblem& problem, uint64_t seed, const Mask* mask = nullptr);

std::vector<float> random_floats(int64_t count, uint64_t seed);

// The same weight with all values, codes, scales and minima made positive, as f32: bounds sum |w| |x|.
void fill_absolute(WeightCase& absolute, const WeightCase& weight);

}  // namespace lacuna::kernels
