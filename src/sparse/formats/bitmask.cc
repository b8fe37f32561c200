// mask    u8 [rows, ceil(cols / 8)]  one bit per weight, 1 = kept, low bit first; each row starts on a byte
// values  [kept]                     the kept codes, row by row
//
// Rows start on a byte, not on a 64-bit word as in memory: a first convolution of 27 columns would pay 64 bits per row.
#include "base/cat.h"
#include "lacuna/error.h"
#include "sparse/formats/codes.h"
#include "sparse/formats/parts.h"

namespace lacuna {
Format bitmask_format();
namespace {
using namespace storage;

int64_t mask_bytes(int64_t cols) { return (cols + 7) / 8; }

std::optional<std::string> refuses(const MaskedMatrix&, const FormatParameters&) { return std::nullopt; }

int64_t bytes_of_count(int64_t rows, int64_t cols, DType type, int64_t kept) { return rows * mask_bytes(cols) + packed_bytes(type, kept); }
int64_t size_bytes(const MaskedMatrix& matrix, const FormatParameters&) {
  return bytes_of_count(matrix.mask.rows(), matrix.mask.cols(), matrix.type, matrix.mask.count_kept());
}

EncodedMatrix encode(const MaskedMatrix& matrix, const FormatParameters&) {
  EncodedMatrix out = header_of(bitmask_format(), matrix);
  int64_t bytes = mask_bytes(out.cols);
  Tensor mask(DType::kU8, {out.rows, bytes}, false);
  if (bytes)
    for (int64_t r = 0; r < out.rows; r++) std::memcpy(mask.mutable_raw() + r * bytes, matrix.mask.row(r).data(), size_t(bytes));
  out.parts["mask"] = mask;
  out.parts["values"] = pack_kept(matrix, kept_before(matrix.mask));
  return out;
}

Mask read_mask(const EncodedMatrix& encoded) {
  Mask mask(encoded.rows, encoded.cols, false);
  int64_t bytes = mask_bytes(encoded.cols);
  if (bytes)
    for (int64_t r = 0; r < encoded.rows; r++) std::memcpy(mask.mutable_row(r).data(), encoded.parts.at("mask").raw() + r * bytes, size_t(bytes));
  return mask;
}

void validate(const EncodedMatrix& encoded) {
  check_parts(encoded, {"mask", "values"});
  int64_t values = checked_value_count(encoded), bytes = mask_bytes(encoded.cols), kept = 0;
  auto mask = checked_part(encoded, "mask", DType::kU8, {encoded.rows, bytes}).data<uint8_t>();
  for (uint8_t byte : mask) kept += std::popcount(byte);
  if (encoded.cols % 8)
    for (int64_t r = 0; r < encoded.rows; r++)
      if (mask[size_t((r + 1) * bytes - 1)] >> (encoded.cols % 8)) reject(encoded, "mask", cat("row ", r, " has bits beyond column ", encoded.cols));
  if (kept != values) reject(encoded, "values", cat("holds ", values, ", the mask keeps ", kept));
}

MaskedMatrix decode(const EncodedMatrix& encoded) { return unpack_kept(encoded.type, read_mask(encoded), encoded.parts.at("values")); }

}  // namespace

Format bitmask_format() {
  return {"bitmask", "one bit per weight and the kept codes", false, refuses, size_bytes, encode, validate, decode, bytes_of_count};
}

}  // namespace lacuna
