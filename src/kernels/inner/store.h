// The vector halves of epilogue.cc and support.cc, one set per ISA.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

// Epilogue and OutputTile without the headers that they come with: plain data for ISA folders.
struct StoreTask {
  const float* sums;
  int64_t sums_stride;
  int64_t panel_pitch;  // channel-major only, see OutputTile
  int64_t rows, tokens;
  const float* bias;      // of the first row of the tile, or nullptr
  const float* residual;  // at the tile's corner, or nullptr
  int64_t residual_stride;
  float* y;  // at the tile's corner
  int64_t y_stride;
  uint8_t activation;  // Activation
  float alpha, beta;
};

#define LACUNA_STORE_FUNCTIONS                                                                                                                    \
  void store_transposed(const StoreTask& task) noexcept;                                                                                          \
  void store_channel_major(const StoreTask& task) noexcept;                                                                                       \
  void store_token_major(const StoreTask& task) noexcept;                                                                                         \
  /* out [cols, rows] = in [rows, cols]; lanes up to lanes_written >= rows of each out row are written, with copies beyond rows. */               \
  void transpose(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float* out, int64_t out_stride, int64_t lanes_written) noexcept; \
  /* max|x|; NaN counts as 0. */                                                                                                                  \
  float largest_magnitude(const float* x, int64_t n) noexcept;                                                                                    \
  /* codes = x * inverse, clipped to [-127, 127] and rounded to nearest even; NaN becomes -127. */                                                \
  void quantize_s8(const float* x, int64_t n, float inverse, int8_t* codes) noexcept;

namespace avx2 {
LACUNA_STORE_FUNCTIONS
}
namespace avx512 {
LACUNA_STORE_FUNCTIONS
}
#undef LACUNA_STORE_FUNCTIONS

}  // namespace lacuna::kernels
