#include "kernels/inner/conv_f32.h"

#include "kernels/avx2/vec.h"
#include "kernels/inner/spmm_f32.h"

namespace lacuna::kernels::avx2 {
#include "kernels/inner/conv_f32.inl"
}  // namespace lacuna::kernels::avx2
