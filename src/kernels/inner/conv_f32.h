// The ISA halves of f32 convolution: filling panels from planes of pixels, and depthwise sums.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

// Lanes of one vector of a panel that lie side by side in memory: lane i, if bit i of `lanes` is set, comes from channel[offset + i].
struct TapPiece {
  int64_t offset;
  uint32_t lanes;
};

// The columns of some vectors of a panel. Columns are (channel, tap), taps innermost; tap t of vector v is joined from pieces
// [starts[v * taps + t], starts[v * taps + t + 1]).
struct TapTask {
  const float* channel;  // of the first column
  int64_t channel_pitch;
  const TapPiece* pieces;
  const int32_t* starts;
  int64_t first_tap, taps;  // of the first column; of the kernel
  int64_t cols, vectors;
  float* out;  // [cols][64], at the first vector
};

// One output channel of a depthwise convolution: sums[i] = sum over taps of weights[tap] * plane[offsets[tap] + i], 0 <= i < length.
// Reads and writes up to a vector beyond.
struct DepthwiseTask {
  const float* plane;
  const int64_t* offsets;
  const float* weights;
  int64_t taps, length;
  float* sums;
};

#define LACUNA_CONV_FUNCTIONS                                                                                                                    \
  void pack_taps(const TapTask& task) noexcept;                                                                                                  \
  /* Of each row, out[i] = in[2 * i], 0 <= i < count. */                                                                                         \
  void copy_every_second(const float* in, int64_t in_pitch, int64_t rows, int64_t count, float* out, int64_t out_pitch) noexcept;                \
  /* Panels of 64 lanes: out[panel * panel_pitch + column * 64 + lane] = columns[column][panel * 64 + lane]; up to a vector of zeros follows. */ \
  void copy_lanes(const float* const* columns, int64_t cols, int64_t lanes, int64_t panel_pitch, float* out) noexcept;                           \
  /* Each row of out = `left` zeros, `cols` of in, `right` zeros. */                                                                             \
  void pad_rows(const float* in, int64_t in_pitch, int64_t rows, int64_t cols, int64_t left, int64_t right, float* out) noexcept;                \
  void depthwise_channel(const DepthwiseTask& task) noexcept;

namespace avx2 {
LACUNA_CONV_FUNCTIONS
}
namespace avx512 {
LACUNA_CONV_FUNCTIONS
}
#undef LACUNA_CONV_FUNCTIONS

}  // namespace lacuna::kernels
