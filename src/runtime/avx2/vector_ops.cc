#include "runtime/ops/vector_ops.h"

#include <immintrin.h>

namespace lacuna::avx2 {
#include "kernels/inner/vec256.inl"
#include "runtime/ops/vector_ops.inl"
}  // namespace lacuna::avx2
