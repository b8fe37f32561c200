// Inline assembly: intrinsics would be hoisted or merged.
#include "kernels/inner/peak.h"

#include <immintrin.h>

namespace lacuna::kernels::avx512_vnni {

int64_t peak_int8(int64_t rounds) noexcept {
  __m512i x = _mm512_setzero_si512(), a0 = x, a1 = x, a2 = x, a3 = x, a4 = x, a5 = x, a6 = x, a7 = x, a8 = x, a9 = x;
  for (int64_t i = 0; i < rounds; i++)
    __asm__ volatile(
        "vpdpbusd %10, %10, %0\n\t"
        "vpdpbusd %10, %10, %1\n\t"
        "vpdpbusd %10, %10, %2\n\t"
        "vpdpbusd %10, %10, %3\n\t"
        "vpdpbusd %10, %10, %4\n\t"
        "vpdpbusd %10, %10, %5\n\t"
        "vpdpbusd %10, %10, %6\n\t"
        "vpdpbusd %10, %10, %7\n\t"
        "vpdpbusd %10, %10, %8\n\t"
        "vpdpbusd %10, %10, %9\n\t"
        : "+v"(a0), "+v"(a1), "+v"(a2), "+v"(a3), "+v"(a4), "+v"(a5), "+v"(a6), "+v"(a7), "+v"(a8), "+v"(a9)
        : "v"(x));
  return rounds * 10 * 128;
}

}  // namespace lacuna::kernels::avx512_vnni
