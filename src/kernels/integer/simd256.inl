// Simd for lane16.inl in pairs of 256-bit registers, with or without AVX-VNNI, as the including file is compiled.

struct Simd {
  using Vec = __m256i;
  using Floats = __m256;
  static constexpr int kVectors = 2;
  static constexpr bool kDotsFour = false, kGathersFour = false;
  static constexpr int kMaxTokens = 4;
#ifdef __AVXVNNI__
  static constexpr int kBias8 = 128;
  static constexpr bool kUnsignedGather = true;
#else
  static constexpr int kBias8 = 0;
  static constexpr bool kUnsignedGather = false;
#endif
  static constexpr bool kXorWindows = true;
  static constexpr int kNibbleRun = 16;
  static constexpr bool kRawBitmask = true;

  static Vec load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void store(int32_t* p, Vec v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static Vec set1(int32_t v) { return _mm256_set1_epi32(v); }
  static Vec add(Vec a, Vec b) { return _mm256_add_epi32(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm256_sub_epi32(a, b); }
  static Vec low_nibbles(Vec v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
  static Vec high_nibbles(Vec v) { return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)); }
  static void ones_of(uint64_t mask, Vec (&ones)[2]) {
    ones[0] = _mm256_and_si256(bytes_of(uint32_t(mask)), _mm256_set1_epi8(1));
    ones[1] = _mm256_and_si256(bytes_of(uint32_t(mask >> 32)), _mm256_set1_epi8(1));
  }

  // The kept codes at p to their places, the filler elsewhere. Returns the bytes read.
  template <int kBits>
  static int64_t expand(uint64_t mask, const uint8_t* p, Vec (&w)[2]) {
    if constexpr (kBits == 8) {
      const uint8_t *p1 = p + __builtin_popcountll(mask & 0xffff), *p2 = p + __builtin_popcountll(mask & 0xffffffff);
      const uint8_t *p3 = p + __builtin_popcountll(mask << 16), *p4 = p + __builtin_popcountll(mask);
      w[0] = placed<8>(uint32_t(mask), _mm256_inserti128_si256(_mm256_castsi128_si256(load128(p)), load128(p1), 1));
      w[1] = placed<8>(uint32_t(mask >> 32), _mm256_inserti128_si256(_mm256_castsi128_si256(load128(p2)), load128(p3), 1));
      return p4 - p;
    } else {
      const uint8_t *p1 = p + (__builtin_popcountll(mask & 0xffff) + 1) / 2, *p2 = p1 + (__builtin_popcountll(mask & 0xffff0000) + 1) / 2;
      const uint8_t *p3 = p2 + (__builtin_popcountll(mask & 0xffff00000000) + 1) / 2, *p4 = p3 + (__builtin_popcountll(mask >> 48) + 1) / 2;
      w[0] = placed<4>(uint32_t(mask), unpack4(p, p1));
      w[1] = placed<4>(uint32_t(mask >> 32), unpack4(p2, p3));
      return p4 - p;
    }
  }

  // acc += w (unsigned, or signed if 8-bit codes have no bias) times the four signed activations at x.
  template <int kBits>
  static void dot_broadcast(Vec& acc, Vec w, const uint8_t* x) {
    Vec xs = _mm256_set1_epi32(*reinterpret_cast<const Word32*>(x));
#ifdef __AVXVNNI__
    // Written out because gcc 12 copies the accumulator before the intrinsic.
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(w), "x"(xs));
#else
    if constexpr (kBits == 4)
      acc = add_pairs(acc, _mm256_maddubs_epi16(w, xs));
    else
      acc = add_pairs(acc, _mm256_maddubs_epi16(_mm256_abs_epi8(xs), _mm256_sign_epi8(w, xs)));
#endif
  }

  // Codes that meet gathered activations. Without VNNI signs move to the codes: x may be -128, which has a magnitude but no opposite.
  struct Gathered {
    Vec codes;
    explicit Gathered(const uint8_t* p) : codes(load(p)) {}
    void dot(Vec& acc, Vec x) const {
#ifdef __AVXVNNI__
      __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(x), "x"(codes));
#else
      acc = add_pairs(acc, _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(codes, x)));
#endif
    }
  };

  // Four codes that meet four columns of each token.
  struct Broadcast {
    Vec codes;
    explicit Broadcast(const uint8_t* p) : codes(_mm256_set1_epi32(*reinterpret_cast<const Word32*>(p))) {}
    void dot(Vec& acc, Vec x) const {
#ifdef __AVXVNNI__
      __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(x), "x"(codes));
#else
      acc = add_pairs(acc, _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(codes, x)));
#endif
    }
  };
  static Vec unpack_low8(Vec a, Vec b) { return _mm256_unpacklo_epi8(a, b); }
  static Vec unpack_high8(Vec a, Vec b) { return _mm256_unpackhi_epi8(a, b); }
  static Vec unpack_low16(Vec a, Vec b) { return _mm256_unpacklo_epi16(a, b); }
  static Vec unpack_high16(Vec a, Vec b) { return _mm256_unpackhi_epi16(a, b); }
  // Lane block / 2 of registers 0 and 1 in memory, or of 2 and 3.
  static Vec load_lanes(const int32_t* p, int block) {
    p += 16 * (block % 2) + 4 * (block / 2);
    auto lane = [](const int32_t* q) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(q)); };
    return _mm256_inserti128_si256(_mm256_castsi128_si256(lane(p)), lane(p + 8), 1);
  }
  static Floats load_float_lanes(const float* p, int block) {
    p += 4 * block;
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 16), 1);
  }
  static void store_lanes(uint8_t* p, int64_t stride, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + stride), _mm256_extracti128_si256(v, 1));
  }
  [[gnu::always_inline]] static void transpose(Floats (&tile)[8]) {
    Floats u[8];
    LACUNA_UNROLL for (int i = 0; i < 8; i += 2) u[i] = _mm256_unpacklo_ps(tile[i], tile[i + 1]), u[i + 1] = _mm256_unpackhi_ps(tile[i], tile[i + 1]);
    LACUNA_UNROLL for (int i = 0; i < 8; i += 4) {
      tile[i] = _mm256_shuffle_ps(u[i], u[i + 2], 0x44), tile[i + 1] = _mm256_shuffle_ps(u[i], u[i + 2], 0xee);
      tile[i + 2] = _mm256_shuffle_ps(u[i + 1], u[i + 3], 0x44), tile[i + 3] = _mm256_shuffle_ps(u[i + 1], u[i + 3], 0xee);
    }
    LACUNA_UNROLL for (int i = 0; i < 4; i++) {
      u[i] = _mm256_permute2f128_ps(tile[i], tile[i + 4], 0x20), u[i + 4] = _mm256_permute2f128_ps(tile[i], tile[i + 4], 0x31);
    }
    LACUNA_UNROLL for (int i = 0; i < 8; i++) tile[i] = u[i];
  }

  static Vec lookup16(const uint8_t* x, Vec index) { return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load128(x)), index); }
  static Vec lookup16_pair(const uint8_t* x, Vec index) { return _mm256_blend_epi16(lookup16(x, index), lookup16(x + 16, index), 0xaa); }
  // out[t] = x[t * stride + index]
  template <int kWindow, int kTokens>
  [[gnu::always_inline]] static void lookup_window(const uint8_t* x, const uint8_t* x_xor, int64_t stride, Vec index, Vec (&out)[kTokens]) {
    // vpshufb gives 0 where the index is negative, so a sum (xor) of differences leaves the entry of the right sixteen.
    LACUNA_UNROLL for (int t = 0; t < kTokens; t++) out[t] = lookup16(x + t * stride, index);
    LACUNA_UNROLL for (int i = 16; i < kWindow; i += 16) {
      index = _mm256_sub_epi8(index, _mm256_set1_epi8(16));
      LACUNA_UNROLL for (int t = 0; t < kTokens; t++) out[t] = _mm256_xor_si256(out[t], lookup16(x_xor + t * stride + i, index));
    }
  }

  static Floats to_float(Vec v) { return _mm256_cvtepi32_ps(v); }
  static Floats load_floats(const float* p) { return _mm256_loadu_ps(p); }
  static Floats set1_float(float v) { return _mm256_set1_ps(v); }
  static Floats load_scales(const uint8_t* p, bool half) {
    return half ? _mm256_cvtph_ps(load128(p)) : _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
  static void store_floats(float* p, Floats v) { _mm256_storeu_ps(p, v); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats add_float(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static Floats abs_float(Floats a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static float largest_lane(Floats a) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
  }

  [[gnu::always_inline]] static Vec rounded(const float* p, const CodeRule& rule) {
    Floats x = _mm256_loadu_ps(p), v = _mm256_mul_ps(x, _mm256_set1_ps(rule.inverse));
    if (rule.scale > 0) {
      Floats off = abs_float(_mm256_sub_ps(v, _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
      if (_mm256_movemask_ps(_mm256_cmp_ps(off, _mm256_set1_ps(0.4999f), _CMP_GT_OQ))) v = _mm256_div_ps(x, _mm256_set1_ps(rule.scale));
    }
    v = _mm256_min_ps(_mm256_max_ps(v, _mm256_set1_ps(rule.low)), _mm256_set1_ps(rule.high));
    return _mm256_add_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(rule.zero));
  }
  static void quantize16(const float* x, const CodeRule& rule, uint8_t flip, uint8_t* out) {
    Vec words = _mm256_permute4x64_epi64(_mm256_packs_epi32(rounded(x, rule), rounded(x + 8, rule)), 0xd8);
    __m128i codes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_xor_si128(codes, _mm_set1_epi8(char(flip))));
  }
  static void quantize64(const float* x, const CodeRule& rule, uint8_t flip, uint8_t* out) {
    const Vec order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);  // packs works within 128-bit lanes
    for (int i = 0; i < 64; i += 32) {
      Vec low = _mm256_packs_epi32(rounded(x + i, rule), rounded(x + i + 8, rule));
      Vec high = _mm256_packs_epi32(rounded(x + i + 16, rule), rounded(x + i + 24, rule));
      Vec codes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_xor_si256(codes, _mm256_set1_epi8(char(flip))));
    }
  }
  static void group_sums(const int8_t* codes, int64_t group, int64_t groups, int32_t* sums) {
    for (int64_t g = 0; g < groups; g++) {
      Vec sum = _mm256_setzero_si256();
      for (int64_t i = 0; i < group; i += 32, codes += 32) sum = add_pairs(sum, _mm256_maddubs_epi16(_mm256_set1_epi8(1), load(codes)));
      __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
      s = _mm_add_epi32(s, _mm_unpackhi_epi64(s, s));
      sums[g] = _mm_cvtsi128_si32(s) + _mm_extract_epi32(s, 1);
    }
  }
  static void xor_shifted(const uint8_t* x, int64_t n, uint8_t* out) {
    for (int64_t i = 16; i < n; i += 32) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_xor_si256(load(x + i), load(x + i - 16)));
  }

 private:
  static __m128i load128(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static Vec add_pairs(Vec acc, Vec products) { return _mm256_add_epi32(acc, _mm256_madd_epi16(products, _mm256_set1_epi16(1))); }
  static Vec unpack4(const uint8_t* low, const uint8_t* high) {
    auto wide = [](const uint8_t* p) { return _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); };
    Vec v = _mm256_inserti128_si256(_mm256_castsi128_si256(wide(low)), wide(high), 1);
    return _mm256_and_si256(_mm256_or_si256(v, _mm256_slli_epi16(v, 4)), _mm256_set1_epi8(15));
  }
  // 0xff where the mask has a bit.
  static Vec bytes_of(uint32_t mask) {
    const Vec spread = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const Vec bit = _mm256_set1_epi64x(int64_t(0x8040201008040201));
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(int(mask)), spread), bit), bit);
  }
  // For each byte of a lane, how many kept ones precede it in the lane: a prefix sum that starts at -1, used as vpshufb control.
  // Codes are stored without bias: then one xor makes them unsigned and fills the gaps.
  template <int kBits>
  static Vec placed(uint32_t mask, Vec codes) {
    const Vec carry = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0707070707070707, -1));
    Vec kept = bytes_of(mask);
    Vec before = _mm256_sub_epi8(_mm256_set_epi64x(0, 255, 0, 255), kept);
    before = _mm256_add_epi8(before, _mm256_slli_epi64(before, 8));
    before = _mm256_add_epi8(before, _mm256_slli_epi64(before, 16));
    before = _mm256_add_epi8(before, _mm256_slli_epi64(before, 32));
    before = _mm256_add_epi8(before, _mm256_shuffle_epi8(before, carry));
    Vec w = _mm256_and_si256(_mm256_shuffle_epi8(codes, before), kept);
    if constexpr (kBits == 4 || kBias8 != 0) w = _mm256_xor_si256(w, _mm256_set1_epi8(kBits == 4 ? 8 : char(kBias8)));
    return w;
  }
};
