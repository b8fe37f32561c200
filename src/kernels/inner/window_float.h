// One to eight tokens of floats times weights that are mostly zero: the inner loop and the stream of bytes that it reads.
//
// Sixteen rows (a group) sit in the lanes of a register. A step gives every row its next two kept weights as far as they lie in a window of 64 or
// 128 columns, whose base, a multiple of 16, follows the slowest row; slots left over hold weight 0 and the index 0 (so that an infinite
// activation there becomes NaN in a row that does not keep it, as where zeros are multiplied). Activations are gathered from the window in
// registers: a permutation of two registers for each 32 columns, by the index in its low five bits, of which the other bits choose one.
//   step     16 indices (column - base) of the first slots, 16 of the second, then the weights: f32 or f16 as the indices, bf16 by pairs, a word
//            for each row with the first slot in its low half
//   bases    base / 16 of each step
//
// Bytes decide where weights come from memory: 8 + bits for each slot, 1.13 slots for a kept weight at density 0.2, 1.29 at 0.1, 1.59 at 0.05 in
// windows of 64 columns, 1.06, 1.13 and 1.28 in those of 128 (random masks, 4096 columns).
// That is more than the bitmask's 1 + bits * density (decode_float.h) down to density 0.1, but expanding by a mask costs the same whatever is kept,
// and the addresses of a stream of steps do not depend on what was read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lacuna::kernels {

inline constexpr int64_t kWindowRows = 16, kWindowAlign = 16, kWindowTokens = 8, kWindowIndexBytes = 32;

struct WindowTask {
  const std::byte* stream;
  const uint16_t* bases;
  int64_t steps;
  const float* x;  // [tokens][x_stride]; every window lies inside
  int64_t x_stride;
  int64_t tokens;  // 1, 2, 4 or 8
  float* sums;     // [tokens][16]
};
using WindowFloat = void (*)(const WindowTask& task) noexcept;

// By type of values; of windows of 64 and of 128 columns.
struct WindowFloatLoops {
  WindowFloat f32[2], bf16[2], f16[2];
};
namespace avx512 {
extern const WindowFloatLoops kWindowFloat;
}

}  // namespace lacuna::kernels
