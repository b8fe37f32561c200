#include "kernels/inner/store.h"

#include <immintrin.h>

namespace lacuna::kernels::avx2 {
#include "kernels/inner/vec256.inl"
static_assert(Vec::kLanes == 8);
#include "kernels/inner/activations.inl"
#include "kernels/inner/code_rule.inl"
#include "kernels/inner/store.inl"
}  // namespace lacuna::kernels::avx2
