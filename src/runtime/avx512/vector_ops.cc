#include "runtime/ops/vector_ops.h"

#include <immintrin.h>

namespace lacuna::avx512 {
#include "kernels/inner/vec512.inl"
static_assert(Vec::kLanes == 16);
#include "kernels/inner/activations.inl"
static_assert(sizeof(Vec) == 4 * Vec::kLanes);
#include "runtime/ops/vector_ops.inl"
}  // namespace lacuna::avx512
