// Floats on AMX tiles: what the plain half hands to the inner loops. Only PODs, because ISA code includes this header.
//
// A float is a sum of bf16 parts: three hold an f32, two an f16, one a bf16. Parts are multiplied pair by pair (bf16_parts.inl).
// A tile of weights is 16 rows x 32 columns in pairs of columns i and i + 16, [16 pairs][16 rows][2]; a row group is 16 rows, a chunk 32 columns.
// Streams hold the values of a chunk pair by pair, [16 pairs][2][16 rows], or, bf16, as in the tile: all 512 of them, or those that a mask keeps,
// whose word i has a bit for each of pair i.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lacuna::kernels {

constexpr int64_t kFloatTile = 1024;  // bytes
constexpr int64_t kChunkCols = 32, kChunkValues = 512, kChunkMaskWords = 16;

enum class TileValues : uint8_t { kF32, kF16, kBF16 };
constexpr int parts_of(TileValues type) { return type == TileValues::kF32 ? 3 : type == TileValues::kF16 ? 2 : 1; }

struct FloatTilesCall {
  int x_parts, w_parts;
  const uint8_t* x;  // token i of tile t, chunk c, part p at x + tile_offsets[t] + i * x_stride + chunk_offsets[c] + p * 64
  int64_t x_stride;
  const int64_t* chunk_offsets;  // [chunks]
  const int64_t* tile_offsets;   // [token_tiles]
  int64_t token_tiles;
  const uint8_t* tiles[2];  // of two row groups: chunk c, part p at tiles[i] + (c * w_parts + p) * kFloatTile
  int64_t chunks;
  float* sums;  // [token_tiles * 16][32], sums_stride apart
  int64_t sums_stride;
  bool add;  // to what sums hold
  // What will be read next, fetched meanwhile, or nullptr.
  const std::byte* ahead;
  int64_t ahead_bytes;
};

namespace amx_bf16 {
// The parts of a row of n floats: chunk c, part p at out + (c * parts + p) * 64; columns beyond n are zero.
void split_row(const float* x, int64_t n, int parts, uint8_t* out) noexcept;
// Pixels whose channels lie in blocks of sixteen, `step` floats apart, to three parts: those of 32 channels at out + i * out_step. `second`: the
// upper sixteen of them, or nullptr: zero.
void split_pixels(const float* first, const float* second, int64_t step, int64_t pixels, uint8_t* out, int64_t out_step) noexcept;
// Values of some chunks to tiles of their parts. masks [chunks][16], or nullptr: all are there. Reads up to 64 bytes beyond the values.
void expand_tiles(TileValues type, const void* values, const uint32_t* masks, int64_t chunks, uint8_t* tiles) noexcept;
void multiply_tiles(const FloatTilesCall& call) noexcept;
}  // namespace amx_bf16

}  // namespace lacuna::kernels
