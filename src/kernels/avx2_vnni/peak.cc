// Inline assembly: intrinsics would be hoisted or merged.
#include "kernels/inner/peak.h"

#include <immintrin.h>

namespace lacuna::kernels::avx2_vnni {

int64_t peak_int8(int64_t rounds) noexcept {
  __m256i x = _mm256_setzero_si256(), a0 = x, a1 = x, a2 = x, a3 = x, a4 = x, a5 = x, a6 = x, a7 = x, a8 = x, a9 = x;
  for (int64_t i = 0; i < rounds; i++)
    __asm__ volatile(
        "%{vex%} vpdpbusd %10, %10, %0\n\t"
        "%{vex%} vpdpbusd %10, %10, %1\n\t"
        "%{vex%} vpdpbusd %10, %10, %2\n\t"
        "%{vex%} vpdpbusd %10, %10, %3\n\t"
        "%{vex%} vpdpbusd %10, %10, %4\n\t"
        "%{vex%} vpdpbusd %10, %10, %5\n\t"
        "%{vex%} vpdpbusd %10, %10, %6\n\t"
        "%{vex%} vpdpbusd %10, %10, %7\n\t"
        "%{vex%} vpdpbusd %10, %10, %8\n\t"
        "%{vex%} vpdpbusd %10, %10, %9\n\t"
        : "+x"(a0), "+x"(a1), "+x"(a2), "+x"(a3), "+x"(a4), "+x"(a5), "+x"(a6), "+x"(a7), "+x"(a8), "+x"(a9)
        : "x"(x));
  return rounds * 10 * 64;
}

}  // namespace lacuna::kernels::avx2_vnni
