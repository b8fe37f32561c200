// What the tests and fuzz targets of this room share.
#pragma once

#include <string>

#include "base/cat.h"
#include "base/rng.h"
#include "lacuna/error.h"
#include "sparse/bits.h"
#include "sparse/format.h"

namespace lacuna::testing {

inline constexpr DType kCodeTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kS8, DType::kU8, DType::kS4, DType::kU4};

// Writes code `value` (its low bits) at a position of a [rows, cols] tensor, without the code under test.
inline void put_code(Tensor& codes, int64_t row, int64_t col, uint64_t value) {
  int64_t cols = codes.dim(1), bits = bits_of(codes.dtype());
  std::byte* raw = codes.mutable_raw();
  if (bits == 4) {
    std::byte& byte = raw[row * ((cols + 1) / 2) + col / 2];
    byte = (byte & std::byte(col % 2 ? 0x0f : 0xf0)) | std::byte((value & 15) << (col % 2 * 4));
  } else {
    for (int64_t i = 0; i < bits / 8; i++) raw[(row * cols + col) * (bits / 8) + i] = std::byte(value >> (8 * i));
  }
}

// Random codes, one in eight of the kept ones zero.
inline MaskedMatrix random_codes(DType type, Mask mask, uint64_t seed) {
  Rng rng(seed);
  Tensor codes(type, {mask.rows(), mask.cols()});
  for (int64_t r = 0; r < mask.rows(); r++)
    for (int64_t c = 0; c < mask.cols(); c++)
      if (mask.kept(r, c)) put_code(codes, r, c, rng.below(8) == 0 ? 0 : rng.next());
  return {type, std::move(mask), codes};
}

inline Mask random_mask(int64_t rows, int64_t cols, double density, uint64_t seed) {
  Rng rng(seed);
  Mask mask(rows, cols, false);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) mask.set(r, c, rng.uniform() < density);
  return mask;
}

// At most ceil(n * length / m) random columns of every group.
inline Mask random_n_m(int64_t rows, int64_t cols, int64_t inner, int64_t n, int64_t m, bool full, uint64_t seed) {
  Rng rng(seed);
  Mask mask(rows, cols, false);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t stretch = 0; stretch < cols; stretch += inner)
      for (int64_t col = 0; col < inner; col += m) {
        int64_t length = std::min(m, inner - col), slots = (n * length + m - 1) / m, left = full ? slots : 1 + rng.below(slots);
        while (left > 0) {
          int64_t c = stretch + col + rng.below(length);
          left -= !mask.kept(r, c);
          mask.set(r, c, true);
        }
      }
  return mask;
}

inline Mask random_blocks(int64_t rows, int64_t cols, int64_t inner, int64_t high, int64_t wide, double density, uint64_t seed) {
  Rng rng(seed);
  Mask mask(rows, cols, false);
  for (int64_t r = 0; r < rows; r += high)
    for (int64_t stretch = 0; stretch < cols; stretch += inner)
      for (int64_t col = 0; col < inner; col += wide)
        if (rng.uniform() < density)
          for (int64_t i = r; i < std::min(rows, r + high); i++) set_bits(mask.mutable_row(i), stretch + col, std::min(wide, inner - col));
  return mask;
}

inline bool same_encoding(const EncodedMatrix& a, const EncodedMatrix& b) {
  if (a.format != b.format || a.type != b.type || a.rows != b.rows || a.cols != b.cols || a.parts.size() != b.parts.size()) return false;
  for (const auto& [name, part] : a.parts) {
    auto other = b.parts.find(name);
    if (other == b.parts.end() || part.dtype() != other->second.dtype() || part.shape() != other->second.shape()) return false;
    if (part.size_bytes() && __builtin_memcmp(part.raw(), other->second.raw(), part.size_bytes()) != 0) return false;
  }
  return true;
}

// The promise of validate(): an error, or bytes that decode and encode to themselves. Returns what is wrong, "" if nothing.
inline std::string broken_promise(const EncodedMatrix& encoded) {
  const Format& format = format_named(encoded.format);
  try {
    format.validate(encoded);
  } catch (const Error&) {
    return "";
  }
  MaskedMatrix decoded = format.decode(encoded);
  if (auto reason = format.refuses(decoded, encoded.parameters)) return cat("decoded matrix is refused: ", *reason);
  if (!same_encoding(format.encode(decoded, encoded.parameters), encoded)) return "the decoded matrix encodes to other bytes";
  if (format.size_bytes(decoded, encoded.parameters) != encoded.size_bytes()) return "size_bytes is not the size";
  return "";
}

}  // namespace lacuna::testing
