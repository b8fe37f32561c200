// The inner loops of integer/lane16.h in 512-bit registers.
#include <immintrin.h>

#include "kernels/integer/lane16.h"

namespace lacuna::kernels::avx512_vbmi2 {
namespace {
#include "kernels/integer/lane16.inl"
#include "kernels/integer/simd512.inl"
}  // namespace

extern const Lane16Isa lane16 = isa_table<Simd>();

}  // namespace lacuna::kernels::avx512_vbmi2
