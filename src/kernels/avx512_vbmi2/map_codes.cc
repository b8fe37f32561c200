#include <immintrin.h>

#include "kernels/inner/store.h"

namespace lacuna::kernels::avx512_vbmi2 {

void map_codes(const int8_t* table, const CodedPixels& x, int64_t pixels, int64_t channels, int8_t* y, int64_t y_pitch) noexcept {
  const __m512i a = _mm512_loadu_si512(table), b = _mm512_loadu_si512(table + 64), c = _mm512_loadu_si512(table + 128),
                d = _mm512_loadu_si512(table + 192);
  for (int64_t p = 0; p < pixels; p++) {
    const int8_t* codes = x.codes + p * x.pitch;
    int8_t* to = y + p * y_pitch;
    for (int64_t i = 0; i < channels; i += 64) {
      const __mmask64 present = channels - i >= 64 ? ~__mmask64(0) : (__mmask64(1) << (channels - i)) - 1;
      const __m512i from = _mm512_maskz_loadu_epi8(present, codes + i);
      const __m512i of_positive = _mm512_permutex2var_epi8(a, from, b), of_negative = _mm512_permutex2var_epi8(c, from, d);
      _mm512_mask_storeu_epi8(to + i, present, _mm512_mask_blend_epi8(_mm512_movepi8_mask(from), of_positive, of_negative));
    }
  }
}

}  // namespace lacuna::kernels::avx512_vbmi2
