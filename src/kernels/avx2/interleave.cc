#include <immintrin.h>

#include "kernels/inner/store.h"

namespace lacuna::kernels::avx2 {

void interleave_three(const int8_t* const* rows, int64_t count, int8_t* y) noexcept {
  // Byte b of 48 is of row b % 3; where a row has none, an index with its highest bit set gives zero.
  alignas(16) int8_t from[3][3][16];
  for (int part = 0; part < 3; part++)
    for (int row = 0; row < 3; row++)
      for (int b = 0; b < 16; b++) from[part][row][b] = int8_t((16 * part + b) % 3 == row ? (16 * part + b) / 3 : -1);
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int part = 0; part < 3; part++) {
      __m128i out = _mm_setzero_si128();
      for (int row = 0; row < 3; row++) {
        __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row] + i));
        out = _mm_or_si128(out, _mm_shuffle_epi8(codes, _mm_load_si128(reinterpret_cast<const __m128i*>(from[part][row]))));
      }
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y + 3 * i + 16 * part), out);
    }
  for (; i < count; i++)
    for (int row = 0; row < 3; row++) y[3 * i + row] = rows[row][i];
}

}  // namespace lacuna::kernels::avx2
