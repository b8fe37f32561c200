// The ISA halves of f32 convolution: filling panels from planes of pixels, and depthwise sums.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

// Lanes [first_lane, last_lane) of one vector of a panel, which lie side by side in memory: lane i comes from source[offset + i].
struct PackPiece {
  int32_t vector;
  int32_t first_lane, last_lane;
  int32_t joins;  // the vector has begun with the piece before
  int64_t offset;
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

#define LACUNA_CONV_FUNCTIONS                                                                                                                  \
  /* out[channel][64] = the pieces of source + channel * channel_pitch. */                                                                     \
  void pack_pixels(const float* source, int64_t channel_pitch, int64_t channels, const PackPiece* pieces, int64_t count, float* out) noexcept; \
  void depthwise_channel(const DepthwiseTask& task) noexcept;

namespace avx2 {
LACUNA_CONV_FUNCTIONS
}
namespace avx512 {
LACUNA_CONV_FUNCTIONS
}
#undef LACUNA_CONV_FUNCTIONS

}  // namespace lacuna::kernels
