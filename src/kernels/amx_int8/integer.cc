// The inner loops of integer/amx.h.
#include <immintrin.h>

#include "kernels/integer/amx.h"

namespace lacuna::kernels::amx_int8 {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Two tiles of tokens by two row groups: tiles 0 to 3 hold sums, 4 and 5 tokens, 6 and 7 weights.
void two_token_tiles(const AmxCall& c, int64_t first) {
  const uint8_t *x0 = c.x + first * 16 * c.x_stride, *x1 = x0 + 16 * c.x_stride, *w0 = c.tiles[0], *w1 = c.tiles[1];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < c.chunks; i++, x0 += 64, x1 += 64, w0 += kAmxTile, w1 += kAmxTile) {
    _tile_loadd(4, x0, c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, x1, c.x_stride);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, c.sums[0] + first * 256, 64);
  _tile_stored(1, c.sums[1] + first * 256, 64);
  _tile_stored(2, c.sums[0] + (first + 1) * 256, 64);
  _tile_stored(3, c.sums[1] + (first + 1) * 256, 64);
}

// Products of one tile follow each other every 52 cycles: even and odd chunks have their own sums.
void one_token_tile(const AmxCall& c, int64_t first) {
  const uint8_t *x = c.x + first * 16 * c.x_stride, *w0 = c.tiles[0], *w1 = c.tiles[1];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  int64_t i = 0;
  for (; i + 2 <= c.chunks; i += 2, x += 128, w0 += 2 * kAmxTile, w1 += 2 * kAmxTile) {
    _tile_loadd(4, x, c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_loadd(5, x + 64, c.x_stride);
    _tile_loadd(6, w0 + kAmxTile, 64);
    _tile_loadd(7, w1 + kAmxTile, 64);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  if (i < c.chunks) {
    _tile_loadd(4, x, c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
  }
  alignas(64) int32_t even[256];
  for (int half = 0; half < 2; half++) {
    int32_t* sums = c.sums[half] + first * 256;
    if (half == 0) {
      _tile_stored(0, even, 64);
      _tile_stored(2, sums, 64);
    } else {
      _tile_stored(1, even, 64);
      _tile_stored(3, sums, 64);
    }
    for (int r = 0; r < 256; r += 16) _mm512_storeu_si512(sums + r, _mm512_add_epi32(_mm512_loadu_si512(sums + r), _mm512_load_si512(even + r)));
  }
}

}  // namespace

void expand(const uint8_t* p, int64_t units, uint8_t* tiles) noexcept {
  for (int64_t u = 0; u < units; u++, tiles += 512) {
    const uint64_t* masks = reinterpret_cast<const uint64_t*>(p);
    p += 64;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
      _mm512_storeu_si512(tiles + 64 * i, _mm512_maskz_expand_epi8(masks[i], _mm512_loadu_si512(p)));
      p += __builtin_popcountll(masks[i]);
    }
  }
}

void multiply(const AmxCall& call) noexcept {
  TileConfig config;
  _tile_loadconfig(&config);
  int64_t t = 0;
  for (; t + 2 <= call.token_tiles; t += 2) two_token_tiles(call, t);
  if (t < call.token_tiles) one_token_tile(call, t);
  _tile_release();
}

}  // namespace lacuna::kernels::amx_int8
