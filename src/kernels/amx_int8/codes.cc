// Codes out of sums: sixteen channels of a pixel in a register, those of two row groups stored together.
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

// Sixteen channels: what is the same for all pixels.
struct Lanes {
  Lanes(const CodeStore& s, int64_t first)
      : sums(s.sums[first / 16]), residual(s.residual ? s.residual + first : nullptr), y(s.y + first), stride(s.y_stride) {
    int64_t left = s.channels - first;
    present = left >= 16 ? __mmask16(0xffff) : __mmask16((1u << left) - 1);
    factor = _mm512_mul_ps(_mm512_loadu_ps(s.factors + first), _mm512_set1_ps(s.x_scale));
    bias = s.bias ? _mm512_maskz_loadu_ps(present, s.bias + first) : _mm512_setzero_ps();
    excess = s.excess ? _mm512_loadu_si512(s.excess + first) : _mm512_setzero_si512();
  }
  const int32_t* sums;
  const int8_t* residual;
  int8_t* y;
  int64_t stride;
  __mmask16 present;
  __m512 factor, bias;
  __m512i excess;
};

struct Common {
  explicit Common(const CodeStore& s)
      : product(s.product),
        sum(s.sum),
        residual_scale(_mm512_set1_ps(s.residual_scale)),
        inverse(_mm512_set1_ps(s.inverse)),
        low(_mm512_set1_ps(s.low)),
        high(_mm512_set1_ps(s.high)),
        residual_zero(_mm512_set1_epi32(s.residual_zero)),
        zero(_mm512_set1_epi32(s.zero)) {}
  Rounding product, sum;
  __m512 residual_scale, inverse, low, high;
  __m512i residual_zero, zero;
};

// Multiplications and additions round apart, as those of separate nodes do: fused ones gave another code for one sum in 20,000.
template <bool kProduct, bool kResidual, bool kSum>
[[gnu::always_inline]] inline __m512i codes_of(const Common& c, const Lanes& l, int64_t pixel) {
  __m512 v = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(l.sums + pixel * 16), l.excess));
  v = _mm512_add_ps(_mm512_mul_ps(v, l.factor), l.bias);
  if constexpr (kProduct) v = c.product(v);
  if constexpr (kResidual) {
    __m512i codes = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(l.present, l.residual + pixel * l.stride));
    v = _mm512_add_ps(v, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(codes, c.residual_zero)), c.residual_scale));
  }
  if constexpr (kSum) v = c.sum(v);
  v = _mm512_min_ps(_mm512_max_ps(_mm512_mul_ps(v, c.inverse), c.low), c.high);
  return _mm512_add_epi32(_mm512_cvtps_epi32(v), c.zero);
}

template <bool kProduct, bool kResidual, bool kSum>
void store(const CodeStore& s) {
  Common common(s);
  Lanes first(s, 0);
  if (s.channels == 32) {
    Lanes second(s, 16);
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);  // narrowing works within 128-bit lanes
    for (int64_t p = 0; p < s.pixels; p++) {
      __m512i words =
          _mm512_packs_epi32(codes_of<kProduct, kResidual, kSum>(common, first, p), codes_of<kProduct, kResidual, kSum>(common, second, p));
      __m256i bytes = _mm512_cvtepi16_epi8(words);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(first.y + p * first.stride), _mm256_permutevar8x32_epi32(bytes, order));
    }
    return;
  }
  auto alone = [&](const Lanes& lanes) {
    for (int64_t p = 0; p < s.pixels; p++)
      _mm_mask_storeu_epi8(lanes.y + p * lanes.stride, lanes.present, _mm512_cvtepi32_epi8(codes_of<kProduct, kResidual, kSum>(common, lanes, p)));
  };
  alone(first);
  if (s.channels > 16) alone(Lanes(s, 16));
}

}  // namespace

void store_codes(const CodeStore& s) noexcept {
  bool product = s.product.scale > 0, sum = s.sum.scale > 0;
  if (!s.residual) return product ? store<true, false, false>(s) : store<false, false, false>(s);
  if (product) return sum ? store<true, true, true>(s) : store<true, true, false>(s);
  return sum ? store<false, true, true>(s) : store<false, true, false>(s);
}

}  // namespace lacuna::kernels::amx_int8
