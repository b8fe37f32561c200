// The PixelIsa of integer/pixels.h in 512-bit registers. Included inside an unnamed namespace, after simd512.inl and codes512.inl.

// Four channels of sixteen pixels, a byte each, in the lanes of the pixels.
__m512i four_channels(const PixelQuantization& q, int64_t channel, int64_t pixel, __mmask16 pixels) {
  __m512i codes[4];
  LACUNA_UNROLL for (int i = 0; i < 4; i++) {
    __mmask16 present = channel + i < q.channels ? pixels : __mmask16(0);
    codes[i] = Simd::rounded(_mm512_maskz_loadu_ps(present, q.x + (channel + i) * q.channel_stride + pixel), q.rule);
  }
  auto select = [](int mask, __m512i a, __m512i b) { return _mm512_ternarylogic_epi32(_mm512_set1_epi32(mask), a, b, 0xca); };
  __m512i out = select(0xff, codes[0], _mm512_slli_epi32(codes[1], 8));
  out = select(0xffff, out, _mm512_slli_epi32(codes[2], 16));
  return select(0xffffff, out, _mm512_slli_epi32(codes[3], 24));
}

// Channels outside, so that the 64 pages they lie on stay in the translation buffer.
void quantize_pixels(const PixelQuantization& q) noexcept {
  const __m512i flip = _mm512_set1_epi8(char(q.flip));
  for (int64_t channel = 0; channel < q.channels; channel += 64) {
    int64_t left = q.channels - channel;
    __mmask64 present = left >= 64 ? ~uint64_t(0) : (uint64_t(1) << left) - 1;
    for (int64_t pixel = 0; pixel < q.pixels; pixel += 16) {
      int64_t count = q.pixels - pixel < 16 ? q.pixels - pixel : 16;
      __mmask16 pixels = __mmask16((1u << count) - 1);
      __m512 tile[16];
      LACUNA_UNROLL for (int i = 0; i < 16; i++) tile[i] =
          channel + 4 * i < q.channels ? _mm512_castsi512_ps(four_channels(q, channel + 4 * i, pixel, pixels)) : _mm512_setzero_ps();
      Simd::transpose(tile);
      alignas(64) uint8_t codes[16][64];
      LACUNA_UNROLL for (int i = 0; i < 16; i++) _mm512_store_si512(codes[i], _mm512_xor_si512(_mm512_castps_si512(tile[i]), flip));
      for (int64_t i = 0; i < count; i++) _mm512_mask_storeu_epi8(q.out + q.offsets[pixel + i] + channel, present, _mm512_load_si512(codes[i]));
    }
  }
}

void copy_flipped(const int8_t* x, int64_t n, uint8_t flip, uint8_t* out) noexcept {
  const __m512i flips = _mm512_set1_epi8(char(flip));
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) _mm512_storeu_si512(out + i, _mm512_xor_si512(_mm512_loadu_si512(x + i), flips));
  if (i == n) return;
  __mmask64 rest = (uint64_t(1) << (n - i)) - 1;
  _mm512_mask_storeu_epi8(out + i, rest, _mm512_xor_si512(_mm512_maskz_loadu_epi8(rest, x + i), flips));
}

void sum_pixels(const uint8_t* x, int64_t stride, int64_t pixels, const int32_t* offsets, int64_t units, int32_t* out) noexcept {
  const __m256i flips = _mm256_set1_epi8(char(0x80));
  for (int64_t i = 0; i < pixels; i++, x += stride) {
    __m256i sum = _mm256_setzero_si256();  // of codes + 128, eight at a time
    for (int64_t u = 0; u < units; u++) {
      __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + offsets[u]));
      sum = _mm256_add_epi64(sum, _mm256_sad_epu8(_mm256_xor_si256(codes, flips), _mm256_setzero_si256()));
    }
    out[i] = int32_t(_mm512_reduce_add_epi64(_mm512_zextsi256_si512(sum)) - 128 * kUnitCols * units);
  }
}

void scale_transposed(const int32_t* sums, const int32_t* excess, int64_t tokens, const float* scales, float x_scale, const uint8_t* places,
                      float* out, int64_t out_stride) noexcept {
  __m512 scale = _mm512_loadu_ps(scales), by = _mm512_set1_ps(x_scale);
  __m512i off = excess ? _mm512_loadu_si512(excess) : _mm512_setzero_si512();
  for (int64_t t = 0; t < tokens; t += 16) {
    __m512 tile[16];
    LACUNA_UNROLL for (int i = 0; i < 16; i++) tile[i] =
        _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(sums + (t + i) * 16), off)), scale), by);
    Simd::transpose(tile);
    LACUNA_UNROLL for (int i = 0; i < 16; i++) _mm512_storeu_ps(out + (places ? places[i] : i) * out_stride + t, tile[i]);
  }
}

void store_codes(const CodeStore& s) noexcept {
  with_codes(s, [&](auto codes) { codes.step(kBlockPixels); });
}

void fill_code_table(float scale, int32_t zero, float y_scale, const CodeOutput& code, int8_t* table) noexcept {
  const Narrow narrow(code, nullptr);
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

constexpr PixelIsa kPixels = {.orders_rows = kLooksUp,
                              .quantize = quantize_pixels,
                              .copy_flipped = copy_flipped,
                              .sum = sum_pixels,
                              .scale_transposed = scale_transposed,
                              .store_codes = store_codes,
                              .fill_code_table = fill_code_table};
