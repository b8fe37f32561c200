// Inline assembly: intrinsics would be hoisted or merged.
#include "kernels/inner/peak.h"

#include <immintrin.h>

namespace lacuna::kernels::avx512_bf16 {

int64_t peak_bf16(int64_t rounds) noexcept {
  __m512 x = _mm512_setzero_ps(), a0 = x, a1 = x, a2 = x, a3 = x, a4 = x, a5 = x, a6 = x, a7 = x, a8 = x, a9 = x, a10 = x, a11 = x;
  for (int64_t i = 0; i < rounds; i++)
    __asm__ volatile(
        "vdpbf16ps %12, %12, %0\n\t"
        "vdpbf16ps %12, %12, %1\n\t"
        "vdpbf16ps %12, %12, %2\n\t"
        "vdpbf16ps %12, %12, %3\n\t"
        "vdpbf16ps %12, %12, %4\n\t"
        "vdpbf16ps %12, %12, %5\n\t"
        "vdpbf16ps %12, %12, %6\n\t"
        "vdpbf16ps %12, %12, %7\n\t"
        "vdpbf16ps %12, %12, %8\n\t"
        "vdpbf16ps %12, %12, %9\n\t"
        "vdpbf16ps %12, %12, %10\n\t"
        "vdpbf16ps %12, %12, %11\n\t"
        : "+v"(a0), "+v"(a1), "+v"(a2), "+v"(a3), "+v"(a4), "+v"(a5), "+v"(a6), "+v"(a7), "+v"(a8), "+v"(a9), "+v"(a10), "+v"(a11)
        : "v"(x));
  return rounds * 12 * 64;
}

}  // namespace lacuna::kernels::avx512_bf16
