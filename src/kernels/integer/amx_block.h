// Int8 linear on AMX, a block at a time: 32 rows by up to 32 tokens over all columns. While a block is multiplied, the one before it is turned
// into outputs: a product of tiles is one instruction for 16 cycles, which leaves the vector units idle. Only PODs, as ISA code includes this header.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

constexpr int64_t kAmxBlockTokens = 32, kAmxBlockSums = 32 * 32;

// Tiles of two bitmask streams (lane16.h), one after the other: what is left to expand.
struct AmxExpansion {
  const uint8_t* streams[2];
  int64_t units[2];
  uint8_t* tiles;
};

struct AmxBlock {
  const uint8_t* weights[2];  // tiles of 16 rows by 64 columns, one after the other, of two row groups
  int64_t chunks;             // of 64 columns
  const uint8_t* x;           // [16 * token_tiles][x_stride] signed codes
  int64_t x_stride;
  int64_t token_tiles;   // 1 or 2
  int32_t* sums;         // [2 row groups][32 tokens][16]
  const uint8_t* ahead;  // fetched meanwhile: so many lines, of which the last may lie beyond the end
  int64_t ahead_lines;
  AmxExpansion* expansion;  // goes on meanwhile by so many units for each chunk; or nullptr
  int64_t units;
};

// Outputs of a block: v = (sum - excess) * scale * x_scale, plus bias, plus residual, activated.
struct AmxOutputs {
  const int32_t* sums;
  int64_t tokens;         // 1 to 32
  const int32_t* excess;  // [32] or nullptr
  const float* scales;    // [32]
  const float* x_scales;  // [tokens]
  const float* bias;      // [32] or nullptr
  const float* residual;  // [tokens][residual_stride] or nullptr
  int64_t residual_stride;
  uint8_t activation;  // Activation
  float alpha, beta;
  float* y;  // [tokens][y_stride]
  int64_t y_stride;
};

namespace amx_int8 {
// Around all calls of multiply_block by a thread.
void configure_tiles() noexcept;
void release_tiles() noexcept;
// Stores `before`, unless it is nullptr, and fetches the lines that `after` will be written to, unless it is.
void multiply_block(const AmxBlock& block, const AmxOutputs* before, const AmxOutputs* after) noexcept;
void store_block(const AmxOutputs& outputs) noexcept;
void expand(AmxExpansion& expansion, int64_t units) noexcept;
}  // namespace amx_int8

}  // namespace lacuna::kernels
