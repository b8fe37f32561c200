#include "kernels/inner/conv_f32.h"

#include <immintrin.h>

#include "kernels/inner/spmm_f32.h"

namespace lacuna::kernels::avx512 {
#include "kernels/inner/vec512.inl"
static_assert(Vec::kLanes == 16);
#include "kernels/inner/conv_f32.inl"
}  // namespace lacuna::kernels::avx512
