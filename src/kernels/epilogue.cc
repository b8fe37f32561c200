#include "kernels/epilogue.h"

#include <limits>

#include "kernels/inner/store.h"

namespace lacuna::kernels {

static_assert(uint8_t(Activation::kRelu) == 1 && uint8_t(Activation::kGelu) == 3 && uint8_t(Activation::kHardSigmoid) == 9 &&
              uint8_t(Activation::kClip) == 11);  // inner/store.inl counts on these

namespace {

StoreRounding store_rounding(const Rounding& r) {
  return {.scale = r.scale, .inverse = r.scale > 0 ? 1 / r.scale : 0, .low = float(-128 - r.zero), .high = float(127 - r.zero)};
}

StoreTask task_of(const OutputTile& tile, float* y, int64_t y_stride, bool rows_outermost, const Epilogue& epilogue) {
  int64_t outer = rows_outermost ? tile.first_row : tile.first_token, inner = rows_outermost ? tile.first_token : tile.first_row;
  return {.sums = tile.sums,
          .sums_stride = tile.sums_stride,
          .panel_pitch = tile.panel_pitch,
          .rows = tile.rows,
          .tokens = tile.tokens,
          .bias = epilogue.bias ? epilogue.bias + tile.first_row : nullptr,
          .residual = epilogue.residual ? epilogue.residual + outer * epilogue.residual_stride + inner : nullptr,
          .residual_stride = epilogue.residual_stride,
          .y = y ? y + outer * y_stride + inner : nullptr,
          .y_stride = y_stride,
          .kept = tile.kept,
          .activation = uint8_t(epilogue.activation),
          .alpha = epilogue.alpha,
          .beta = epilogue.beta,
          .sum_rounding = store_rounding(epilogue.sum_rounding),
          .rounding = store_rounding(epilogue.rounding)};
}

}  // namespace

std::optional<Bounds> bounds_of(const Epilogue& e) noexcept {
  constexpr float kAll = std::numeric_limits<float>::infinity();
  switch (e.activation) {
    case Activation::kNone: return Bounds{-kAll, kAll};
    case Activation::kRelu: return Bounds{0, kAll};
    case Activation::kRelu6: return Bounds{0, 6};
    case Activation::kClip: return Bounds{e.alpha, e.beta};
    default: return std::nullopt;
  }
}

void store_transposed(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept {
  if (cpu_features().avx512) return avx512::store_transposed(task_of(tile, y, y_stride, false, epilogue));
  if (cpu_features().avx2) return avx2::store_transposed(task_of(tile, y, y_stride, false, epilogue));
  reference::store_transposed(tile, y, y_stride, epilogue);
}

void store_channel_major(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept {
  if (cpu_features().avx512) return avx512::store_channel_major(task_of(tile, y, y_stride, true, epilogue));
  if (cpu_features().avx2) return avx2::store_channel_major(task_of(tile, y, y_stride, true, epilogue));
  reference::store_channel_major(tile, y, y_stride, epilogue);
}

void store_token_major(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept {
  if (cpu_features().avx512) return avx512::store_token_major(task_of(tile, y, y_stride, false, epilogue));
  if (cpu_features().avx2) return avx2::store_token_major(task_of(tile, y, y_stride, false, epilogue));
  reference::store_token_major(tile, y, y_stride, epilogue);
}

void activate_rows(float* y, int64_t tokens, int64_t rows, int64_t y_stride, const Epilogue& epilogue) noexcept {
  store_token_major({.sums = y, .sums_stride = y_stride, .first_row = 0, .rows = rows, .first_token = 0, .tokens = tokens}, y, y_stride,
                    {.activation = epilogue.activation, .alpha = epilogue.alpha, .beta = epilogue.beta});
}

}  // namespace lacuna::kernels
