// One to eight tokens of floats times weights: the inner loops and the stream of bytes that they read.
//
// A stream holds groups of 8 rows; a group holds, for each chunk of 64 columns, a tile:
//   bitmask  8 masks of 64 bits, one for each row, bit c = column c of the chunk is kept; then the kept values, row by row
//   dense    8 x 64 values
//   codes    8 x 2 scales, one for each row and 32 columns, and as many minima, f16 if that holds them all, else f32; if masked, 8 masks
//            of 64 bits; then 8 x 64 codes of 8 or 4 bits. Nibbles come in runs of 32 columns (AVX2: 16), the first half of the
//            run in the low halves of its bytes; they count from 0, so minima are those of code 0 (in GGUF files f16, like the scales).
//            A weight is code * scale + minimum, or 0 where the mask has a 0.
// Values are f32, bf16 or f16. Columns beyond the last have mask 0 or value 0 or meet activations that are 0, rows alike. Tiles follow
// each other without gaps, so a thread reads one sequential stream; 64 spare bytes follow the end, so that loads need no masks.
//
// Bytes decide here: 1 + bits * density bits a weight, 5 for 4-bit codes in groups of 32. Bitmask loops expand a row of the tile by its
// mask, the others convert, all then multiply with the 64 activations of each token.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lacuna::kernels {

inline constexpr int64_t kDecodeRows = 8, kDecodeCols = 64, kDecodeTokens = 8, kDecodeGroup = 32;

// Activations of up to eight tokens: [chunk][tokens][64], zero beyond the last column. If pair_block is not zero, each pair_block
// columns are stored as their even columns, then their odd ones: the order in which 16-bit values come apart.
struct DecodeTask {
  const std::byte* stream;  // of one group
  int64_t chunks;
  const float* x;
  int64_t tokens;  // 1, 2, 4 or 8
  float* sums;     // [tokens][sums_stride], 8 rows
  int64_t sums_stride;
  // With one token: another group, multiplied beside this one, or nullptr. Where a tile begins is known from the masks of the one before,
  // so one stream from DRAM is waited for tile by tile; two overlap.
  const std::byte* second_stream = nullptr;
  float* second_sums = nullptr;
};

// Multiplies one group, or two.
using DecodeFloat = void (*)(const DecodeTask& task) noexcept;

// What a stream of codes holds.
struct CodesLayout {
  bool four_bits, half_scales, masked;
};

namespace avx2 {
void decode_dense_f32(const DecodeTask& task) noexcept;
void decode_dense_bf16(const DecodeTask& task) noexcept;  // pair_block 16
void decode_dense_f16(const DecodeTask& task) noexcept;
void decode_mask_f32(const DecodeTask& task) noexcept;
void decode_mask_bf16(const DecodeTask& task) noexcept;
void decode_mask_f16(const DecodeTask& task) noexcept;
DecodeFloat decode_codes(CodesLayout layout) noexcept;  // nibbles in runs of 16 columns
}  // namespace avx2
namespace avx512 {
void decode_dense_f32(const DecodeTask& task) noexcept;
void decode_dense_bf16(const DecodeTask& task) noexcept;  // pair_block 32
void decode_dense_f16(const DecodeTask& task) noexcept;
void decode_mask_f32(const DecodeTask& task) noexcept;
void decode_mask_bf16(const DecodeTask& task) noexcept;
void decode_mask_f16(const DecodeTask& task) noexcept;
DecodeFloat decode_codes(CodesLayout layout) noexcept;  // nibbles in runs of 32 columns
}  // namespace avx512
namespace avx512_vbmi2 {
void decode_mask_bf16(const DecodeTask& task) noexcept;  // pair_block 32
void decode_mask_f16(const DecodeTask& task) noexcept;
DecodeFloat decode_codes(CodesLayout layout) noexcept;  // nibbles in runs of 32 columns
}  // namespace avx512_vbmi2

}  // namespace lacuna::kernels
