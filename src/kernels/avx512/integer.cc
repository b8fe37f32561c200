// The inner loops of the integer families, integer/lane16.h and integer/panel.h, in 512-bit registers.
#include <immintrin.h>

#include "kernels/integer/lane16.h"
#include "kernels/integer/panel.h"

namespace lacuna::kernels::avx512 {
namespace {
#include "kernels/integer/lane16.inl"
#include "kernels/integer/panel.inl"
#include "kernels/integer/simd512.inl"
}  // namespace

extern const Lane16Isa lane16 = isa_table<Simd>();
extern const PanelIsa panels = panel_table<Simd>();

}  // namespace lacuna::kernels::avx512
