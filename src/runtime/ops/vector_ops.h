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

// One output row of a plane: pool_down() takes the `row_count` input rows under its windows, [in_w] each, to `column`, pool_across() that to y
// [out_w]. `column` holds a row and what pads it, as pool_row_size() says; what pads is `empty` before the call and stays so. Other rows should come
// between the two: loads that do not match the stores just before them wait until those have reached the cache.
struct PooledRow {
  const float* const* rows;
  int64_t row_count, in_w, out_w, kernel_w, stride_w, dilation_w, pad_left;
  float empty;   // what a window of nothing gives
  bool maximum;  // else the sum
  float* column;
  float* y;
};
// Whether pool_halves() does both at once, without `column`: two by two, and three wide around every second column.
inline bool pools_halves(const PooledRow& p) {
  return p.stride_w == 2 && p.dilation_w == 1 && ((p.kernel_w == 2 && p.pad_left == 0) || (p.kernel_w == 3 && p.pad_left == 1));
}
// Floats of `column`: for strides of 1 and 2 windows of whole vectors of outputs.
inline int64_t pool_row_size(const PooledRow& p) {
  constexpr int64_t kMostLanes = 16;
  int64_t outputs = p.out_w + (p.stride_w <= 2 ? kMostLanes : 0), windows = (outputs - 1) * p.stride_w + (p.kernel_w - 1) * p.dilation_w + 1;
  return (windows > p.pad_left + p.in_w ? windows : p.pad_left + p.in_w) + 2 * kMostLanes;
}

enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv, kMinimum, kMaximum };
enum class UnaryOp : uint8_t {
  kErf,
  kElu,
  kMish,
  kSoftplus,
  kExp,
  kLeakyRelu,
  kSelu,
  kCelu,
  kSoftsign,
  kSqrt,
  kReciprocal,
  kAbs,
  kNeg,
  kSign,
  kFloor,
  kCeil,
  kRound,
  kLog,
  kSin,
  kCos
};
enum class CompareOp : uint8_t { kEqual, kLess, kLessEqual, kAnd, kOr, kXor };
enum class Element : uint8_t { kF32, kS64, kS32, kU8, kBool };

#define LACUNA_VECTOR_OPS                                                                                                                            \
  void multiply_rows(const RowProduct& product) noexcept;                                                                                            \
  /* y[i] = a[i] op b[i]; a or b may be one number for all (stride 0). y may be a or b. */                                                           \
  void combine(BinaryOp op, const float* a, bool a_scalar, const float* b, bool b_scalar, int64_t n, float* y) noexcept;                             \
  /* y[i] = op(x[i]); alpha of elu, selu, celu and leaky_relu, gamma of selu. */                                                                     \
  void apply(UnaryOp op, const float* x, int64_t n, float alpha, float gamma, float* y) noexcept;                                                    \
  /* The sum, minimum or maximum of all; NaN if there is one. */                                                                                     \
  float fold_array(BinaryOp op, const float* x, int64_t n) noexcept;                                                                                 \
  /* The same of each column: y [n] of x [rows, n], rows that lie `stride` apart; rows > 0. */                                                       \
  void fold_rows(BinaryOp op, const float* x, int64_t rows, int64_t stride, int64_t n, float* y) noexcept;                                           \
  /* y[i] = a[i] op b[i], 0 or 1; a or b may be one for all. kAnd and those after it are of truth values. */                                         \
  void compare(CompareOp op, Element type, const void* a, bool a_scalar, const void* b, bool b_scalar, int64_t n, uint8_t* y) noexcept;              \
  /* y[i] = condition[i] ? a[i] : b[i], elements of 1, 4 or 8 bytes; each may be one for all. y may be a or b. */                                    \
  void choose(int64_t width, const uint8_t* condition, bool condition_scalar, const void* a, bool a_scalar, const void* b, bool b_scalar, int64_t n, \
              void* y) noexcept;                                                                                                                     \
  /* y[i] = x[i] as another type: floats are cut to integers and saturate, NaN becomes 0; integers wrap. */                                          \
  void convert(Element from, const void* x, Element to, int64_t n, void* y) noexcept;                                                                \
  /* y[i] = x[i] * factor + offset */                                                                                                                \
  void scale_and_shift(const float* x, int64_t n, float factor, float offset, float* y) noexcept;                                                    \
  void pool_halves(const PooledRow& row) noexcept;                                                                                                   \
  void pool_down(const PooledRow& row) noexcept;                                                                                                     \
  void pool_across(const PooledRow& row) noexcept;                                                                                                   \
  void pool_block(const BlockedPool& pool) noexcept;                                                                                                 \
  /* y [block] = the sums of x [pixels, block]; block is 8 or 16. */                                                                                 \
  void sum_pixels(const float* x, int64_t pixels, int64_t block, float* y) noexcept;                                                                 \
  /* y [pixels, block] = x op lanes [block] */                                                                                                       \
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
