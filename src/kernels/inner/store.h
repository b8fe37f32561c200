// The vector halves of epilogue.cc and support.cc, one set per ISA.
#pragma once

#include <cstdint>

#include "kernels/inner/code_rule.h"

namespace lacuna::kernels {

// Tokens a multiple of 4096 bytes apart: lines written to many of them in turn meet in one set of the L1 cache (eight or twelve lines), and each
// waits for the one before to leave.
constexpr bool tokens_collide(int64_t y_stride) { return y_stride % 1024 == 0; }

// Rounding to codes and back, see linear.h. scale 0: none.
struct StoreRounding {
  float scale, inverse, low, high;
};

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
  float* kept;         // channel-major only, see OutputTile
  uint8_t activation;  // Activation
  float alpha, beta;
  StoreRounding sum_rounding, rounding;
};

#define LACUNA_STORE_FUNCTIONS                                                                                                                    \
  void store_transposed(const StoreTask& task) noexcept;                                                                                          \
  void store_channel_major(const StoreTask& task) noexcept;                                                                                       \
  void store_token_major(const StoreTask& task) noexcept;                                                                                         \
  /* out [cols, rows] = in [rows, cols]; lanes up to lanes_written >= rows of each out row are written, with copies beyond rows. */               \
  void transpose(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float* out, int64_t out_stride, int64_t lanes_written) noexcept; \
  /* max|x|; NaN counts as 0. */                                                                                                                  \
  float largest_magnitude(const float* x, int64_t n) noexcept;                                                                                    \
  /* NaN becomes the lowest code. */                                                                                                              \
  void quantize_s8(const float* x, int64_t n, const CodeRule& rule, int8_t* codes) noexcept;                                                      \
  /* y [pixels, channels] = what the codes stand for. */                                                                                          \
  void values_of_codes(const CodedPixels& x, int64_t pixels, int64_t channels, float* y) noexcept;                                                \
  /* y[p * y_pitch + i] = the code of what x stands for, plus or times `other` if it has codes, 0 <= i < channels. */                             \
  void recode(const CodedPixels& x, const CodedPixels& other, bool product, int64_t pixels, int64_t channels, const CodeRule& rule, int8_t* y,    \
              int64_t y_pitch) noexcept;

namespace avx2 {
LACUNA_STORE_FUNCTIONS
void interleave_three(const int8_t* const* rows, int64_t count, int8_t* y) noexcept;
}  // namespace avx2
namespace avx512 {
LACUNA_STORE_FUNCTIONS
void largest_codes(const int8_t* const* rows, int64_t row_count, int64_t count, int8_t* y) noexcept;
}  // namespace avx512
namespace avx512_vbmi2 {
// y[p * y_pitch + i] = table[the unsigned byte of each code of x].
void map_codes(const int8_t* table, const CodedPixels& x, int64_t pixels, int64_t channels, int8_t* y, int64_t y_pitch) noexcept;
}  // namespace avx512_vbmi2
#undef LACUNA_STORE_FUNCTIONS

}  // namespace lacuna::kernels
