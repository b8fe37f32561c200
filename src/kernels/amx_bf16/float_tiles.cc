#include "kernels/inner/float_tiles.h"

#include <immintrin.h>

namespace lacuna::kernels::amx_bf16 {
namespace {

#include "kernels/inner/bf16_parts.inl"

__m512 load_first(const float* x, int64_t n) {
  return n <= 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1), x);
}

template <int P>
void split(const float* x, int64_t n, uint8_t* out) {
  for (int64_t c = 0; c < n; c += kChunkCols, out += P * 64) {
    Parts<P> parts(load_first(x + c, n - c), load_first(x + c + 16, n - c - 16));
    for (int p = 0; p < P; p++) _mm512_store_si512(out + p * 64, parts.part[p]);
  }
}

// 16 values, where the mask has a bit; moves on to those that follow.
struct F32Values {
  const float* at;
  __m512 all() {
    __m512 v = _mm512_loadu_ps(at);
    at += 16;
    return v;
  }
  __m512 kept(__mmask16 mask) {
    __m512 v = _mm512_maskz_expandloadu_ps(mask, at);
    at += __builtin_popcount(mask);
    return v;
  }
};
struct F16Values {
  const uint16_t* at;
  __m512 all() {
    __m512 v = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    at += 16;
    return v;
  }
  __m512 kept(__mmask16 mask) {
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    at += __builtin_popcount(mask);
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_maskz_expand_epi32(mask, words)));
  }
};

template <class Values, int P>
void expand(Values values, const uint32_t* masks, int64_t chunks, uint8_t* tiles) {
  for (int64_t c = 0; c < chunks; c++, tiles += P * kFloatTile)
    for (int64_t i = 0; i < 16; i++) {
      __m512 a, b;
      if (masks) {
        uint32_t mask = *masks++;
        a = values.kept(__mmask16(mask));
        b = values.kept(__mmask16(mask >> 16));
      } else {
        a = values.all();
        b = values.all();
      }
      Parts<P> parts(a, b);
      for (int p = 0; p < P; p++) _mm512_store_si512(tiles + p * kFloatTile + i * 64, parts.part[p]);
    }
}

void expand_bf16(const uint16_t* values, const uint32_t* masks, int64_t chunks, uint8_t* tiles) {
  for (int64_t i = 0; i < chunks * 16; i++, tiles += 64) {
    __m512i words = _mm512_loadu_si512(values);
    if (masks) words = _mm512_maskz_expand_epi16(masks[i], words);
    values += masks ? __builtin_popcount(masks[i]) : 32;
    _mm512_store_si512(tiles, words);
  }
}

template <int L, int R>
void multiply(const FloatTilesCall& c) {
  _tile_loadconfig(&kTileConfig);
  const std::byte *ahead = c.ahead, *end = c.ahead + c.ahead_bytes;
  int64_t steps = (c.token_tiles + 1) / 2 * c.chunks, lines = (c.ahead_bytes / 64 + steps) / steps;
  auto read_ahead = [&] {
    for (int64_t i = 0; i < lines && ahead < end; i++, ahead += 64) _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T1);
  };
  TilePair right = {c.tiles[0], c.tiles[1], 64, kFloatTile, R * kFloatTile, nullptr};
  for (int64_t t = 0; t < c.token_tiles; t += 2) {
    TilePair left = {c.x + c.tile_offsets[t], c.x + c.tile_offsets[t + 1 < c.token_tiles ? t + 1 : t], c.x_stride, 64, 0, c.chunk_offsets};
    float* sums = c.sums + t * 16 * c.sums_stride;
    if (t + 1 < c.token_tiles)
      multiply_block<L, R, 2>(left, right, c.chunks, sums, c.sums_stride, c.add, read_ahead);
    else
      multiply_block<L, R, 1>(left, right, c.chunks, sums, c.sums_stride, c.add, read_ahead);
  }
  _tile_release();
}

}  // namespace

void split_row(const float* x, int64_t n, int parts, uint8_t* out) noexcept { parts == 1 ? split<1>(x, n, out) : split<3>(x, n, out); }

void split_pixels(const float* first, const float* second, int64_t step, int64_t pixels, uint8_t* out, int64_t out_step) noexcept {
  for (int64_t i = 0; i < pixels; i++, first += step, out += out_step) {
    Parts<3> parts(_mm512_loadu_ps(first), second ? _mm512_loadu_ps(second + i * step) : _mm512_setzero_ps());
    for (int p = 0; p < 3; p++) _mm512_store_si512(out + p * 64, parts.part[p]);
  }
}

void expand_tiles(TileValues type, const void* values, const uint32_t* masks, int64_t chunks, uint8_t* tiles) noexcept {
  switch (type) {
    case TileValues::kF32: return expand<F32Values, 3>({static_cast<const float*>(values)}, masks, chunks, tiles);
    case TileValues::kF16: return expand<F16Values, 2>({static_cast<const uint16_t*>(values)}, masks, chunks, tiles);
    case TileValues::kBF16: return expand_bf16(static_cast<const uint16_t*>(values), masks, chunks, tiles);
  }
}

void multiply_tiles(const FloatTilesCall& c) noexcept {
  if (c.x_parts == 1) return c.w_parts == 1 ? multiply<1, 1>(c) : c.w_parts == 2 ? multiply<1, 2>(c) : multiply<1, 3>(c);
  c.w_parts == 1 ? multiply<3, 1>(c) : c.w_parts == 2 ? multiply<3, 2>(c) : multiply<3, 3>(c);
}

}  // namespace lacuna::kernels::amx_bf16
