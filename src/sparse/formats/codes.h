// Access to codes of any width as one linear array of elements. Private to the storage formats.
#pragma once

#include <cstring>

#include "base/parallel.h"
#include "sparse/format.h"

namespace lacuna::storage {

struct Nibble {};

// Element i of a packed array; nibbles go low half first.
template <class T>
struct Codes {
  std::byte* raw;
  T get(int64_t i) const {
    T v;
    std::memcpy(&v, raw + i * int64_t(sizeof(T)), sizeof(T));
    return v;
  }
  void set(int64_t i, T v) const { std::memcpy(raw + i * int64_t(sizeof(T)), &v, sizeof(T)); }
};
template <>
struct Codes<Nibble> {
  std::byte* raw;
  uint8_t get(int64_t i) const { return uint8_t((uint8_t(raw[i / 2]) >> (i % 2 * 4)) & 15); }
  // The target starts out as zero.
  void set(int64_t i, uint8_t v) const { raw[i / 2] |= std::byte(v << (i % 2 * 4)); }
};

// Calls f(from, to) with two arrays of codes of `type`. `from` is only read.
template <class F>
void with_codes(DType type, const Tensor& from, Tensor& to, F&& f) {
  auto call = [&]<class T>(T) { f(Codes<T>{const_cast<std::byte*>(from.raw())}, Codes<T>{to.mutable_raw()}); };
  switch (bits_of(type)) {
    case 4: return call(Nibble{});
    case 8: return call(uint8_t{});
    case 16: return call(uint16_t{});
    case 32: return call(uint32_t{});
    default: return call(uint64_t{});
  }
}

// Elements from one row of a [rows, cols] matrix to the next: nibble rows start on a byte.
inline int64_t row_stride(DType type, int64_t cols) { return bits_of(type) == 4 ? (cols + 1) / 2 * 2 : cols; }

// Bytes of a 1-D tensor of n elements.
inline int64_t packed_bytes(DType type, int64_t n) { return (n * bits_of(type) + 7) / 8; }

// Calls f(col) for each kept column of a row, ascending.
template <class F>
void for_each_kept(std::span<const uint64_t> row, F&& f) {
  for (size_t w = 0; w < row.size(); w++)
    for (uint64_t word = row[w]; word; word &= word - 1) f(int64_t(w) * 64 + std::countr_zero(word));
}

// Kept weights before each row, and in all: rows + 1 numbers.
inline std::vector<int64_t> kept_before(const Mask& mask) {
  std::vector<int64_t> before(size_t(mask.rows()) + 1, 0);
  for (int64_t r = 0; r < mask.rows(); r++) before[size_t(r) + 1] = before[size_t(r)] + mask.count_kept(r);
  return before;
}

// Calls f(row) for every row on several threads. Rows that write nibbles of one array share bytes: pass `serial`.
template <class F>
void for_each_row(int64_t rows, bool serial, F&& f) {
  constexpr int64_t kRowsPerTile = 16;
  auto tile = [&](int64_t t) {
    for (int64_t r = t * kRowsPerTile; r < std::min(rows, (t + 1) * kRowsPerTile); r++) f(r);
  };
  int64_t tiles = (rows + kRowsPerTile - 1) / kRowsPerTile;
  if (serial)
    for (int64_t t = 0; t < tiles; t++) tile(t);
  else
    parallel_for(tiles, tile);
}
inline bool is_nibble(DType type) { return bits_of(type) == 4; }

// Packs the kept codes, row by row, into a 1-D tensor; `before` is kept_before(mask).
Tensor pack_kept(const MaskedMatrix& matrix, const std::vector<int64_t>& before);
// The inverse: a matrix with this mask and these kept codes.
MaskedMatrix unpack_kept(DType type, Mask mask, const Tensor& values);

}  // namespace lacuna::storage
