// Small vectorised loops of the runtime, one set per ISA folder, chosen at run time. Plain data only: ISA code includes this.
#pragma once

#include <cstdint>

namespace lacuna {

// out [rows, cols] = scale * a [rows, inner] b, with b [inner, cols], or [cols, inner] if transposed. All dense and row-major.
struct RowProduct {
  const float *a, *b;
  int64_t rows, inner, cols;
  bool b_transposed;
  float scale;
  float* out;
};

// One plane of `block` channels side by side, pooled: x [in_h, in_w, block] -> y [out_h, out_w, block].
struct BlockedPool {
  const float* x;
  float* y;
  int64_t block, in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, pad_bottom, pad_right;
  bool maximum, count_padding;
};

enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv };
enum class UnaryOp : uint8_t { kErf, kElu, kMish };

#define LACUNA_VECTOR_OPS                                                                                                \
  void multiply_rows(const RowProduct& product) noexcept;                                                                \
  /* y[i] = a[i] op b[i]; a or b may be one number for all (stride 0). y may be a or b. */                               \
  void combine(BinaryOp op, const float* a, bool a_scalar, const float* b, bool b_scalar, int64_t n, float* y) noexcept; \
  /* y[i] = op(x[i]); alpha of elu. */                                                                                   \
  void apply(UnaryOp op, const float* x, int64_t n, float alpha, float* y) noexcept;                                     \
  float sum_of_array(const float* x, int64_t n) noexcept;                                                                \
  /* y[i] = x[i] * factor + offset */                                                                                    \
  void scale_and_shift(const float* x, int64_t n, float factor, float offset, float* y) noexcept;                        \
  /* y[i] = max(x[i], y[i]) or y[i] += x[i], with x in steps of `stride`. */                                             \
  void accumulate_max(const float* x, int64_t stride, int64_t n, float* y) noexcept;                                     \
  void accumulate_sum(const float* x, int64_t stride, int64_t n, float* y) noexcept;                                     \
  void pool_block(const BlockedPool& pool) noexcept;                                                                     \
  /* y [block] = the sums of x [pixels, block]; block is 8 or 16. */                                                     \
  void sum_pixels(const float* x, int64_t pixels, int64_t block, float* y) noexcept;                                     \
  /* y [pixels, block] = x op lanes [block] */                                                                           \
  void combine_lanes(BinaryOp op, const float* x, const float* lanes, int64_t pixels, int64_t block, float* y) noexcept;

LACUNA_VECTOR_OPS  // the best set that may be used
    namespace avx2 {
  LACUNA_VECTOR_OPS
}
namespace avx512 {
LACUNA_VECTOR_OPS
}
namespace portable {
LACUNA_VECTOR_OPS
}
#undef LACUNA_VECTOR_OPS

}  // namespace lacuna
