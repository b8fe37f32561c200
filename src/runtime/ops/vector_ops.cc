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
void apply(UnaryOp op, const float* x, int64_t n, float alpha, float* y) noexcept { LACUNA_CALL(apply, op, x, n, alpha, y); }
float sum_of_array(const float* x, int64_t n) noexcept { return LACUNA_CALL(sum_of_array, x, n); }
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
