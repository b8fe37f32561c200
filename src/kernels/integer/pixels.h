// Int8 convolutions on pictures with the channels of a pixel together: what the plain half hands to the loops before and after the products. Only
// PODs, because ISA code includes this header.
//
// Products leave sums of sixteen output channels (a row group) side by side, [pixels][16], for up to 32 pixels of four row groups at a time.
#pragma once

#include <cstdint>

#include "kernels/inner/code_rule.h"

namespace lacuna::kernels {

constexpr int64_t kBlockPixels = 32;
constexpr int64_t kGroupSums = kBlockPixels * 16;  // from one row group to the next

// Channel-major f32 to codes with the channels of a pixel together. Channel c of pixel i is at x[c * channel_stride + i]; its code goes to
// out[offsets[i] + c], with the bits of `flip` turned.
struct PixelQuantization {
  const float* x;
  int64_t channels, channel_stride;
  int64_t pixels;
  CodeRule rule;
  const int64_t* offsets;
  uint8_t flip;
  uint8_t* out;
};

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

// Runs of pixels of up to 32 that were multiplied together.
struct CodeRun {
  int64_t first;  // pixel of the sums
  int64_t pixels;
  int64_t at;  // of the first one, from y and from the residual
};

// Where the rows of sums are not in the order of the channels.
struct RowOrder {
  uint8_t channel[64];   // of row i
  uint8_t narrowed[64];  // of channel c: where its byte is once sums are narrowed, 16 (l / 4) + 4 g + l % 4 for row 16 g + l
};

// Sums of pixels, of up to four row groups, on their way to codes: v = (sum - excess) * factor * x_scale + bias, rounded as `product` says, plus
// (residual - residual_zero) * residual_scale; then the code of v, and what `table` makes of it. Factors of roundings that follow each other are
// multiplied once: a v that falls between two codes, by 2^-23 of its parts, may round to either, unless scales are powers of two and sums below 2^24.
struct CodeStore {
  const int32_t* sums;  // row group g, pixel p at sums + g * kGroupSums + p * 16
  const CodeRun* runs;
  int64_t run_count;
  int64_t channels;       // 1 to 64, of all vectors below and of a pixel of y
  const RowOrder* order;  // of sums, excess, factors and bias; nullptr: as channels. Only of a PixelIsa that orders_rows
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
  // The same in arithmetic, where it gives the same for all codes: the code less its zero point, times this (0: it does not), becomes `last`.
  float table_factor;
  CodeOutput last;
  int8_t* y;
  int64_t y_stride;  // bytes between pixels
};

// Sixteen positions of a depthwise convolution by 64 channels.
struct DepthwiseCall {
  const uint8_t* x;                 // codes + 128 of the first position and channel
  int64_t column_bytes, row_bytes;  // from one column of the picture to the next, from one row that the kernel reads to the next
  int64_t column_count;             // that the positions read: 15 * stride_w + (kernel_w - 1) * dilation_w + 1
  int64_t stride_w, dilation_w;     // columns
  int64_t kernel_h, kernel_w;
  const uint8_t* weights;  // signed, [kernel_w][parts][4][64]: byte 4 j + t of the i-th 64 is row 4 part + t of channel 16 i + j
  uint8_t* columns;        // room for [column_count][parts][256], at a multiple of 64
  int32_t* sums;           // row group g, position p at sums + g * kGroupSums + p * 16
};
namespace avx512_vnni {
void depthwise_codes(const DepthwiseCall& call) noexcept;
}

// The loops of one instruction set.
struct PixelIsa {
  bool orders_rows;  // knows CodeStore::order
  void (*quantize)(const PixelQuantization& task) noexcept;
  // out[i] = x[i] with the bits of `flip` turned.
  void (*copy_flipped)(const int8_t* x, int64_t n, uint8_t flip, uint8_t* out) noexcept;
  // out[i] = the sum of the 32 signed codes at each of x + i * stride + offsets[unit].
  void (*sum)(const uint8_t* x, int64_t stride, int64_t pixels, const int32_t* offsets, int64_t units, int32_t* out) noexcept;
  // out[places[r]][i] = (sums[i][r] - excess[r]) * scales[r] * x_scale for 16 rows; tokens a multiple of 16; excess may be nullptr, and so may
  // places, of rows in order.
  void (*scale_transposed)(const int32_t* sums, const int32_t* excess, int64_t tokens, const float* scales, float x_scale, const uint8_t* places,
                           float* out, int64_t out_stride) noexcept;
  void (*store_codes)(const CodeStore& task) noexcept;
  // The table of the codes, of scale y_scale, of (code - zero) * scale.
  void (*fill_code_table)(float scale, int32_t zero, float y_scale, const CodeOutput& code, int8_t* table) noexcept;
};
namespace avx512 {
extern const PixelIsa pixels;
}
namespace avx512_vbmi2 {
extern const PixelIsa pixels;
}

}  // namespace lacuna::kernels
