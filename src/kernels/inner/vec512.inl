// Sixteen floats in a register: the vector that the inner/*.inl templates take under AVX-512.
// Included inside the namespace of an ISA folder, after <immintrin.h>: an inline function shared by folders could be kept in the copy with
// the most demanding instructions.

struct Vec {
  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 32;
  __m512 v;

  static Vec zero() { return {_mm512_setzero_ps()}; }
  static Vec set1(float x) { return {_mm512_set1_ps(x)}; }
  static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  // The first n lanes, 0 <= n <= 16; the others are zero and not read.
  static Vec load_first(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
  // A choice of lanes by bits, for loads that leave the others zero and unread.
  using Lanes = __mmask16;
  static Lanes lanes(uint32_t bits) { return Lanes(bits); }
  static Vec load_lanes(const float* p, Lanes lanes) { return {_mm512_maskz_loadu_ps(lanes, p)}; }
  // Of lanes that are zero in a or in b.
  static Vec join(Vec a, Vec b) { return {_mm512_or_ps(a.v, b.v)}; }
  // p[0], p[2], ... p[30].
  static Vec load_even(const float* p) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return {_mm512_permutex2var_ps(_mm512_loadu_ps(p), even, _mm512_loadu_ps(p + 16))};
  }
  // Of p[0] to p[15] those lanes that `low` has, of p[16] on those that `high` has; the others are zero and not read.
  static Vec load_even_lanes(const float* p, Lanes low, Lanes high) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return {_mm512_permutex2var_ps(_mm512_maskz_loadu_ps(low, p), even, _mm512_maskz_loadu_ps(high, p + 16))};
  }
  // The first n of them, 1 <= n <= 16; what follows the last is not read.
  static Vec load_even_first(const float* p, int64_t n) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const uint32_t read = uint32_t((uint64_t(1) << (2 * n - 1)) - 1);
    return {_mm512_permutex2var_ps(_mm512_maskz_loadu_ps(__mmask16(read), p), even, _mm512_maskz_loadu_ps(__mmask16(read >> 16), p + 16))};
  }
  static void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
  static void store_first(float* p, Vec a, int64_t n) { _mm512_mask_storeu_ps(p, first(n), a.v); }

  // Lanes 0, 2, 4, ... and 1, 3, 5, ... of a, then of b.
  static Vec even(Vec a, Vec b) {
    return {_mm512_permutex2var_ps(a.v, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b.v)};
  }
  static Vec odd(Vec a, Vec b) {
    return {_mm512_permutex2var_ps(a.v, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b.v)};
  }
  // The last lane of a, then all but the last of b.
  static Vec follow(Vec a, Vec b) { return {_mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(b.v), _mm512_castps_si512(a.v), 15))}; }
  // The first n lanes of a, 0 <= n <= 16, the others of b.
  static Vec first_of(Vec a, int64_t n, Vec b) { return {_mm512_mask_mov_ps(b.v, first(n), a.v)}; }

  static Vec load_s8(const int8_t* p) { return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))}; }
  // Rounded to nearest even; lanes must lie in [-128, 127].
  static void store_s8(int8_t* p, Vec a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v))); }

  static Vec fmadd(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  static Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
  static Vec sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
  static Vec mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
  static Vec div(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
  static Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
  static Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
  static bool any_above(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ) != 0; }
  static Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
  static Vec floor(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)}; }
  static Vec ceil(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)}; }
  static Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
  static Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
  static Vec neg(Vec a) { return {_mm512_xor_ps(_mm512_set1_ps(-0.0f), a.v)}; }
  // m and e of a = m 2^e with 1 <= m < 2, for positive normal a.
  static Vec mantissa(Vec a) { return {_mm512_getmant_ps(a.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero)}; }
  static Vec exponent(Vec a) { return {_mm512_getexp_ps(a.v)}; }
  // Lanes 1, 0, 3, 2, ...
  static Vec swap_pairs(Vec a) { return {_mm512_permute_ps(a.v, 0xb1)}; }
  // The sum of all lanes.
  static float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
  // 2^n for integral n in [-126, 127].
  static Vec power_of_two(Vec n) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23))};
  }
  // a is NaN ? b : c, lane by lane.
  static Vec where_nan(Vec a, Vec b, Vec c) { return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q), c.v, b.v)}; }
  // a < 0 ? b : c, lane by lane.
  static Vec where_negative(Vec a, Vec b, Vec c) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, _mm512_setzero_ps(), _CMP_LT_OQ), c.v, b.v)};
  }

  // Four columns of sixteen rows: lane i of column c is p[row(i) * stride + c], row(i) = min(i, rows - 1). Each 128-bit quarter is
  // loaded into place, so that only transpositions inside the quarters remain.
  struct Four {
    __m512 column[4];
  };
  static Four load_transposed(const float* p, int64_t stride, int64_t rows) {
    auto quarter = [&](int64_t i) { return _mm_loadu_ps(p + (i < rows ? i : rows - 1) * stride); };
    auto rows_of = [&](int64_t i) {
      __m512 a = _mm512_castps128_ps512(quarter(i));
      a = _mm512_mask_broadcast_f32x4(a, 0x00f0, quarter(i + 4));
      a = _mm512_mask_broadcast_f32x4(a, 0x0f00, quarter(i + 8));
      return _mm512_mask_broadcast_f32x4(a, 0xf000, quarter(i + 12));
    };
    __m512 a = rows_of(0), b = rows_of(1), c = rows_of(2), d = rows_of(3);
    __m512d ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)), ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
    __m512d cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d)), cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
    return {{_mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low)),
             _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high))}};
  }

 private:
  static __mmask16 first(int64_t n) { return __mmask16((1u << n) - 1); }
};
