#include "runtime/ops/vector_ops.h"

#include "kernels/avx2/vec.h"

namespace lacuna::avx2 {
using kernels::avx2::Vec;
#include "runtime/ops/vector_ops.inl"
}  // namespace lacuna::avx2
