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
// [starts[v * starts_pitch + t], starts[v * starts_pitch + t + 1]).
struct TapTask {
  const float* channel;  // of the first column
  int64_t channel_pitch;
  const TapPiece* pieces;
  const int32_t* starts;
  int64_t starts_pitch;     // from vector to vector
  int64_t first_tap, taps;  // of the first column; of the kernel, or of one row of it
  // Taps that lie behind each other in a panel, then come those of the next channel; `row_pitch` floats behind the first of them the next taps. All
  // taps, or of whole channels only.
  int64_t row_taps, row_pitch;
  int64_t cols, vectors;
  float* out;  // [cols][64], at the first vector
};

// A strip (kernels/strips.h): out[channel][tap][lane] = x[channel * channel_pitch + tap * tap_step + lane * stride], stride 1 or 2. Only what `lanes`
// has is read, the rest of each vector is zero: element i of the kLanes from a vector's first on is bit i of `low`, of the next kLanes bit i of
// `high`.
struct StripLanes {
  uint32_t low, high;
};
struct StripTask {
  const float* x;  // may lie outside of the plane
  int64_t channels, channel_pitch, taps, tap_step, stride;
  const StripLanes* lanes;  // [taps][vectors]
  int64_t vectors;
  float* out;  // [channels][taps][64]
};

// Rows of a plane, [rows][width]: columns [first, first + count) are in[0], in[step], ... of a row, the others zero.
struct PlaneRows {
  const float* in;
  int64_t in_pitch, step;
  int64_t rows, first, count, width;
  float* out;  // up to a vector beyond the last row may be written
};

// Rows of one output channel of a depthwise convolution: y[row][i] = min(high, max(low, start + sum over taps of weights[tap] * plane[offsets[tap] +
// row * width + i] + residual)), 0 <= i < out_w. Reads up to a vector beyond, and writes as many of `sums`, rows * width floats.
struct DepthwiseTask {
  const float* plane;
  const int64_t* offsets;
  const float* weights;
  int64_t taps, rows, width, out_w;
  float start, low, high;
  const float* residual;  // as y, which it may be, or nullptr
  float* sums;
  float* y;
};

// The same straight from the input, for kernels of 3x3 and 5x5 with stride 1 or 2 in both directions: rows [first_row, end_row) of y.
struct DepthwiseRows {
  const float* x;  // [in_h][in_w]
  int64_t in_h, in_w, pad_top, pad_left, kernel, stride;
  int64_t first_row, end_row, out_w;
  const float* weights;
  float start, low, high;
  const float* residual;  // at row first_row, as y, which it may be, or nullptr
  float* y;
};

#define LACUNA_CONV_FUNCTIONS                                                                                                                    \
  void pack_taps(const TapTask& task) noexcept;                                                                                                  \
  void fill_strip(const StripTask& task) noexcept;                                                                                               \
  /* Of each row, out[i] = in[2 * i], 0 <= i < count. */                                                                                         \
  void copy_every_second(const float* in, int64_t in_pitch, int64_t rows, int64_t count, float* out, int64_t out_pitch) noexcept;                \
  /* Panels of 64 lanes: out[panel * panel_pitch + column * 64 + lane] = columns[column][panel * 64 + lane]; up to a vector of zeros follows. */ \
  void copy_lanes(const float* const* columns, int64_t cols, int64_t lanes, int64_t panel_pitch, float* out) noexcept;                           \
  void fill_plane_rows(const PlaneRows& rows) noexcept;                                                                                          \
  void depthwise_channel(const DepthwiseTask& task) noexcept;                                                                                    \
  void depthwise_rows(const DepthwiseRows& task) noexcept;

namespace avx2 {
LACUNA_CONV_FUNCTIONS
}
namespace avx512 {
LACUNA_CONV_FUNCTIONS
}
#undef LACUNA_CONV_FUNCTIONS

}  // namespace lacuna::kernels
