// Sparse times dense panel in f32: the inner loops, one set per ISA, and the packed bytes that they read.
//
// A panel holds up to 64 tokens (or pixels) side by side: [cols][64] f32, 64-byte aligned. The weight is cut into row groups and column
// tiles. Within one group and tile the rows are sorted by their number of non-zeros, so that the loop over the non-zeros of a row ends
// predictably, and rows of the same number are handled several at a time ("a step"). Runs of such steps follow each other:
//
//   run    {count, rows_per_step, steps}: every row has `count` entries in this tile, its non-zeros and, where rows of unequal numbers go together,
//          its last column again with weight 0 (an infinite element of that column then makes NaN of an infinite sum)
//   meta   per step: rows_per_step row numbers within the group, then per non-zero its panel offset 256 * (column in the tile), in bytes:
//          one for each row of the step in turn; a block step (rows_per_step = kBlockRows) has four consecutive rows, of which only the
//          first is named, that share their columns: one offset per column
//   values per step: per non-zero (column) one value for each row in turn
//
// Every sum is accumulated in ascending order of columns, whatever the grouping.
//
// bf16 takes two non-zeros of a row at a time: panels are [cols][64] bf16, so offsets are 128 * (column in the tile); `count` counts
// pairs, each with two offsets per row and, as one value, both weights (the first in the low half; an odd last one is paired with weight
// 0). In each 32 tokens of a panel, quarters of tokens 0-15 and 16-31 alternate, four tokens at a time: interleaved words of two columns
// then come out in order.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

inline constexpr int64_t kPanelLanes = 64;
inline constexpr int64_t kBlockRows = 4;

struct SpmmRun {
  uint16_t count;
  uint16_t rows_per_step;  // 1, 2 or kBlockRows
  uint32_t steps;
};

struct SpmmTile {
  const SpmmRun* runs;
  int64_t run_count;
  const uint16_t* meta;
  const float* values;
  bool fresh;  // sums hold nothing yet: every row has a step, and starts at zero
  // With the last tile, in which every row has a step: what becomes of the sums of `lanes` tokens. Positions are those of row 0 of the group.
  struct Finish {
    const float* bias = nullptr;      // or nullptr
    const float* residual = nullptr;  // or nullptr
    int64_t residual_stride = 0;
    float* y = nullptr;  // or nullptr
    int64_t y_stride = 0, lanes = 0;
    bool cuts = false;  // to [low, high]
    float low = 0, high = 0;
    bool keep = false;  // results take the place of the sums too
  };
  const Finish* finish = nullptr;
};

// sums[row of the group][64] += (or =, if fresh) the tile times panel, for the first `lanes` tokens rounded up to a vector. The panel points at the
// first column of the tile.
namespace avx2 {
void spmm_f32_tile(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) noexcept;
}
namespace avx512 {
void spmm_f32_tile(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) noexcept;
// The same bits, faster on AMD's cores.
void spmm_f32_tile_indexed(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) noexcept;
}  // namespace avx512
namespace avx512_bf16 {
void spmm_bf16_tile(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) noexcept;
// A panel [cols][64] of f32 to bf16.
void convert_panel(const float* in, int64_t cols, float* out) noexcept;
}  // namespace avx512_bf16

}  // namespace lacuna::kernels
