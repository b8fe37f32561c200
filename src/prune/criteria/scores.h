// Helpers of the criteria.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "tensor/tensor.h"

namespace lacuna {

// Calls f(row, weights of the row, scores of the row) for every row, in parallel; returns the scores.
template <class F>
Tensor score_rows(ConstMatrixRef weight, F&& f) {
  Tensor out(DType::kF32, {weight.rows, weight.cols}, false);
  float* scores = out.mutable_data<float>().data();
  parallel_for(weight.rows, [&](int64_t r) { f(r, weight.row(r), std::span<float>(scores + r * weight.cols, size_t(weight.cols))); });
  return out;
}

// |w| as a score: an infinite weight is the largest finite one, a NaN is 0.
inline float magnitude_of(float w) {
  float magnitude = std::abs(w);
  return magnitude <= std::numeric_limits<float>::max() ? magnitude : std::isnan(w) ? 0 : std::numeric_limits<float>::max();
}

}  // namespace lacuna
