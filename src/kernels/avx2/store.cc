#include "kernels/inner/store.h"

#include "kernels/avx2/vec.h"

namespace lacuna::kernels::avx2 {
#include "kernels/inner/activations.inl"
#include "kernels/inner/store.inl"
}  // namespace lacuna::kernels::avx2
