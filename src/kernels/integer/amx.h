// Int8 on AMX tiles: what the plain half hands to the inner loops. Only PODs, because ISA code includes this header.
//
// A step of lane16.h (16 rows x 4 columns) is a row of an AMX right operand, sixteen steps a tile of 16 rows x 64 columns; the left operand
// is 16 tokens x 64 columns of codes as they stand; the result is [16 tokens][16 rows]. Streams are those of lane16.h with signed codes and
// an even number of units. Bitmask weights are expanded to tiles once for all tokens, at about three times the cost of one product.
#pragma once

#include <cstdint>

#include "kernels/integer/lane16.h"

namespace lacuna::kernels {

constexpr int64_t kAmxTile = 1024;  // bytes; 64 columns

// Channel-major f32 to codes with the channels of a pixel together. Channel c of pixel i is at x[c * channel_stride + i]; its code goes to
// out[offsets[i] + c].
struct PixelQuantization {
  const float* x;
  int64_t channels, channel_stride;
  int64_t pixels;
  CodeRule rule;
  const int64_t* offsets;
  uint8_t* out;
};

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
  int32_t* sums;  // [4][32][16]
  // Weights that are read later, fetched meanwhile: tiles multiply faster than a core waits for L3 or memory. Of this convolution, and of the next.
  struct Ahead {
    const uint8_t* first;
    int64_t bytes;
  };
  Ahead ahead[2];
};
constexpr int64_t kAmxGroupSums = 2 * 256;  // of a row group
constexpr int64_t kAmxBlockPixels = 32;

// v rounded to a code in [-128, 127] and back: scale 0 leaves it.
struct CodeRounding {
  float scale, inverse, low, high;  // low and high: of the code less its zero point
};

// The code of v: v / scale rounded to nearest even, plus zero, clipped to [low, high]. The activation is in low and high: rounding keeps order.
// Quotients are products with an inverse: v is rounded itself, so that ties mean nothing here.
struct CodeOutput {
  float inverse = 0;
  int32_t zero = 0;
  int32_t low = -128, high = 127;
};

// Sums of pixels, of up to four row groups, on their way to codes: v = (sum - excess) * factor * x_scale + bias, rounded as `product` says, plus
// (residual - residual_zero) * residual_scale; then the code of v, and what `table` makes of it. Factors of roundings that follow each other are
// multiplied once, and the excess is subtracted as a float, off by 2^-24 of it: a v that falls between two codes may round to either, unless scales
// are powers of two and sums below 2^24.
// Runs of pixels of up to 32 that were multiplied together.
struct CodeRun {
  const int32_t* sums;  // row group g, pixel p at sums + g * kAmxGroupSums + p * 16
  int64_t pixels;
  int64_t at;  // of the first one, from y and from the residual
};
struct CodeStore {
  const CodeRun* runs;
  int64_t run_count;
  int64_t channels;       // 1 to 64, of all vectors below and of a pixel of y
  const int32_t* excess;  // or nullptr
  const float* factors;
  float x_scale;
  const float* bias;       // or nullptr
  const int8_t* residual;  // as y, or nullptr
  float residual_scale;
  int32_t residual_zero;
  CodeRounding product;  // only before a residual
  CodeOutput code;
  const int8_t* table;  // [256], at the code as an unsigned byte, or nullptr
  int8_t* y;
  int64_t y_stride;  // bytes between pixels
};

namespace amx_int8 {
void quantize_pixels(const PixelQuantization& task) noexcept;
// out[r][i] = (sums[i][r] - excess[r]) * scales[r] * x_scale for 16 rows; tokens a multiple of 16; excess may be nullptr.
void scale_transposed(const int32_t* sums, const int32_t* excess, int64_t tokens, const float* scales, float x_scale, float* out,
                      int64_t out_stride) noexcept;
void store_codes(const CodeStore& task) noexcept;
// The table of the codes, of scale y_scale, of (code - zero) * scale.
void fill_code_table(float scale, int32_t zero, float y_scale, const CodeOutput& code, int8_t* table) noexcept;
// Convolutions of a thread lie between the two.
void begin_conv() noexcept;
// Stores the codes of the block before meanwhile, if there was one.
void multiply_conv(const AmxConvCall& call, const CodeStore* before) noexcept;
void end_conv() noexcept;
}  // namespace amx_int8

}  // namespace lacuna::kernels
