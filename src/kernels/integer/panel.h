// The panel integer family for many tokens: what the plain half hands to the inner loops. Only PODs, because ISA code includes this header.
//
// Tokens sit in the lanes. A panel holds the codes of kPanelTokens<ISA> tokens (64 with 512-bit registers, 32 with 256-bit ones) for all
// columns; sums of a row and a panel are four registers of 32-bit lanes. Weights come as quads: four columns of one row, or of four rows
// that share their columns. The four activations of a token meet the four weights of a quad in one 32-bit lane:
//   gathered  panel [columns][tokens]: the rows of four arbitrary columns are interleaved, first bytes then words, by eight vpunpck. In
//             each 128-bit lane vpunpck leaves four tokens per result, so sums stand as [4][lanes][4] for tokens [lanes][4][4]: block().
//   aligned   panel [columns / 4][tokens][4], interleaved when it is packed: four neighbouring columns are four loads.
// Columns are cut into tiles whose panel stays in the L1 cache; sums of a chunk of rows are kept in memory between tiles.
//
// Stream of a row group (1 or 4 rows) in a tile: per quad its offsets into the panel (16 bits, one if aligned, else four) and four codes
// per row. A quad that lacks columns repeats offset 0 with code 0. With VNNI activations are x + 128; excess is the code of x = 0 times the sum of
// the row's codes.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

struct PanelCall {
  const uint8_t* stream;
  const uint16_t* quads;  // [row_groups]: quads of each row group of the stream in this tile
  const uint16_t* order;  // [row_groups]: which row group of the sums it is
  int64_t row_groups;
  const uint8_t* panel;  // of this tile
  int32_t* sums;         // [row_groups][rows][panel tokens]
  bool accumulate;       // add to the sums
  const float* ahead;    // where the outputs of the chunk's rows will go, token-major, or nullptr: their lines are fetched meanwhile
  int64_t ahead_stride;
};
using PanelRun = void (*)(const PanelCall& call);

// v = (sum - excess) * scale * x_scale; then bias, residual and ReLU.
struct PanelOutput {
  const int32_t* sums;    // [rows][panel tokens]
  int64_t rows;           // a multiple of 16
  bool interleaved;       // sums of interleaved quads
  const int32_t* excess;  // [rows] or nullptr
  const float* scales;    // [rows]
  const float* x_scales;  // [panel tokens]
  const float* bias;      // [rows] or nullptr
  const float* residual;  // in the layout of y, or nullptr
  int64_t residual_stride;
  bool relu;
  float* y;  // token-major: [panel tokens][y_stride]; channel-major: [rows][y_stride]
  int64_t y_stride;
};

// The inner loops of one instruction set.
struct PanelIsa {
  int64_t tokens;      // of a panel
  bool unsigned_x;     // panels hold x + 128
  PanelRun run[2][2];  // [rows of a group: 1, 4][gathered, aligned]
  void (*output_token_major)(const PanelOutput& output);
  void (*output_channel_major)(const PanelOutput& output);
  // codes [16][stride] of sixteen tokens (columns a multiple of 64) to their place in a panel; `out` points at the first of them.
  void (*interleave_bytes)(const uint8_t* codes, int64_t stride, int64_t cols, uint8_t* out);
  void (*interleave_quads)(const uint8_t* codes, int64_t stride, int64_t cols, uint8_t* out);
  // A whole panel whose column c is at source + offsets[c]; cols a multiple of 4. Interleaved quads give interleaved sums.
  void (*copy_columns)(const uint8_t* source, const int64_t* offsets, int64_t cols, uint8_t* out);
  void (*interleave_columns)(const uint8_t* source, const int64_t* offsets, int64_t cols, uint8_t* out);
};

}  // namespace lacuna::kernels
