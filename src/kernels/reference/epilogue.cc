// The plain stores: what the references use and what the vector stores are tested against.
#include "kernels/epilogue.h"

#include <algorithm>
#include <cmath>

namespace lacuna::kernels {

float activate(float v, const Epilogue& epilogue) noexcept {
  switch (epilogue.activation) {
    case Activation::kNone: return v;
    case Activation::kRelu: return std::max(v, 0.0f);
    case Activation::kRelu6: return std::min(std::max(v, 0.0f), 6.0f);
    case Activation::kGelu: return 0.5f * v * (1.0f + std::erf(v * 0.70710678118654752f));
    case Activation::kGeluTanh: return 0.5f * v * (1.0f + std::tanh(0.79788456080286536f * (v + 0.044715f * v * v * v)));
    case Activation::kSilu: return v / (1.0f + std::exp(-v));
    case Activation::kTanh: return std::tanh(v);
    case Activation::kSigmoid: return 1.0f / (1.0f + std::exp(-v));
    case Activation::kHardSwish: return v * std::min(std::max(v + 3.0f, 0.0f), 6.0f) * (1.0f / 6.0f);
    case Activation::kHardSigmoid: return std::min(std::max(v * epilogue.alpha + epilogue.beta, 0.0f), 1.0f);
    case Activation::kLeakyRelu: return v < 0 ? v * epilogue.alpha : v;
    case Activation::kClip: return std::min(std::max(v, epilogue.alpha), epilogue.beta);
  }
  return v;
}

namespace reference {
namespace {

float rounded(float v, const Rounding& r) {
  if (r.scale == 0) return v;
  return std::min(std::max(std::nearbyint(v / r.scale), float(-128 - r.zero)), float(127 - r.zero)) * r.scale;
}

float finished(float sum, int64_t row, int64_t residual_offset, const Epilogue& epilogue) {
  sum = rounded(sum, epilogue.sum_rounding);
  if (epilogue.bias) sum += epilogue.bias[row];
  if (epilogue.residual) sum += epilogue.residual[residual_offset];
  return rounded(activate(sum, epilogue), epilogue.rounding);
}

}  // namespace

void store_transposed(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept {
  for (int64_t t = 0; t < tile.tokens; t++)
    for (int64_t r = 0; r < tile.rows; r++) {
      int64_t token = tile.first_token + t, row = tile.first_row + r;
      y[token * y_stride + row] = finished(tile.sums[r * tile.sums_stride + t], row, token * epilogue.residual_stride + row, epilogue);
    }
}

void store_channel_major(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept {
  for (int64_t r = 0; r < tile.rows; r++)
    for (int64_t t = 0; t < tile.tokens; t++) {
      int64_t token = tile.first_token + t, row = tile.first_row + r;
      int64_t at = r * tile.sums_stride + t / 64 * tile.panel_pitch + t % 64;
      float v = finished(tile.sums[at], row, row * epilogue.residual_stride + token, epilogue);
      if (y) y[row * y_stride + token] = v;
      if (tile.kept) tile.kept[at] = v;
    }
}

void store_token_major(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept {
  for (int64_t t = 0; t < tile.tokens; t++)
    for (int64_t r = 0; r < tile.rows; r++) {
      int64_t token = tile.first_token + t, row = tile.first_row + r;
      y[token * y_stride + row] = finished(tile.sums[t * tile.sums_stride + r], row, token * epilogue.residual_stride + row, epilogue);
    }
}

}  // namespace reference
}  // namespace lacuna::kernels
