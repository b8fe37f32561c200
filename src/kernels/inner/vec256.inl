// Eight floats in a register: the vector that the inner/*.inl templates take under AVX2 and FMA.
// Included inside the namespace of an ISA folder, after <immintrin.h>: an inline function shared by folders could be kept in the copy with
// the most demanding instructions.

struct Vec {
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 16;
  __m256 v;

  static Vec zero() { return {_mm256_setzero_ps()}; }
  static Vec set1(float x) { return {_mm256_set1_ps(x)}; }
  static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  // The first n lanes, 0 <= n <= 8; the others are zero and not read.
  static Vec load_first(const float* p, int64_t n) { return {_mm256_maskload_ps(p, first(n))}; }
  // A choice of lanes by bits, for loads that leave the others zero and unread.
  using Lanes = __m256i;
  static Lanes lanes(uint32_t bits) {
    __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(int(bits)), each), each);
  }
  static Vec load_lanes(const float* p, Lanes lanes) { return {_mm256_maskload_ps(p, lanes)}; }
  // Of lanes that are zero in a or in b.
  static Vec join(Vec a, Vec b) { return {_mm256_or_ps(a.v, b.v)}; }
  // p[0], p[2], ... p[14].
  static Vec load_even(const float* p) {
    __m256 mixed = _mm256_shuffle_ps(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8), 0x88);
    return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8))};
  }
  // Of p[0] to p[7] those lanes that `low` has, of p[8] on those that `high` has; the others are zero and not read.
  static Vec load_even_lanes(const float* p, Lanes low, Lanes high) {
    __m256 mixed = _mm256_shuffle_ps(_mm256_maskload_ps(p, low), _mm256_maskload_ps(p + 8, high), 0x88);
    return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8))};
  }
  // The first n of them, 1 <= n <= 8; what follows the last is not read.
  static Vec load_even_first(const float* p, int64_t n) {
    const int64_t low = 2 * n - 1 < 8 ? 2 * n - 1 : 8;
    __m256 mixed = _mm256_shuffle_ps(_mm256_maskload_ps(p, first(low)), _mm256_maskload_ps(p + 8, first(2 * n - 1 - low)), 0x88);
    return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8))};
  }
  static void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
  static void store_first(float* p, Vec a, int64_t n) { _mm256_maskstore_ps(p, first(n), a.v); }

  // Lanes 0, 2, 4, ... and 1, 3, 5, ... of a, then of b.
  static Vec even(Vec a, Vec b) { return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a.v, b.v, 0x88)), 0xd8))}; }
  static Vec odd(Vec a, Vec b) { return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a.v, b.v, 0xdd)), 0xd8))}; }
  // The last lane of a, then all but the last of b.
  static Vec follow(Vec a, Vec b) {
    __m256i between = _mm256_castps_si256(_mm256_permute2f128_ps(a.v, b.v, 0x21));
    return {_mm256_castsi256_ps(_mm256_alignr_epi8(_mm256_castps_si256(b.v), between, 12))};
  }
  // The first n lanes of a, 0 <= n <= 8, the others of b.
  static Vec first_of(Vec a, int64_t n, Vec b) { return {_mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(first(n)))}; }

  static Vec load_s8(const int8_t* p) { return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))}; }
  // Rounded to nearest even; lanes must lie in [-128, 127].
  static void store_s8(int8_t* p, Vec a) {
    __m256i words = _mm256_cvtps_epi32(a.v);
    __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(halves, halves));
  }

  static Vec fmadd(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  static Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
  static Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
  static Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
  static Vec div(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
  static Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
  static Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
  static bool any_above(Vec a, Vec b) { return _mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)) != 0; }
  static Vec round(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
  static Vec floor(Vec a) { return {_mm256_floor_ps(a.v)}; }
  static Vec ceil(Vec a) { return {_mm256_ceil_ps(a.v)}; }
  static Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
  static Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
  static Vec neg(Vec a) { return {_mm256_xor_ps(_mm256_set1_ps(-0.0f), a.v)}; }
  // m and e of a = m 2^e with 1 <= m < 2, for positive normal a.
  static Vec mantissa(Vec a) {
    __m256i bits = _mm256_and_si256(_mm256_castps_si256(a.v), _mm256_set1_epi32(0x7fffff));
    return {_mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(127 << 23)))};
  }
  static Vec exponent(Vec a) {
    return {_mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(_mm256_castps_si256(a.v), 23), _mm256_set1_epi32(127)))};
  }
  // Lanes 1, 0, 3, 2, ...
  static Vec swap_pairs(Vec a) { return {_mm256_permute_ps(a.v, 0xb1)}; }
  // The sum of all lanes.
  static float sum(Vec a) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  // 2^n for integral n in [-126, 127].
  static Vec power_of_two(Vec n) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127)), 23))};
  }
  // a is NaN ? b : c, lane by lane.
  static Vec where_nan(Vec a, Vec b, Vec c) { return {_mm256_blendv_ps(c.v, b.v, _mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q))}; }
  // a < 0 ? b : c, lane by lane.
  static Vec where_negative(Vec a, Vec b, Vec c) { return {_mm256_blendv_ps(c.v, b.v, _mm256_cmp_ps(a.v, _mm256_setzero_ps(), _CMP_LT_OQ))}; }

  // Four columns of eight rows: lane i of column c is p[row(i) * stride + c], row(i) = min(i, rows - 1).
  struct Four {
    __m256 column[4];
  };
  static Four load_transposed(const float* p, int64_t stride, int64_t rows) {
    auto half = [&](int64_t i) { return _mm_loadu_ps(p + (i < rows ? i : rows - 1) * stride); };
    auto rows_of = [&](int64_t i) { return _mm256_insertf128_ps(_mm256_castps128_ps256(half(i)), half(i + 4), 1); };
    __m256 a = rows_of(0), b = rows_of(1), c = rows_of(2), d = rows_of(3);
    __m256d ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
    __m256d cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)), cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
    return {{_mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low)), _mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low)),
             _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high)), _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high))}};
  }

 private:
  static __m256i first(int64_t n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
};
