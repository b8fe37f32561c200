// Stretches of bits in the rows of a mask.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "sparse/mask.h"

namespace lacuna {

// Bits [first, first + count), count <= 64, as the low bits of a word. They must lie in the row.
inline uint64_t bits_at(std::span<const uint64_t> row, int64_t first, int64_t count) {
  if (count == 0) return 0;
  size_t word = size_t(first / 64), shift = size_t(first % 64);
  uint64_t bits = row[word] >> shift;
  if (shift && int64_t(shift) + count > 64) bits |= row[word + 1] << (64 - shift);
  return count == 64 ? bits : bits & ((uint64_t(1) << count) - 1);
}

// Sets the ones of `bits` from bit `first` on. They must lie in the row.
inline void add_bits(std::span<uint64_t> row, int64_t first, uint64_t bits) {
  size_t word = size_t(first / 64), shift = size_t(first % 64);
  row[word] |= bits << shift;
  if (shift && bits >> (64 - shift)) row[word + 1] |= bits >> (64 - shift);
}

// Bit i: whether values[i] is not zero; count <= 64.
inline uint64_t nonzero_bits(const float* values, int64_t count) {
  uint8_t kept[64] = {};
  if (count == 64)
    for (int i = 0; i < 64; i++) kept[i] = values[i] != 0;
  else
    for (int64_t i = 0; i < count; i++) kept[i] = values[i] != 0;
  uint64_t bits = 0;
  for (int i = 0; i < 64; i += 8) {
    uint64_t eight;  // bytes of 0 or 1; the product gathers them in its highest byte, the first as the lowest bit
    std::memcpy(&eight, kept + i, 8);
    bits |= (eight * 0x0102040810204080) >> 56 << i;
  }
  return bits;
}

// out[i] is -1, all ones, if bit i is one, else 0.
inline void bytes_of_bits(uint64_t bits, int8_t (&out)[64]) {
  for (int i = 0; i < 64; i += 8) {
    uint64_t each = (bits >> i & 0xff) * 0x0101010101010101 & 0x8040201008040201;  // byte j holds bit j alone
    uint64_t eight = ((each + 0x7f7f7f7f7f7f7f7f) & 0x8080808080808080) / 0x80 * 0xff;
    std::memcpy(out + i, &eight, 8);
  }
}

inline int64_t count_bits(std::span<const uint64_t> row, int64_t first, int64_t count) {
  int64_t n = 0;
  for (int64_t i = 0; i < count; i += 64) n += count_ones(bits_at(row, first + i, std::min<int64_t>(64, count - i)));
  return n;
}

inline void set_bits(std::span<uint64_t> row, int64_t first, int64_t count) {
  for (int64_t i = first; i < first + count; i++) row[size_t(i / 64)] |= uint64_t(1) << (i % 64);
}

}  // namespace lacuna
