// The fused end of every kernel: adds bias and residual, applies the activation, stores in the order of the output.
#pragma once

#include "kernels/linear.h"

namespace lacuna::kernels {

// activation(v), in f32, as the reference computes it, without bias and roundings. Faster stores approximate the transcendental ones to 4 ulp or so.
float activate(float v, const Epilogue& epilogue) noexcept;

// What an activation that only cuts cuts to; nullopt for others. None cuts to all numbers.
struct Bounds {
  float low, high;
};
std::optional<Bounds> bounds_of(const Epilogue& epilogue) noexcept;

// A tile of sums on its way to y. `y`, bias and residual are those of the whole output; the tile covers
// rows [first_row, first_row + rows) and tokens [first_token, first_token + tokens).
struct OutputTile {
  const float* sums;
  int64_t sums_stride;
  int64_t first_row, rows, first_token, tokens;
  // store_channel_major: token t of a row is at sums[t / 64 * panel_pitch + t % 64]; 64 if the tokens simply follow each other.
  int64_t panel_pitch = 64;
  // store_channel_major: &sums[0] if results are to take the place of the sums too; then y may be nullptr.
  float* kept = nullptr;
};

// sums [rows][tokens] -> y [tokens, rows].
void store_transposed(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept;
// sums [rows][tokens] -> y [rows, tokens]; the residual has the layout of y. sums may be the tile of y itself.
void store_channel_major(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept;
// sums [tokens][rows] -> y [tokens, rows]. sums may be the tile of y itself.
void store_token_major(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept;

// Whether the activation may follow over whole rows of outputs that are in the cache, faster than piece by piece: nothing is rounded, and it is none
// that kernels do in registers.
inline bool activates_after(const Epilogue& e) { return !e.rounds() && e.activation != Activation::kNone && e.activation != Activation::kRelu; }
// The activation alone, of `rows` outputs of each token.
void activate_rows(float* y, int64_t tokens, int64_t rows, int64_t y_stride, const Epilogue& epilogue) noexcept;

// The same in plain loops.
namespace reference {
void store_transposed(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept;
void store_channel_major(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept;
void store_token_major(const OutputTile& tile, float* y, int64_t y_stride, const Epilogue& epilogue) noexcept;
}  // namespace reference

}  // namespace lacuna::kernels
