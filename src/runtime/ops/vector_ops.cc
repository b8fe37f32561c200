#include "runtime/ops/vector_ops.h"

#include "base/cpu.h"
#include "kernels/reference/vec.h"

namespace lacuna {
namespace portable {
using kernels::reference::Vec;
#include "kernels/inner/activations.inl"
#include "runtime/ops/vector_ops.inl"
}  // namespace portable

#define LACUNA_CALL(function, ...) \
  (cpu_features().avx512 ? avx512::function(__VA_ARGS__) : cpu_features().avx2 ? avx2::function(__VA_ARGS__) : portable::function(__VA_ARGS__))

void multiply_rows(const RowProduct& product) noexcept { LACUNA_CALL(multiply_rows, product); }
void combine(BinaryOp op, const float* a, bool a_scalar, const float* b, bool b_scalar, int64_t n, float* y) noexcept {
  LACUNA_CALL(combine, op, a, a_scalar, b, b_scalar, n, y);
}
void apply(UnaryOp op, const float* x, int64_t n, float alpha, float gamma, float* y) noexcept { LACUNA_CALL(apply, op, x, n, alpha, gamma, y); }
float fold_array(BinaryOp op, const float* x, int64_t n) noexcept { return LACUNA_CALL(fold_array, op, x, n); }
void fold_rows(BinaryOp op, const float* x, int64_t rows, int64_t stride, int64_t n, float* y) noexcept {
  LACUNA_CALL(fold_rows, op, x, rows, stride, n, y);
}
void compare(CompareOp op, Element type, const void* a, bool a_scalar, const void* b, bool b_scalar, int64_t n, uint8_t* y) noexcept {
  LACUNA_CALL(compare, op, type, a, a_scalar, b, b_scalar, n, y);
}
void choose(int64_t width, const uint8_t* condition, bool condition_scalar, const void* a, bool a_scalar, const void* b, bool b_scalar, int64_t n,
            void* y) noexcept {
  LACUNA_CALL(choose, width, condition, condition_scalar, a, a_scalar, b, b_scalar, n, y);
}
void convert(Element from, const void* x, Element to, int64_t n, void* y) noexcept { LACUNA_CALL(convert, from, x, to, n, y); }
void scale_and_shift(const float* x, int64_t n, float factor, float offset, float* y) noexcept {
  LACUNA_CALL(scale_and_shift, x, n, factor, offset, y);
}
void pool_halves(const PooledRow& row) noexcept { LACUNA_CALL(pool_halves, row); }
void pool_down(const PooledRow& row) noexcept { LACUNA_CALL(pool_down, row); }
void pool_across(const PooledRow& row) noexcept { LACUNA_CALL(pool_across, row); }
void pool_block(const BlockedPool& pool) noexcept { LACUNA_CALL(pool_block, pool); }
void sum_pixels(const float* x, int64_t pixels, int64_t block, float* y) noexcept { LACUNA_CALL(sum_pixels, x, pixels, block, y); }
void combine_lanes(BinaryOp op, const float* x, const float* lanes, int64_t pixels, int64_t block, float* y) noexcept {
  LACUNA_CALL(combine_lanes, op, x, lanes, pixels, block, y);
}

}  // namespace lacuna
