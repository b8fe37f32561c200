#include "runtime/ops/vector_ops.h"

#include "kernels/avx512/vec.h"

namespace lacuna::avx512 {
using kernels::avx512::Vec;
#include "runtime/ops/vector_ops.inl"
}  // namespace lacuna::avx512
