// The 16-row integer family: what the plain half hands to the inner loops. Only PODs, because ISA code includes this header.
//
// Sixteen rows (a row group) sit in the sixteen 32-bit lanes of one 512-bit register, or of two 256-bit ones. Four weights of a row fill
// its lane and meet four activations: broadcast, if the lanes stand for the same four columns (dense, bitmask), or gathered by an index
// per weight (n16, window). Sums stay in their lane: no horizontal adds, and the outputs of a row group are one contiguous store.
//
// Streams: one per row group, read once in sequence, spare bytes at the end. A step is 16 rows x 4 weights = 64 bytes, lane r = row r.
//   dense    unit of 32 columns: 8 steps of 4 columns.
//   bitmask  unit of 32 columns: 8 masks of 64 bits (bit 4 r + c), then per step the kept codes in bit order.
//   n16      unit of 64 columns; S slots (2, 4, 8, 12 or 16) for each 16 columns of a row: N:16 with N <= S. Step i takes four slots of column
//            group i / (S / 4); for S = 2 two of group 2 i and two of 2 i + 1. Two steps share a line of nibbles (columns inside the group;
//            low nibbles: the first step): [64 B nibbles][64 B codes][64 B codes].
//   window   steps of [64 B indices][64 B codes]; index = column - base of the step, smaller than the window (64, 128 or 256). Each row
//            takes its next four kept columns as far as they lie inside the window; the base follows the slowest row. Where a window of 64 is
//            one vpermb, bases are multiples of 32 and x has two planes, the second shifted by 32 columns, so that every window is one
//            aligned cache line: lines that cross cost a quarter. Tried four planes: 5 % slower, they crowd the L1 cache. Convolutions have
//            one plane, bases at 32, and windows that cross lines where that pays (window_steps.h).
//            With vpermb, N:M that keeps a multiple of four of 64 columns has one plane and bases at 64: full row groups then have the same steps.
// n16 and window: a slot left over holds code 0.
// 4-bit dense: low nibbles step 2 i, high nibbles step 2 i + 1. 4-bit bitmask: two codes to a byte, low nibble first, a new byte for each
// step or, where there is no vpexpandb, for each 16 bits of mask. With scale groups, each group opens with its sixteen scales, then
// sixteen minima if it has them, as f16 where all are exact in it, else f32.
//
// Codes. dense and bitmask multiply u = code + bias by the signed x, bias 128 (8 bits) or 8 (4 bits): VNNI wants one side unsigned, and
// vpmaddubsw cannot saturate on 4 bits. Removed weights stand as u = bias, so that the excess is bias * sum of x, known per token. 8-bit
// codes without VNNI have bias 0 and move signs instead: |x| times sign(x) u. n16 and window gather x + 128 as unsigned where there is
// VNNI; the excess 128 * sum of codes is known per row. Without VNNI |x| meets sign(x) code: x may be -128, codes are not.
#pragma once

#include <cstdint>

#include "kernels/inner/code_rule.h"

namespace lacuna::kernels {

constexpr int64_t kLanes = 16;
constexpr int64_t kTokenBlock = 16;    // tokens of a call at most
constexpr int64_t kTokenMultiple = 8;  // rows of activation codes are padded to it
constexpr int64_t kStreamSpare = 256;  // readable bytes after a stream and after a row of activation codes
constexpr int64_t kUnitCols = 32;      // dense, bitmask
constexpr int64_t kUnitColsN16 = 64;

// Words at any address of a stream.
using Word16 [[gnu::aligned(1), gnu::may_alias]] = uint16_t;
using Word32 [[gnu::aligned(1), gnu::may_alias]] = int32_t;
using Word64 [[gnu::aligned(1), gnu::may_alias]] = uint64_t;

struct Lane16Call {
  const uint8_t* stream;
  const int32_t* offsets;  // first activation of each unit (window: step), in bytes from x
  int64_t units;           // units, or steps
  int64_t ahead;           // bytes that a bitmask stream is fetched ahead by
  const uint8_t* x;        // [tokens][x_stride] activation codes, s8 or u8
  const uint8_t* x_xor;    // x[c] ^ x[c - 16], where the window is looked up by vpshufb
  int64_t x_stride;
  int64_t tokens;         // 1 to 16; x and sums have 1, 2, 4 or a multiple of 8, at least tokens
  const int32_t* x_sums;  // [tokens][x_sums_stride]: sum of x per scale group
  int64_t x_sums_stride;
  int64_t group_units;  // units per scale group; all of them if scales are per row
  bool half_scales;     // scales and minima in the stream are f16
  int32_t* sums;        // [tokens][16]: dot per row, the excess of a gather included
  float* scaled_sums;   // [tokens][16]: with scale groups, sum over groups of dot * scale + (sum of kept x) * minimum
};
using Lane16Run = void (*)(const Lane16Call& call);
// Two calls that differ in stream, sums and scaled_sums only; of a bitmask 1 or 2 tokens.
//
// The address of a bitmask unit follows from the masks of the unit before, so a core waits for one unit after the other where the stream
// comes from DRAM. Two row groups at a time are two such chains: 18 instead of 15 GB/s at density 0.5, 19 instead of 14 at 0.3, 17 instead
// of 13.5 at 0.2 (Sapphire Rapids, one core). Tried: popcounts of a whole unit first (no gain), four row groups (no more), prefetches
// further ahead or into the L2 cache (slower).
using Lane16RunPair = void (*)(const Lane16Call* pair);
constexpr int64_t kPairTokens = 2;

// Turns sums into outputs: v = (sum - excess) * scale * x_scale, or scaled_sum * x_scale; then bias, residual and ReLU.
struct Lane16Output {
  const int32_t* sums;       // [tokens][16], or nullptr
  const float* scaled_sums;  // [tokens][16], if sums is nullptr
  const int32_t* excess;     // [16] or nullptr
  const float* scales;       // [16], with sums
  const float* x_scales;     // [tokens]
  int64_t tokens;
  const float* bias;      // [16] or nullptr
  const float* residual;  // [tokens][residual_stride] or nullptr
  int64_t residual_stride;
  bool relu;
  float* y;  // [tokens][y_stride]
  int64_t y_stride;
};

// The inner loops of one instruction set. A format that it lacks is nullptr.
struct Lane16Isa {
  int bias8;                 // of 8-bit dense and bitmask codes: 128 or 0
  bool raw_bitmask;          // bitmask stores code, not code + bias
  int nibble_run;            // 4-bit bitmask: weights (64 or 16) after which the codes start on a new byte
  int unit_multiple;         // dense and bitmask streams have a multiple of so many units
  bool unsigned_gather;      // n16 and window take x + 128
  bool xor_windows;          // window needs x_xor; no window of 256
  Lane16Run dense[2][3];     // [8 bits, 4 bits][scales per row, per group, per group with minima]
  Lane16RunPair dense_pair;  // 8 bits, scales per row, 5 to 16 tokens, padded to 8 or 16. nullptr: two calls are as fast
  Lane16Run bitmask[2][3];
  Lane16RunPair bitmask_pair[2][3];
  Lane16Run n16[5];           // S = 2, 4, 8, 12, 16
  Lane16RunPair n16_pair[5];  // more than 4 tokens, x and sums padded to a multiple of 8; or nullptr
  Lane16Run window[3];        // 64, 128, 256
  Lane16RunPair window_pair;  // of 64, with the same offsets, as n16_pair
  void (*output)(const Lane16Output& output);
  float (*largest)(const float* x, int64_t n);                                                    // max |x|, NaN passed over
  void (*quantize)(const float* x, int64_t n, const CodeRule& rule, uint8_t flip, uint8_t* out);  // codes ^ flip
  // Sums of `group` consecutive signed codes each (a multiple of 32), `groups` times.
  void (*group_sums)(const int8_t* codes, int64_t group, int64_t groups, int32_t* sums);
  void (*xor_shifted)(const uint8_t* x, int64_t n, uint8_t* out);  // out[c] = x[c] ^ x[c - 16], c >= 16
};

}  // namespace lacuna::kernels
