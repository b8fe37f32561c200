#include "kernels/integer/pixels.h"

#include <immintrin.h>

#include "kernels/integer/lane16.h"

namespace lacuna::kernels::avx512 {
namespace {

#define LACUNA_UNROLL _Pragma("GCC unroll 16")
#include "kernels/integer/simd512.inl"
// After it.
#include "kernels/integer/codes512.inl"
// After both.
#include "kernels/integer/pixels512.inl"

}  // namespace

extern const PixelIsa pixels = kPixels;

}  // namespace lacuna::kernels::avx512
