// Stretches of bits in the rows of a mask.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

namespace lacuna {

// Bits [first, first + count), count <= 64, as the low bits of a word. They must lie in the row.
inline uint64_t bits_at(std::span<const uint64_t> row, int64_t first, int64_t count) {
  if (count == 0) return 0;
  size_t word = size_t(first / 64), shift = size_t(first % 64);
  uint64_t bits = row[word] >> shift;
  if (shift && int64_t(shift) + count > 64) bits |= row[word + 1] << (64 - shift);
  return count == 64 ? bits : bits & ((uint64_t(1) << count) - 1);
}

inline int64_t count_bits(std::span<const uint64_t> row, int64_t first, int64_t count) {
  int64_t n = 0;
  for (int64_t i = 0; i < count; i += 64) n += std::popcount(bits_at(row, first + i, std::min<int64_t>(64, count - i)));
  return n;
}

inline void set_bits(std::span<uint64_t> row, int64_t first, int64_t count) {
  for (int64_t i = first; i < first + count; i++) row[size_t(i / 64)] |= uint64_t(1) << (i % 64);
}

}  // namespace lacuna
