#include "kernels/inner/conv_f32.h"

#include <immintrin.h>

#include "kernels/inner/spmm_f32.h"

namespace lacuna::kernels::avx2 {
#include "kernels/inner/vec256.inl"
static_assert(Vec::kLanes == 8);
#include "kernels/inner/conv_f32.inl"
}  // namespace lacuna::kernels::avx2
