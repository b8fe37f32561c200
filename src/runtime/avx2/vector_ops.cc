#include "runtime/ops/vector_ops.h"

#include <immintrin.h>

namespace lacuna::avx2 {
#include "kernels/inner/vec256.inl"
static_assert(Vec::kLanes == 8);
#include "kernels/inner/activations.inl"
static_assert(sizeof(Vec) == 4 * Vec::kLanes);
#include "runtime/ops/vector_ops.inl"
}  // namespace lacuna::avx2
