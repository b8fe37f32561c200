// Storage formats: portable bytes of a masked matrix, the same on every machine. One file each in formats/; the list is
// formats.def; a page each in docs/formats/.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sparse/mask.h"
#include "sparse/weight.h"
#include "tensor/tensor.h"

namespace lacuna {

// A matrix of codes with the mask that says which are kept. Codes are bytes in matrix order: cols codes per row, each
// bits_of(type) wide (4-bit: low nibble first, rows start on a byte). Codes that are not kept are zero bytes.
struct MaskedMatrix {
  DType type = DType::kF32;
  Mask mask;
  Tensor codes;  // [rows, cols] of `type`
  bool operator==(const MaskedMatrix& other) const;
};
// A weight in matrix order, whatever its layout; codes that are not kept become zero bytes. Requires a matrix layout.
MaskedMatrix masked_matrix(const Weight& weight, const WeightData& data);
// The inverse: codes [rows, cols] in matrix order back in source order, [weight.shape].
Tensor source_order(const Weight& weight, const Tensor& codes);

// What a pattern or a format may ask for: M of N:M, the sides of a block.
inline constexpr int64_t kLargestM = 65536, kLargestBlockSide = 4096;

// Parameters a format may need: N:M's n and m, BSR's block. A format ignores those of others.
struct FormatParameters {
  int64_t n = 0, m = 0;                    // n_m
  int64_t inner = 0;                       // n_m, bsr: groups and blocks restart every `inner` columns (convolutions); 0 = cols
  int64_t block_rows = 0, block_cols = 0;  // bsr
  bool operator==(const FormatParameters&) const = default;
};

// A matrix in a storage format: named parts, each an ordinary tensor that becomes a safetensors entry.
struct EncodedMatrix {
  std::string format;  // a name of formats.def
  DType type = DType::kF32;
  int64_t rows = 0, cols = 0;
  FormatParameters parameters;
  std::map<std::string, Tensor> parts;  // "values", "mask", "indices", "row_offsets", ...
  int64_t size_bytes() const;
};

// One storage format. All functions are pure; encode and decode cost O(rows * cols).
struct Format {
  std::string_view name;  // "dense", "bitmask", "n_m", "csr", "csc", "coo", "bsr"
  std::string_view help;  // one line
  bool interchange_only;  // COO and CSC: never chosen for the Lacuna directory
  // Why this matrix cannot be stored so (nullopt: it can). N:M and BSR refuse a mask that breaks their pattern.
  std::optional<std::string> (*refuses)(const MaskedMatrix& matrix, const FormatParameters& parameters);
  // Exact size in bytes, metadata included, from counts alone: equals encode(...).size_bytes().
  int64_t (*size_bytes)(const MaskedMatrix& matrix, const FormatParameters& parameters);
  // Throws InvalidArgument where `refuses` has a reason.
  EncodedMatrix (*encode)(const MaskedMatrix& matrix, const FormatParameters& parameters);
  // Validates foreign bytes: lengths, offsets, index ranges and order, and that there is no second way to write the matrix:
  // what passes is byte for byte what `encode` makes of the decoded matrix. Throws InvalidData naming the part, ResourceExhausted if the
  // decoded matrix would not fit into memory. O(size).
  void (*validate)(const EncodedMatrix& encoded);
  MaskedMatrix (*decode)(const EncodedMatrix& encoded);  // requires a validated matrix
  // size_bytes where it follows from the number of kept weights alone; it never falls as that rises. nullptr: their places matter too.
  int64_t (*bytes_of_count)(int64_t rows, int64_t cols, DType type, int64_t kept) = nullptr;
};

std::span<const Format> formats();
const Format& format_named(std::string_view name);  // throws InvalidArgument listing the known ones

// The smallest format that accepts the matrix, interchange formats left out; ties go to the earlier in formats.def.
struct FormatChoice {
  const Format* format;
  FormatParameters parameters;
  int64_t size_bytes;
};
// `pattern` ("2:4", "block:1x4", "unstructured", ...) names the parameters to try; every candidate's size is in `all`, if given.
FormatChoice smallest_format(const MaskedMatrix& matrix, std::string_view pattern, int64_t inner, std::vector<FormatChoice>* all = nullptr);

}  // namespace lacuna
