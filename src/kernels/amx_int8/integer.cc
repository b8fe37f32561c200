// The inner loops of integer/amx.h.
#include <immintrin.h>

#include "kernels/integer/amx.h"
#include "kernels/integer/lane16.h"

namespace lacuna::kernels::amx_int8 {
namespace {

#include "kernels/inner/tile_config.inl"

// Asks for the weights of the next call, some lines with each step of this one.
class Ahead {
 public:
  Ahead(const AmxCall& c, int64_t steps) : next_(c.ahead), end_(c.ahead + (c.ahead ? c.ahead_bytes : 0)) {
    lines_ = ((end_ - next_ + 63) / 64 + steps - 1) / steps;
  }
  void step() {
    for (int64_t i = 0; i < lines_ && next_ < end_; i++, next_ += 64) _mm_prefetch(reinterpret_cast<const char*>(next_), _MM_HINT_T1);
  }

 private:
  const uint8_t *next_, *end_;
  int64_t lines_;
};

// Chunks [begin, end) of the weights, which stay in the L1 cache for all tokens.
struct Chunks {
  int64_t begin, end;
};

// Two tiles of tokens by two row groups: tiles 0 to 3 hold sums, 4 and 5 tokens, 6 and 7 weights.
void two_token_tiles(const AmxCall& c, int64_t first, Chunks chunks, Ahead& ahead) {
  const uint8_t *x0 = c.x + c.tile_offsets[first], *x1 = c.x + c.tile_offsets[first + 1];
  const uint8_t *w0 = c.tiles[0] + chunks.begin * kAmxTile, *w1 = c.tiles[1] + chunks.begin * kAmxTile;
  int32_t *sums0 = c.sums[0] + first * 256, *sums1 = c.sums[1] + first * 256;
  if (chunks.begin == 0) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums0, 64);
    _tile_loadd(1, sums1, 64);
    _tile_loadd(2, sums0 + 256, 64);
    _tile_loadd(3, sums1 + 256, 64);
  }
  for (int64_t i = chunks.begin; i < chunks.end; i++, w0 += kAmxTile, w1 += kAmxTile) {
    int64_t offset = c.chunk_offsets[i];
    _tile_stream_loadd(4, x0 + offset, c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_stream_loadd(5, x1 + offset, c.x_stride);
    _tile_dpbssd(1, 4, 7);
    ahead.step();
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, sums0, 64);
  _tile_stored(1, sums1, 64);
  _tile_stored(2, sums0 + 256, 64);
  _tile_stored(3, sums1 + 256, 64);
}

void add_tile(int32_t* sums, const int32_t* more) {
  for (int r = 0; r < 256; r += 16) _mm512_storeu_si512(sums + r, _mm512_add_epi32(_mm512_loadu_si512(sums + r), _mm512_load_si512(more + r)));
}

// Products of one tile follow each other every 52 cycles: even and odd chunks have their own sums.
void one_token_tile(const AmxCall& c, int64_t first, Ahead& ahead) {
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
    ahead.step();
    _tile_loadd(5, x + c.chunk_offsets[i + 1], c.x_stride);
    _tile_loadd(6, w0 + kAmxTile, 64);
    _tile_loadd(7, w1 + kAmxTile, 64);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
    ahead.step();
  }
  if (i < c.chunks) {
    _tile_loadd(4, x + c.chunk_offsets[i], c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    ahead.step();
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
    codes[i] = Simd::rounded(_mm512_maskz_loadu_ps(present, q.x + (channel + i) * q.channel_stride + pixel), q.rule);
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
  // Of the weights of two row groups 2 KiB per chunk, and of two tiles of tokens as much: together they fit the L1 cache.
  constexpr int64_t kL1Chunks = 12;
  _tile_loadconfig(&kTileConfig);
  Ahead ahead(call, (call.token_tiles + 1) / 2 * call.chunks);
  int64_t pairs = call.token_tiles / 2;
  for (int64_t begin = 0; begin < call.chunks && pairs > 0; begin += kL1Chunks) {
    Chunks chunks = {begin, begin + kL1Chunks < call.chunks ? begin + kL1Chunks : call.chunks};
    for (int64_t t = 0; t < pairs; t++) two_token_tiles(call, 2 * t, chunks, ahead);
  }
  if (call.token_tiles % 2) one_token_tile(call, 2 * pairs, ahead);
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
