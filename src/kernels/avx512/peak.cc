// Inline assembly: intrinsics would be hoisted or merged.
#include "kernels/inner/peak.h"

#include <immintrin.h>

namespace lacuna::kernels::avx512 {

int64_t peak_f32(int64_t rounds) noexcept {
  __m512 x = _mm512_setzero_ps(), a0 = x, a1 = x, a2 = x, a3 = x, a4 = x, a5 = x, a6 = x, a7 = x, a8 = x, a9 = x;
  for (int64_t i = 0; i < rounds; i++)
    __asm__ volatile(
        "vfmadd231ps %10, %10, %0\n\t"
        "vfmadd231ps %10, %10, %1\n\t"
        "vfmadd231ps %10, %10, %2\n\t"
        "vfmadd231ps %10, %10, %3\n\t"
        "vfmadd231ps %10, %10, %4\n\t"
        "vfmadd231ps %10, %10, %5\n\t"
        "vfmadd231ps %10, %10, %6\n\t"
        "vfmadd231ps %10, %10, %7\n\t"
        "vfmadd231ps %10, %10, %8\n\t"
        "vfmadd231ps %10, %10, %9\n\t"
        : "+v"(a0), "+v"(a1), "+v"(a2), "+v"(a3), "+v"(a4), "+v"(a5), "+v"(a6), "+v"(a7), "+v"(a8), "+v"(a9)
        : "v"(x));
  return rounds * 10 * 32;
}

uint64_t read_bytes(const std::byte* data, int64_t size) noexcept {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  const __m512i* p = reinterpret_cast<const __m512i*>(data);
  for (int64_t i = 0; i < size / 256; i++, p += 4) {
    a = _mm512_add_epi64(a, _mm512_loadu_si512(p));
    b = _mm512_add_epi64(b, _mm512_loadu_si512(p + 1));
    c = _mm512_add_epi64(c, _mm512_loadu_si512(p + 2));
    d = _mm512_add_epi64(d, _mm512_loadu_si512(p + 3));
  }
  return uint64_t(_mm_cvtsi128_si64(_mm512_castsi512_si128(_mm512_add_epi64(_mm512_add_epi64(a, b), _mm512_add_epi64(c, d)))));
}

}  // namespace lacuna::kernels::avx512
