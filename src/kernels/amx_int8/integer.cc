// The inner loops of integer/amx.h.
#include <immintrin.h>

#include "kernels/integer/amx.h"
#include "kernels/integer/lane16.h"

namespace lacuna::kernels::amx_int8 {
namespace {

// In static memory: gcc takes _tile_loadconfig to read no more than eight bytes, and may drop stores to the rest of a local one.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfig kConfig;

// Two tiles of tokens by two row groups: tiles 0 to 3 hold sums, 4 and 5 tokens, 6 and 7 weights.
void two_token_tiles(const AmxCall& c, int64_t first) {
  const uint8_t *x0 = c.x + c.tile_offsets[first], *x1 = c.x + c.tile_offsets[first + 1], *w0 = c.tiles[0], *w1 = c.tiles[1];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < c.chunks; i++, w0 += kAmxTile, w1 += kAmxTile) {
    int64_t offset = c.chunk_offsets[i];
    _tile_loadd(4, x0 + offset, c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, x1 + offset, c.x_stride);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, c.sums[0] + first * 256, 64);
  _tile_stored(1, c.sums[1] + first * 256, 64);
  _tile_stored(2, c.sums[0] + (first + 1) * 256, 64);
  _tile_stored(3, c.sums[1] + (first + 1) * 256, 64);
}

void add_tile(int32_t* sums, const int32_t* more) {
  for (int r = 0; r < 256; r += 16) _mm512_storeu_si512(sums + r, _mm512_add_epi32(_mm512_loadu_si512(sums + r), _mm512_load_si512(more + r)));
}

// Products of one tile follow each other every 52 cycles: even and odd chunks have their own sums.
void one_token_tile(const AmxCall& c, int64_t first) {
  const uint8_t *x = c.x + c.tile_offsets[first], *w0 = c.tiles[0], *w1 = c.tiles[1];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  int64_t i = 0;
  for (; i + 2 <= c.chunks; i += 2, w0 += 2 * kAmxTile, w1 += 2 * kAmxTile) {
    _tile_loadd(4, x + c.chunk_offsets[i], c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_loadd(5, x + c.chunk_offsets[i + 1], c.x_stride);
    _tile_loadd(6, w0 + kAmxTile, 64);
    _tile_loadd(7, w1 + kAmxTile, 64);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  if (i < c.chunks) {
    _tile_loadd(4, x + c.chunk_offsets[i], c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
  }
  alignas(64) int32_t odd[2][256];
  _tile_stored(0, c.sums[0] + first * 256, 64);
  _tile_stored(1, c.sums[1] + first * 256, 64);
  _tile_stored(2, odd[0], 64);
  _tile_stored(3, odd[1], 64);
  add_tile(c.sums[0] + first * 256, odd[0]);
  add_tile(c.sums[1] + first * 256, odd[1]);
}

#define LACUNA_UNROLL _Pragma("GCC unroll 16")
#include "kernels/integer/simd512.inl"

// Four channels of sixteen pixels, a byte each, in the lanes of the pixels.
__m512i four_channels(const PixelQuantization& q, int64_t channel, int64_t pixel, __mmask16 pixels) {
  __m512i codes[4];
  LACUNA_UNROLL for (int i = 0; i < 4; i++) {
    __mmask16 present = channel + i < q.channels ? pixels : __mmask16(0);
    __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(present, q.x + (channel + i) * q.channel_stride + pixel), _mm512_set1_ps(q.inverse));
    codes[i] = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(-127)), _mm512_set1_ps(127)));
  }
  auto select = [](int mask, __m512i a, __m512i b) { return _mm512_ternarylogic_epi32(_mm512_set1_epi32(mask), a, b, 0xca); };
  __m512i out = select(0xff, codes[0], _mm512_slli_epi32(codes[1], 8));
  out = select(0xffff, out, _mm512_slli_epi32(codes[2], 16));
  return select(0xffffff, out, _mm512_slli_epi32(codes[3], 24));
}

}  // namespace

void expand(const uint8_t* p, int64_t units, uint8_t* tiles) noexcept {
  for (int64_t u = 0; u < units; u++, tiles += 512) {
    const Word64* masks = reinterpret_cast<const Word64*>(p);
    p += 64;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
      _mm512_storeu_si512(tiles + 64 * i, _mm512_maskz_expand_epi8(masks[i], _mm512_loadu_si512(p)));
      p += __builtin_popcountll(masks[i]);
    }
  }
}

void multiply(const AmxCall& call) noexcept {
  _tile_loadconfig(&kConfig);
  int64_t t = 0;
  for (; t + 2 <= call.token_tiles; t += 2) two_token_tiles(call, t);
  if (t < call.token_tiles) one_token_tile(call, t);
  _tile_release();
}

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

void scale_transposed(const int32_t* sums, int64_t tokens, const float* scales, float x_scale, float* out, int64_t out_stride) noexcept {
  __m512 scale = _mm512_loadu_ps(scales), by = _mm512_set1_ps(x_scale);
  for (int64_t t = 0; t < tokens; t += 16) {
    __m512 tile[16];
    LACUNA_UNROLL for (int i = 0; i < 16; i++) tile[i] =
        _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums + (t + i) * 16)), scale), by);
    Simd::transpose(tile);
    LACUNA_UNROLL for (int i = 0; i < 16; i++) _mm512_storeu_ps(out + i * out_stride + t, tile[i]);
  }
}

}  // namespace lacuna::kernels::amx_int8
