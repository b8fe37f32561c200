#include <immintrin.h>

#include "kernels/integer/amx.h"

namespace lacuna::kernels::amx_int8 {
namespace {

#include "kernels/amx_int8/codes.inl"

}  // namespace

void store_codes(const CodeStore& s) noexcept {
  with_codes(s, [&](auto codes) { codes.step(kAmxBlockPixels); });
}

void fill_code_table(float scale, int32_t zero, float y_scale, const CodeOutput& code, int8_t* table) noexcept {
  const Narrow narrow(code);
  for (int first = 0; first < 256; first += 64) {
    __m512i codes[4];
    for (int g = 0; g < 4; g++) {
      __m512i index = _mm512_add_epi32(_mm512_set1_epi32((first < 128 ? first : first - 256) + 16 * g - zero),
                                       _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
      __m512 v = _mm512_div_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(index), _mm512_set1_ps(scale)), _mm512_set1_ps(y_scale));
      codes[g] = _mm512_cvtps_epi32(_mm512_min_ps(v, _mm512_set1_ps(0x1p20f)));
    }
    _mm512_storeu_si512(table + first, narrow(codes));
  }
}

}  // namespace lacuna::kernels::amx_int8
