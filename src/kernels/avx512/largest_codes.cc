#include <immintrin.h>

#include "kernels/inner/store.h"

namespace lacuna::kernels::avx512 {

void largest_codes(const int8_t* const* rows, int64_t row_count, int64_t count, int8_t* y) noexcept {
  for (int64_t i = 0; i < count; i += 64) {
    __mmask64 present = count - i >= 64 ? ~__mmask64(0) : (__mmask64(1) << (count - i)) - 1;
    __m512i largest = _mm512_set1_epi8(-128);
    for (int64_t r = 0; r < row_count; r++) largest = _mm512_max_epi8(largest, _mm512_maskz_loadu_epi8(present, rows[r] + i));
    _mm512_mask_storeu_epi8(y + i, present, largest);
  }
}

}  // namespace lacuna::kernels::avx512
