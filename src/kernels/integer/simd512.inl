// Simd for lane16.inl in 512-bit registers, with or without VNNI and VBMI2, as the including file is compiled.

struct Simd {
  using Vec = __m512i;
  using Floats = __m512;
  static constexpr int kVectors = 1;
  static constexpr int kMaxTokens = 16;
#ifdef __AVX512VNNI__
  static constexpr int kBias8 = 128;
  static constexpr bool kUnsignedGather = true;
#else
  static constexpr int kBias8 = 0;
  static constexpr bool kUnsignedGather = false;
#endif
#ifdef __AVX512VBMI2__
  static constexpr bool kXorWindows = false;
  static constexpr int kNibbleRun = 64;
#else
  static constexpr bool kXorWindows = true;
  static constexpr int kNibbleRun = 16;
#endif
  static constexpr bool kRawBitmask = false;
  using Bytes = uint8_t[1 << 20];  // what written out instructions read: as far as they may

  static Vec load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(int32_t* p, Vec v) { _mm512_storeu_si512(p, v); }
  static Vec set1(int32_t v) { return _mm512_set1_epi32(v); }
  static Vec add(Vec a, Vec b) { return _mm512_add_epi32(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm512_sub_epi32(a, b); }
  static Vec low_nibbles(Vec v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
  static Vec high_nibbles(Vec v) { return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15)); }
  static void ones_of(uint64_t mask, Vec (&ones)[1]) { ones[0] = _mm512_maskz_set1_epi8(mask, 1); }

  // The kept codes at p to their places, the filler elsewhere. Returns the bytes read.
  template <int kBits>
  static int64_t expand(uint64_t mask, const uint8_t* p, Vec (&w)[1]) {
    const Vec filler = _mm512_set1_epi8(kBits == 4 ? 8 : char(kBias8));
#ifdef __AVX512VBMI2__
    // Merging into a fresh copy of the filler: on Zen 4 a vpexpandb waits for the old value of its destination.
    Vec codes = kBits == 8 ? load(p) : unpack4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    w[0] = _mm512_mask_expand_epi8(filler, mask, codes);
    return kBits == 8 ? __builtin_popcountll(mask) : (__builtin_popcountll(mask) + 1) / 2;
#else
    // For each byte of a lane, how many kept ones precede it in the lane: a prefix sum that starts at -1, used as vpshufb control.
    const Vec start = _mm512_set_epi64(0, 255, 0, 255, 0, 255, 0, 255), counted = _mm512_add_epi8(start, _mm512_set1_epi8(1));
    const Vec carry = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0707070707070707, -1));
    Vec before = _mm512_mask_blend_epi8(mask, start, counted);
    before = _mm512_add_epi8(before, _mm512_slli_epi64(before, 8));
    before = _mm512_add_epi8(before, _mm512_slli_epi64(before, 16));
    before = _mm512_add_epi8(before, _mm512_slli_epi64(before, 32));
    before = _mm512_add_epi8(before, _mm512_shuffle_epi8(before, carry));
    if constexpr (kBits == 8) {
      const uint8_t *p1 = p + __builtin_popcountll(mask & 0xffff), *p2 = p + __builtin_popcountll(mask & 0xffffffff);
      const uint8_t *p3 = p + __builtin_popcountll(mask << 16), *p4 = p + __builtin_popcountll(mask);
      Vec codes = _mm512_broadcast_i32x4(load128(p));
      codes = _mm512_mask_broadcast_i32x4(codes, 0x00f0, load128(p1));
      codes = _mm512_mask_broadcast_i32x4(codes, 0x0f00, load128(p2));
      codes = _mm512_mask_broadcast_i32x4(codes, 0xf000, load128(p3));
      w[0] = _mm512_mask_shuffle_epi8(filler, mask, codes, before);
      return p4 - p;
    } else {
      const uint8_t *p1 = p + (__builtin_popcountll(mask & 0xffff) + 1) / 2, *p2 = p1 + (__builtin_popcountll(mask & 0xffff0000) + 1) / 2;
      const uint8_t *p3 = p2 + (__builtin_popcountll(mask & 0xffff00000000) + 1) / 2, *p4 = p3 + (__builtin_popcountll(mask >> 48) + 1) / 2;
      __m256i codes = _mm256_broadcastq_epi64(load64(p));
      codes = _mm256_mask_broadcastq_epi64(codes, 2, load64(p1));
      codes = _mm256_mask_broadcastq_epi64(codes, 4, load64(p2));
      codes = _mm256_mask_broadcastq_epi64(codes, 8, load64(p3));
      w[0] = _mm512_mask_shuffle_epi8(filler, mask, unpack4(codes), before);
      return p4 - p;
    }
#endif
  }

  // acc += w (unsigned, or signed if 8-bit codes have no bias) times the four signed activations at x.
  template <int kBits>
  static void dot_broadcast(Vec& acc, Vec w, const uint8_t* x) {
#ifdef __AVX512VNNI__
    // Written out because gcc 12 copies the accumulator before the intrinsic.
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*reinterpret_cast<const Word32*>(x)));
#else
    Vec xs = _mm512_set1_epi32(*reinterpret_cast<const Word32*>(x));
    if constexpr (kBits == 4) {
      acc = add_pairs(acc, _mm512_maddubs_epi16(w, xs));
    } else {
      __mmask64 negative = _mm512_movepi8_mask(xs);
      acc = add_pairs(acc, _mm512_maddubs_epi16(_mm512_abs_epi8(xs), _mm512_mask_sub_epi8(w, negative, _mm512_setzero_si512(), w)));
    }
#endif
  }

  // The same for four tokens `stride` bytes apart, the first at x + kAt. Addresses are written out too: gcc 12 keeps each of them in a register of
  // its own, or rather on the stack, and loads are what a dense product has none to spare of.
#ifdef __AVX512VNNI__
  static constexpr bool kDotsFour = true;
  template <int kAt>
  static void dot_broadcast_four(Vec* acc, Vec w, const uint8_t* x, int64_t stride, int64_t stride3) {
    __asm__(
        "vpdpbusd %c[at](%[x])%{1to16%}, %[w], %[a]\n\t"
        "vpdpbusd %c[at](%[x],%[s])%{1to16%}, %[w], %[b]\n\t"
        "vpdpbusd %c[at](%[x],%[s],2)%{1to16%}, %[w], %[c]\n\t"
        "vpdpbusd %c[at](%[x],%[s3])%{1to16%}, %[w], %[d]"
        : [a] "+&v"(acc[0]), [b] "+&v"(acc[1]), [c] "+&v"(acc[2]), [d] "+&v"(acc[3])
        : [w] "v"(w), [x] "r"(x), [s] "r"(stride), [s3] "r"(stride3), [at] "i"(kAt), "m"(*reinterpret_cast<const Bytes*>(x)));
  }
  // The same with the codes of two row groups.
  template <int kAt>
  static void dot_broadcast_four_pair(Vec* acc, Vec* second, Vec w, Vec v, const uint8_t* x, int64_t stride, int64_t stride3) {
    Vec t0, t1, t2, t3;  // an array would be stored
    __asm__(
        "vpbroadcastd %c[at](%[x]), %[t0]\n\t"
        "vpbroadcastd %c[at](%[x],%[s]), %[t1]\n\t"
        "vpbroadcastd %c[at](%[x],%[s],2), %[t2]\n\t"
        "vpbroadcastd %c[at](%[x],%[s3]), %[t3]\n\t"
        "vpdpbusd %[t0], %[w], %[a]\n\t"
        "vpdpbusd %[t0], %[v], %[e]\n\t"
        "vpdpbusd %[t1], %[w], %[b]\n\t"
        "vpdpbusd %[t1], %[v], %[f]\n\t"
        "vpdpbusd %[t2], %[w], %[c]\n\t"
        "vpdpbusd %[t2], %[v], %[g]\n\t"
        "vpdpbusd %[t3], %[w], %[d]\n\t"
        "vpdpbusd %[t3], %[v], %[h]"
        : [a] "+&v"(acc[0]), [b] "+&v"(acc[1]), [c] "+&v"(acc[2]), [d] "+&v"(acc[3]), [e] "+&v"(second[0]), [f] "+&v"(second[1]),
          [g] "+&v"(second[2]), [h] "+&v"(second[3]), [t0] "=&v"(t0), [t1] "=&v"(t1), [t2] "=&v"(t2), [t3] "=&v"(t3)
        : [w] "v"(w), [v] "v"(v), [x] "r"(x), [s] "r"(stride), [s3] "r"(stride3), [at] "i"(kAt), "m"(*reinterpret_cast<const Bytes*>(x)));
  }
#else
  static constexpr bool kDotsFour = false;
#endif
  // Windows of 64 columns of four tokens times gathered codes. Written out for the order: gcc 12 gathers for all sixteen tokens first, more than the
  // registers hold.
#ifdef __AVX512VBMI2__
  static constexpr bool kGathersFour = true;
  static Vec gather(const uint8_t* x, Vec index) { return _mm512_permutexvar_epi8(index, load(x)); }
  static void gather_four(Vec* acc, Vec index, Vec codes, const uint8_t* x, int64_t stride, int64_t stride3) {
    Vec t0, t1, t2, t3;  // an array would be stored
    __asm__(
        "vpermb (%[x]), %[i], %[t0]\n\t"
        "vpermb (%[x],%[s]), %[i], %[t1]\n\t"
        "vpermb (%[x],%[s],2), %[i], %[t2]\n\t"
        "vpermb (%[x],%[s3]), %[i], %[t3]\n\t"
        "vpdpbusd %[w], %[t0], %[a]\n\t"
        "vpdpbusd %[w], %[t1], %[b]\n\t"
        "vpdpbusd %[w], %[t2], %[c]\n\t"
        "vpdpbusd %[w], %[t3], %[d]"
        : [a] "+&v"(acc[0]), [b] "+&v"(acc[1]), [c] "+&v"(acc[2]), [d] "+&v"(acc[3]), [t0] "=&v"(t0), [t1] "=&v"(t1), [t2] "=&v"(t2), [t3] "=&v"(t3)
        : [w] "v"(codes), [i] "v"(index), [x] "r"(x), [s] "r"(stride), [s3] "r"(stride3), "m"(*reinterpret_cast<const Bytes*>(x)));
  }
  // The same with the indices and codes of two row groups.
  static void gather_four_pair(Vec* acc, Vec* second, Vec i, Vec j, Vec w, Vec v, const uint8_t* x, int64_t stride, int64_t stride3) {
    Vec t0, t1, t2, t3, u0, u1;  // arrays would be stored
    __asm__(
        "vmovdqu64 (%[x]), %[t0]\n\t"
        "vmovdqu64 (%[x],%[s]), %[t1]\n\t"
        "vmovdqu64 (%[x],%[s],2), %[t2]\n\t"
        "vmovdqu64 (%[x],%[s3]), %[t3]\n\t"
        "vpermb %[t0], %[i], %[u0]\n\t"
        "vpermb %[t1], %[i], %[u1]\n\t"
        "vpdpbusd %[w], %[u0], %[a]\n\t"
        "vpdpbusd %[w], %[u1], %[b]\n\t"
        "vpermb %[t2], %[i], %[u0]\n\t"
        "vpermb %[t3], %[i], %[u1]\n\t"
        "vpdpbusd %[w], %[u0], %[c]\n\t"
        "vpdpbusd %[w], %[u1], %[d]\n\t"
        "vpermb %[t0], %[j], %[t0]\n\t"
        "vpermb %[t1], %[j], %[t1]\n\t"
        "vpermb %[t2], %[j], %[t2]\n\t"
        "vpermb %[t3], %[j], %[t3]\n\t"
        "vpdpbusd %[v], %[t0], %[e]\n\t"
        "vpdpbusd %[v], %[t1], %[f]\n\t"
        "vpdpbusd %[v], %[t2], %[g]\n\t"
        "vpdpbusd %[v], %[t3], %[h]"
        : [a] "+&v"(acc[0]), [b] "+&v"(acc[1]), [c] "+&v"(acc[2]), [d] "+&v"(acc[3]), [e] "+&v"(second[0]), [f] "+&v"(second[1]),
          [g] "+&v"(second[2]), [h] "+&v"(second[3]), [t0] "=&v"(t0), [t1] "=&v"(t1), [t2] "=&v"(t2), [t3] "=&v"(t3), [u0] "=&v"(u0), [u1] "=&v"(u1)
        : [i] "v"(i), [j] "v"(j), [w] "v"(w), [v] "v"(v), [x] "r"(x), [s] "r"(stride), [s3] "r"(stride3), "m"(*reinterpret_cast<const Bytes*>(x)));
  }
#else
  static constexpr bool kGathersFour = false;
#endif

  // Codes that meet gathered activations.
  struct Gathered {
#ifdef __AVX512VNNI__
    Vec codes;
    explicit Gathered(const uint8_t* p) : codes(load(p)) {}
    void dot(Vec& acc, Vec x) const { __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(codes)); }
#else
    // x may be -128, which has a magnitude but no opposite; codes have both.
    Vec codes;
    explicit Gathered(const uint8_t* p) : codes(load(p)) {}
    void dot(Vec& acc, Vec x) const {
      Vec moved = _mm512_mask_sub_epi8(codes, _mm512_movepi8_mask(x), _mm512_setzero_si512(), codes);
      acc = add_pairs(acc, _mm512_maddubs_epi16(_mm512_abs_epi8(x), moved));
    }
#endif
  };

  // Four codes that meet four columns of each token.
  struct Broadcast {
#ifdef __AVX512VNNI__
    Vec codes;
    explicit Broadcast(const uint8_t* p) : codes(_mm512_set1_epi32(*reinterpret_cast<const Word32*>(p))) {}
    void dot(Vec& acc, Vec x) const { __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(codes)); }
#else
    Vec codes;
    explicit Broadcast(const uint8_t* p) : codes(_mm512_set1_epi32(*reinterpret_cast<const Word32*>(p))) {}
    void dot(Vec& acc, Vec x) const {
      Vec moved = _mm512_mask_sub_epi8(codes, _mm512_movepi8_mask(x), _mm512_setzero_si512(), codes);
      acc = add_pairs(acc, _mm512_maddubs_epi16(_mm512_abs_epi8(x), moved));
    }
#endif
  };
  static Vec unpack_low8(Vec a, Vec b) { return _mm512_unpacklo_epi8(a, b); }
  static Vec unpack_high8(Vec a, Vec b) { return _mm512_unpackhi_epi8(a, b); }
  static Vec unpack_low16(Vec a, Vec b) { return _mm512_unpacklo_epi16(a, b); }
  static Vec unpack_high16(Vec a, Vec b) { return _mm512_unpackhi_epi16(a, b); }
  // Lane `block` of each of four registers in memory.
  static Vec load_lanes(const int32_t* p, int block) {
    auto lane = [&](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * i + 4 * block)); };
    Vec v = _mm512_broadcast_i32x4(lane(0));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, lane(1));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, lane(2));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, lane(3));
  }
  static Floats load_float_lanes(const float* p, int block) { return _mm512_castsi512_ps(load_lanes(reinterpret_cast<const int32_t*>(p), block)); }
  static void store_lanes(uint8_t* p, int64_t stride, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_castsi512_si128(v));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + stride), _mm512_extracti32x4_epi32(v, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 2 * stride), _mm512_extracti32x4_epi32(v, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 3 * stride), _mm512_extracti32x4_epi32(v, 3));
  }
  [[gnu::always_inline]] static void transpose(Floats (&tile)[16]) {
    Floats u[16];
    LACUNA_UNROLL for (int i = 0; i < 16; i += 2) u[i] = _mm512_unpacklo_ps(tile[i], tile[i + 1]),
                                                  u[i + 1] = _mm512_unpackhi_ps(tile[i], tile[i + 1]);
    LACUNA_UNROLL for (int i = 0; i < 16; i += 4) {
      auto pair = [](Floats a, Floats b, bool high) {
        __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
        return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
      };
      tile[i] = pair(u[i], u[i + 2], false), tile[i + 1] = pair(u[i], u[i + 2], true);
      tile[i + 2] = pair(u[i + 1], u[i + 3], false), tile[i + 3] = pair(u[i + 1], u[i + 3], true);
    }
    LACUNA_UNROLL for (int i = 0; i < 4; i++) {
      Floats a = _mm512_shuffle_f32x4(tile[i], tile[i + 4], 0x88), b = _mm512_shuffle_f32x4(tile[i + 8], tile[i + 12], 0x88);
      Floats d = _mm512_shuffle_f32x4(tile[i], tile[i + 4], 0xdd), e = _mm512_shuffle_f32x4(tile[i + 8], tile[i + 12], 0xdd);
      u[i] = _mm512_shuffle_f32x4(a, b, 0x88), u[i + 8] = _mm512_shuffle_f32x4(a, b, 0xdd);
      u[i + 4] = _mm512_shuffle_f32x4(d, e, 0x88), u[i + 12] = _mm512_shuffle_f32x4(d, e, 0xdd);
    }
    LACUNA_UNROLL for (int i = 0; i < 16; i++) tile[i] = u[i];
  }

  static Vec lookup16(const uint8_t* x, Vec index) { return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load128(x)), index); }
  static Vec lookup16_pair(const uint8_t* x, Vec index) {
    return _mm512_mask_shuffle_epi8(lookup16(x, index), 0xcccccccccccccccc, _mm512_broadcast_i32x4(load128(x + 16)), index);
  }
  // out[t] = x[t * stride + index]
  template <int kWindow, int kTokens>
  [[gnu::always_inline]] static void lookup_window(const uint8_t* x, [[maybe_unused]] const uint8_t* x_xor, int64_t stride, Vec index,
                                                   Vec (&out)[kTokens]) {
#ifdef __AVX512VBMI2__
    LACUNA_UNROLL for (int t = 0; t < kTokens; t++, x += stride) {
      if constexpr (kWindow == 64) {
        out[t] = _mm512_permutexvar_epi8(index, load(x));
      } else {
        out[t] = _mm512_permutex2var_epi8(load(x), index, load(x + 64));
        if constexpr (kWindow == 256)
          out[t] = _mm512_mask_mov_epi8(out[t], _mm512_movepi8_mask(index), _mm512_permutex2var_epi8(load(x + 128), index, load(x + 192)));
      }
    }
#else
    // vpshufb gives 0 where the index is negative, so a sum (xor) of differences leaves the entry of the right sixteen.
    LACUNA_UNROLL for (int t = 0; t < kTokens; t++) out[t] = lookup16(x + t * stride, index);
    LACUNA_UNROLL for (int i = 16; i < kWindow; i += 16) {
      index = _mm512_sub_epi8(index, _mm512_set1_epi8(16));
      LACUNA_UNROLL for (int t = 0; t < kTokens; t++) out[t] = _mm512_xor_si512(out[t], lookup16(x_xor + t * stride + i, index));
    }
#endif
  }

  static Floats to_float(Vec v) { return _mm512_cvtepi32_ps(v); }
  static Floats load_floats(const float* p) { return _mm512_loadu_ps(p); }
  static Floats set1_float(float v) { return _mm512_set1_ps(v); }
  static Floats load_scales(const uint8_t* p, bool half) {
    return half ? _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))) : _mm512_loadu_ps(p);
  }
  static void store_floats(float* p, Floats v) { _mm512_storeu_ps(p, v); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats add_float(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats abs_float(Floats a) { return _mm512_abs_ps(a); }
  static float largest_lane(Floats a) { return _mm512_reduce_max_ps(a); }

  [[gnu::always_inline]] static Vec rounded(Floats x, const CodeRule& rule) {
    Floats v = _mm512_mul_ps(x, _mm512_set1_ps(rule.inverse));
    if (rule.scale > 0) {
      Floats off = _mm512_abs_ps(_mm512_sub_ps(v, _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
      if (_mm512_cmp_ps_mask(off, _mm512_set1_ps(0.4999f), _CMP_GT_OQ)) v = _mm512_div_ps(x, _mm512_set1_ps(rule.scale));
    }
    v = _mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(rule.low)), _mm512_set1_ps(rule.high));
    return _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(rule.zero));
  }
  static void quantize16(const float* x, const CodeRule& rule, uint8_t flip, uint8_t* out) {
    __m128i codes = _mm512_cvtepi32_epi8(rounded(_mm512_loadu_ps(x), rule));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_xor_si128(codes, _mm_set1_epi8(char(flip))));
  }
  static void quantize64(const float* x, const CodeRule& rule, uint8_t flip, uint8_t* out) {
    Vec low = _mm512_packs_epi32(rounded(_mm512_loadu_ps(x), rule), rounded(_mm512_loadu_ps(x + 16), rule));
    Vec high = _mm512_packs_epi32(rounded(_mm512_loadu_ps(x + 32), rule), rounded(_mm512_loadu_ps(x + 48), rule));
    const Vec order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);  // packs works within 128-bit lanes
    Vec codes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
    _mm512_storeu_si512(out, _mm512_xor_si512(codes, _mm512_set1_epi8(char(flip))));
  }
  static void group_sums(const int8_t* codes, int64_t group, int64_t groups, int32_t* sums) {
    const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    for (int64_t g = 0; g < groups; g++) {
      __m256i sum = _mm256_setzero_si256();
      for (int64_t i = 0; i < group; i += 32, codes += 32)
        sum = _mm256_add_epi32(sum,
                               _mm256_madd_epi16(_mm256_maddubs_epi16(ones8, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes))), ones16));
      sums[g] = _mm512_reduce_add_epi32(_mm512_zextsi256_si512(sum));
    }
  }
  static void xor_shifted(const uint8_t* x, int64_t n, uint8_t* out) {
    for (int64_t i = 16; i < n; i += 64) _mm512_storeu_si512(out + i, _mm512_xor_si512(load(x + i), load(x + i - 16)));
  }

 private:
  static __m128i load128(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static __m128i load64(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static Vec unpack4(__m256i bytes) {
    Vec wide = _mm512_cvtepu8_epi16(bytes);
    return _mm512_ternarylogic_epi32(wide, _mm512_slli_epi16(wide, 4), _mm512_set1_epi8(15), 0xa8);  // (a | b) & c
  }
  static Vec add_pairs(Vec acc, Vec products) { return _mm512_add_epi32(acc, _mm512_madd_epi16(products, _mm512_set1_epi16(1))); }
};
