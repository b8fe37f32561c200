#include "kernels/inner/store.h"

#include <immintrin.h>

namespace lacuna::kernels::avx512 {
#include "kernels/inner/vec512.inl"
static_assert(Vec::kLanes == 16);
#include "kernels/inner/activations.inl"
#include "kernels/inner/code_rule.inl"
#include "kernels/inner/store.inl"
}  // namespace lacuna::kernels::avx512
