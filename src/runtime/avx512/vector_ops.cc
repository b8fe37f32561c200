#include "runtime/ops/vector_ops.h"

#include <immintrin.h>

namespace lacuna::avx512 {
#include "kernels/inner/vec512.inl"
#include "runtime/ops/vector_ops.inl"
}  // namespace lacuna::avx512
