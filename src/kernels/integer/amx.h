// Int8 on AMX tiles: what the plain half hands to the inner loops. Only PODs, because ISA code includes this header.
//
// A step of lane16.h (16 rows x 4 columns) is a row of an AMX right operand, sixteen steps a tile of 16 rows x 64 columns; the left operand
// is 16 tokens x 64 columns of codes as they stand; the result is [16 tokens][16 rows]. Streams are those of lane16.h with signed codes and
// an even number of units. Bitmask weights are expanded to tiles once for all tokens, at about three times the cost of one product.
#pragma once

#include <cstdint>

#include "kernels/integer/lane16.h"
#include "kernels/integer/pixels.h"

namespace lacuna::kernels {

constexpr int64_t kAmxTile = 1024;  // bytes; 64 columns

// Up to four row groups of a convolution by one or two tiles of sixteen pixels.
struct AmxConvCall {
  const uint8_t* tiles[4];       // of the row groups; groups that are not there repeat another
  int64_t row_groups;            // 1 to 4
  const int64_t* chunk_offsets;  // [chunks]: of 64 columns
  int64_t chunks;
  const uint8_t* x;             // signed codes: pixel i of tile t, chunk c at x + tile_offsets[t] + i * x_stride + chunk_offsets[c]
  const int64_t* tile_offsets;  // [pixel_tiles]
  int64_t x_stride;
  int64_t pixel_tiles;
  int32_t* sums;  // [4][kBlockPixels][16]
  // Weights that are read later, fetched meanwhile: tiles multiply faster than a core waits for L3 or memory. Of this convolution, and of the next.
  struct Ahead {
    const uint8_t* first;
    int64_t bytes;
  };
  Ahead ahead[2];
};
namespace amx_int8 {
// Convolutions of a thread lie between the two.
void begin_conv() noexcept;
// Stores the codes of the block before meanwhile, if there was one.
void multiply_conv(const AmxConvCall& call, const CodeStore* before) noexcept;
void end_conv() noexcept;
}  // namespace amx_int8

}  // namespace lacuna::kernels
