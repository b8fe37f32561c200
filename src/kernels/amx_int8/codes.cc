// Codes out of sums: the four row groups of a pixel are sixteen channels in a register each, narrowed and stored together.
#include <immintrin.h>

#include "kernels/integer/amx.h"

#define LACUNA_UNROLL _Pragma("GCC unroll 4")

namespace lacuna::kernels::amx_int8 {
namespace {

// Of 32 words with the sign and the order of what was packed: codes, clipped, in the order of the channels.
struct Narrow {
  explicit Narrow(const CodeOutput& c)
      : zero(_mm512_set1_epi16(short(c.zero))), low(_mm512_set1_epi8(char(c.low))), high(_mm512_set1_epi8(char(c.high))) {}
  __m512i operator()(const __m512i v[4]) const {
    __m512i first = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), zero), second = _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[3]), zero);
    __m512i codes = _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(first, second), low), high);
    return _mm512_permutexvar_epi32(order, codes);
  }
  __m512i zero, low, high;
  // Narrowing works within 128-bit lanes.
  __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
};

struct Table {
  explicit Table(const int8_t* table) {
    LACUNA_UNROLL for (int i = 0; i < 4; i++) part[i] = table ? _mm512_loadu_si512(table + 64 * i) : _mm512_setzero_si512();
  }
  __m512i operator()(__m512i codes) const {
    __m512i of_positive = _mm512_permutex2var_epi8(part[0], codes, part[1]), of_negative = _mm512_permutex2var_epi8(part[2], codes, part[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), of_positive, of_negative);
  }
  __m512i part[4];
};

// v rounded to nearest even, by the place of its last bit in a sum that is large.
__m512 rounded(__m512 v) {
  const __m512 large = _mm512_set1_ps(0x1.8p23f);
  return _mm512_sub_ps(_mm512_add_ps(v, large), large);
}

// Sums times factors this small stay within the integers that a float can become.
constexpr float kLargestFactor = 0.25f, kLargestBias = 0x1p30f;

// What is the same for all pixels. Everything is in units of the first rounding.
template <int kGroups>
struct Lanes {
  explicit Lanes(const CodeStore& s, float inverse) {
    __m512 scale = _mm512_set1_ps(s.x_scale), unit = _mm512_set1_ps(inverse);
    LACUNA_UNROLL for (int g = 0; g < kGroups; g++) {
      int64_t left = s.channels - 16 * g;
      __mmask16 present = left >= 16 ? __mmask16(0xffff) : left > 0 ? __mmask16((1u << left) - 1) : __mmask16(0);
      __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(present, s.factors + 16 * g), scale);
      __m512 start = s.bias ? _mm512_maskz_loadu_ps(present, s.bias + 16 * g) : _mm512_setzero_ps();
      if (s.excess) start = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(present, s.excess + 16 * g)), scaled, start);
      factor[g] = _mm512_mul_ps(scaled, unit), bias[g] = _mm512_mul_ps(start, unit);
    }
  }
  bool within() const {
    int beyond = 0;
    LACUNA_UNROLL for (int g = 0; g < kGroups; g++) {
      beyond |= _mm512_cmp_ps_mask(_mm512_abs_ps(factor[g]), _mm512_set1_ps(kLargestFactor), _CMP_NLE_UQ);
      beyond |= _mm512_cmp_ps_mask(_mm512_abs_ps(bias[g]), _mm512_set1_ps(kLargestBias), _CMP_NLE_UQ);
    }
    return beyond == 0;
  }
  __m512 factor[kGroups], bias[kGroups];
};

template <int kGroups, bool kResidual, bool kProduct, bool kTable, bool kWithin>
void store_pixels(const CodeStore& s, const Lanes<kGroups>& lanes) {
  const float unit = s.code.inverse;
  const __m512 low = _mm512_set1_ps(s.product.low), high = _mm512_set1_ps(s.product.high), product = _mm512_set1_ps(s.product.scale * unit);
  const __m512 residual_scale = _mm512_set1_ps(s.residual_scale * unit);
  const __m512 residual_start = _mm512_set1_ps(-float(s.residual_zero) * s.residual_scale * unit);
  const __m512 largest = _mm512_set1_ps(0x1p20f);
  const Narrow narrow(s.code);
  const Table table(kTable ? s.table : nullptr);
  const __mmask64 present = s.channels == 64 ? ~__mmask64(0) : (__mmask64(1) << s.channels) - 1;
  for (int64_t p = 0; p < s.pixels; p++) {
    __m512i codes[4] = {};
    alignas(64) int8_t piece[64];
    const int8_t* residual = piece;
    if constexpr (kResidual) {
      if (s.channels == 16 * kGroups)
        residual = s.residual + p * s.y_stride;
      else
        _mm512_store_si512(piece, _mm512_maskz_loadu_epi8(present, s.residual + p * s.y_stride));
    }
    LACUNA_UNROLL for (int g = 0; g < kGroups; g++) {
      __m512 v = _mm512_cvtepi32_ps(_mm512_loadu_si512(s.sums + g * kAmxGroupSums + p * 16));
      v = _mm512_fmadd_ps(v, lanes.factor[g], lanes.bias[g]);
      if constexpr (kProduct) v = rounded(_mm512_min_ps(_mm512_max_ps(v, low), high));
      if constexpr (kResidual) {
        __m512 r = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(residual + 16 * g))));
        r = _mm512_fmadd_ps(r, residual_scale, residual_start);
        v = kProduct ? _mm512_fmadd_ps(v, product, r) : _mm512_add_ps(v, r);
      }
      if constexpr (!kWithin) v = _mm512_min_ps(v, largest);
      codes[g] = _mm512_cvtps_epi32(v);
    }
    __m512i out = narrow(codes);
    if constexpr (kTable) out = table(out);
    _mm512_mask_storeu_epi8(s.y + p * s.y_stride, present, out);
  }
}

template <int kGroups, bool kResidual, bool kProduct, bool kTable>
void store_lanes(const CodeStore& s) {
  Lanes<kGroups> lanes(s, kProduct ? s.product.inverse : s.code.inverse);
  // A product that is rounded is small behind that.
  bool within = lanes.within() && (!kResidual || s.residual_scale * s.code.inverse < 0x1p20f);
  within = within && (!kProduct || s.product.scale * s.code.inverse < 0x1p20f);
  return within ? store_pixels<kGroups, kResidual, kProduct, kTable, true>(s, lanes)
                : store_pixels<kGroups, kResidual, kProduct, kTable, false>(s, lanes);
}

template <int kGroups, bool kTable>
void store_groups(const CodeStore& s) {
  if (!s.residual) return store_lanes<kGroups, false, false, kTable>(s);
  return s.product.scale > 0 ? store_lanes<kGroups, true, true, kTable>(s) : store_lanes<kGroups, true, false, kTable>(s);
}

}  // namespace

void store_codes(const CodeStore& s) noexcept {
  if (s.channels > 32) return s.table ? store_groups<4, true>(s) : store_groups<4, false>(s);
  return s.table ? store_groups<2, true>(s) : store_groups<2, false>(s);
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
