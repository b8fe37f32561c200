// The inner loops of integer/amx.h.
#include <immintrin.h>

#include "kernels/integer/amx.h"
#include "kernels/integer/lane16.h"

namespace lacuna::kernels::amx_int8 {
namespace {

#define LACUNA_UNROLL _Pragma("GCC unroll 16")
#include "kernels/integer/simd512.inl"

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

}  // namespace

// Channels outside, so that the 64 pages they lie on stay in the translation buffer.
void quantize_pixels(const PixelQuantization& q) noexcept {
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
      LACUNA_UNROLL for (int i = 0; i < 16; i++) _mm512_store_ps(codes[i], tile[i]);
      for (int64_t i = 0; i < count; i++) _mm512_mask_storeu_epi8(q.out + q.offsets[pixel + i] + channel, present, _mm512_load_si512(codes[i]));
    }
  }
}

void scale_transposed(const int32_t* sums, const int32_t* excess, int64_t tokens, const float* scales, float x_scale, float* out,
                      int64_t out_stride) noexcept {
  __m512 scale = _mm512_loadu_ps(scales), by = _mm512_set1_ps(x_scale);
  __m512i off = excess ? _mm512_loadu_si512(excess) : _mm512_setzero_si512();
  for (int64_t t = 0; t < tokens; t += 16) {
    __m512 tile[16];
    LACUNA_UNROLL for (int i = 0; i < 16; i++) tile[i] =
        _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(sums + (t + i) * 16), off)), scale), by);
    Simd::transpose(tile);
    LACUNA_UNROLL for (int i = 0; i < 16; i++) _mm512_storeu_ps(out + i * out_stride + t, tile[i]);
  }
}

}  // namespace lacuna::kernels::amx_int8
