// Codes out of sums.
#include <immintrin.h>

#include "kernels/integer/amx.h"

namespace lacuna::kernels::amx_int8 {

namespace {

struct Rounding {
  explicit Rounding(const CodeRounding& r)
      : scale(_mm512_set1_ps(r.scale)), inverse(_mm512_set1_ps(r.inverse)), low(_mm512_set1_ps(r.low)), high(_mm512_set1_ps(r.high)) {}
  __m512 operator()(__m512 v) const {
    v = _mm512_min_ps(_mm512_max_ps(_mm512_mul_ps(v, inverse), low), high);
    return _mm512_mul_ps(_mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), scale);
  }
  __m512 scale, inverse, low, high;
};

}  // namespace

void store_codes(const CodeStore& s) noexcept {
  __mmask16 present = __mmask16((1u << s.channels) - 1);
  const __m512 zeros = _mm512_setzero_ps();
  __m512 factor = _mm512_mul_ps(_mm512_maskz_loadu_ps(present, s.factors), _mm512_set1_ps(s.x_scale));
  __m512 bias = s.bias ? _mm512_maskz_loadu_ps(present, s.bias) : zeros;
  __m512i excess = s.excess ? _mm512_maskz_loadu_epi32(present, s.excess) : _mm512_setzero_si512();
  __m512 low = _mm512_set1_ps(s.low), high = _mm512_set1_ps(s.high), inverse = _mm512_set1_ps(s.inverse),
         residual_scale = _mm512_set1_ps(s.residual_scale);
  __m512i zero = _mm512_set1_epi32(s.zero), residual_zero = _mm512_set1_epi32(s.residual_zero);
  Rounding round_product(s.product), round_sum(s.sum);
  auto value = [&](int64_t p) {
    __m512 v = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(s.sums + p * 16), excess)), factor), bias);
    if (s.product.scale > 0) v = round_product(v);
    if (s.residual) {
      __m512i codes = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(present, s.residual + p * s.y_stride));
      v = _mm512_add_ps(v, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(codes, residual_zero)), residual_scale));
    }
    return s.sum.scale > 0 ? round_sum(v) : v;
  };
  for (int64_t p = 0; p < s.pixels; p++) {
    __m512 v = _mm512_mul_ps(_mm512_min_ps(_mm512_max_ps(value(p), low), high), inverse);
    __m512i code = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(-1024)), _mm512_set1_ps(1024))), zero);
    _mm_mask_storeu_epi8(s.y + p * s.y_stride, present, _mm512_cvtsepi32_epi8(code));
  }
}

}  // namespace lacuna::kernels::amx_int8
