#include "kernels/inner/transformer.h"

#include "kernels/avx512/vec.h"

namespace lacuna::kernels::avx512 {
#include "kernels/inner/activations.inl"
#include "kernels/inner/transformer.inl"
}  // namespace lacuna::kernels::avx512
