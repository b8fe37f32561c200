#include "kernels/inner/transformer.h"

#include "kernels/reference/vec.h"

namespace lacuna::kernels::reference {
#include "kernels/inner/activations.inl"
#include "kernels/inner/transformer.inl"
}  // namespace lacuna::kernels::reference
