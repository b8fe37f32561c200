#include "sparse/formats/parts.h"

#include <algorithm>
#include <bit>

#include "base/cat.h"
#include "base/memory.h"
#include "lacuna/error.h"
#include "sparse/formats/codes.h"

namespace lacuna::storage {

static_assert(std::endian::native == std::endian::little, "storage formats are little-endian and written as they lie in memory");

DType index_type(int64_t largest) {
  if (largest <= 0xff) return DType::kU8;
  if (largest <= 0xffff) return DType::kU16;
  return largest <= 0xffffffff ? DType::kU32 : DType::kU64;
}

Tensor pack_indices(std::span<const int64_t> values, int64_t largest) {
  Tensor out(index_type(largest), {int64_t(values.size())});
  IndexWriter writer(out);
  for (size_t i = 0; i < values.size(); i++) writer.set(int64_t(i), values[i]);
  return out;
}

void reject(const EncodedMatrix& encoded, std::string_view part, const std::string& problem) {
  throw InvalidData(cat(encoded.format, " '", part, "': ", problem));
}

void check_parts(const EncodedMatrix& encoded, std::initializer_list<std::string_view> required, std::initializer_list<std::string_view> optional) {
  // Far beyond any real matrix; keeps a few lying bytes from asking for all memory.
  constexpr int64_t kLargestSide = int64_t(1) << 31, kLargestSize = int64_t(1) << 36, kLargestEmptySide = 1 << 20;
  int64_t rows = encoded.rows, cols = encoded.cols;
  if (rows < 0 || cols < 0 || rows > kLargestSide || cols > kLargestSide || (cols && rows > kLargestSize / cols) ||
      (rows * cols == 0 && std::max(rows, cols) > kLargestEmptySide))
    throw InvalidData(cat(encoded.format, " matrix: ", rows, " x ", cols, " found, at most ", kLargestSize, " weights expected"));
  // Codes, mask and row offsets. What decodes a weight goes on to work with it: half of the memory must do.
  int64_t decoded = rows * (packed_bytes(encoded.type, cols) + (cols + 63) / 64 * 8 + 8);
  if (decoded > memory_limit_bytes() / 2)
    throw ResourceExhausted(cat(encoded.format, " matrix: ", rows, " x ", cols, " ", name_of(encoded.type), " decodes to ", decoded,
                                " bytes, at most half of the memory of ", memory_limit_bytes(), " bytes can be used"));
  auto listed = [](std::initializer_list<std::string_view> names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (std::string_view name : required)
    if (!encoded.parts.contains(std::string(name))) throw InvalidData(cat(encoded.format, ": part '", name, "' is missing"));
  for (const auto& [name, tensor] : encoded.parts)
    if (!listed(required, name) && !listed(optional, name)) throw InvalidData(cat(encoded.format, ": part '", name, "' is not one of this format"));
}

const Tensor& checked_part(const EncodedMatrix& encoded, std::string_view part, DType dtype, const Shape& shape) {
  const Tensor& tensor = encoded.parts.at(std::string(part));
  if (tensor.dtype() != dtype || tensor.shape() != shape)
    reject(encoded, part,
           cat(name_of(tensor.dtype()), " ", to_string(tensor.shape()), " found, ", name_of(dtype), " ", to_string(shape), " expected"));
  return tensor;
}

int64_t checked_value_count(const EncodedMatrix& encoded) {
  const Tensor& values = encoded.parts.at("values");
  if (values.rank() != 1) reject(encoded, "values", cat("shape ", to_string(values.shape()), " found, one dimension expected"));
  int64_t count = checked_part(encoded, "values", encoded.type, {values.size()}).size();
  if (count > encoded.rows * encoded.cols) reject(encoded, "values", cat("holds ", count, " of ", encoded.rows * encoded.cols, " weights"));
  check_spare_bits(encoded, "values", count * bits_of(encoded.type));
  return count;
}

void check_offsets(const EncodedMatrix& encoded, std::string_view part, int64_t n, int64_t total) {
  Indices offsets(checked_part(encoded, part, index_type(total), {n + 1}));
  if (offsets[0] != 0) reject(encoded, part, cat("starts at ", offsets[0], ", 0 expected"));
  for (int64_t i = 0; i < n; i++)
    if (offsets[i + 1] < offsets[i]) reject(encoded, part, cat("descends from ", offsets[i], " to ", offsets[i + 1], " at entry ", i + 1));
  if (offsets[n] != uint64_t(total)) reject(encoded, part, cat("ends at ", offsets[n], ", there are ", total));
}

void check_indices(const EncodedMatrix& encoded, std::string_view part, std::string_view offsets_part, int64_t n, int64_t limit) {
  Indices offsets(encoded.parts.at(std::string(offsets_part)));
  Indices indices(checked_part(encoded, part, index_type(limit - 1), {int64_t(offsets[n])}));
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = int64_t(offsets[i]); k < int64_t(offsets[i + 1]); k++) {
      if (indices[k] >= uint64_t(limit)) reject(encoded, part, cat("entry ", k, " is ", indices[k], ", below ", limit, " expected"));
      if (k > int64_t(offsets[i]) && indices[k] <= indices[k - 1])
        reject(encoded, part, cat("entry ", k, " does not ascend: ", indices[k], " after ", indices[k - 1]));
    }
}

void check_spare_bits(const EncodedMatrix& encoded, std::string_view part, int64_t used_bits) {
  if (used_bits % 8 == 0) return;
  if (uint8_t(encoded.parts.at(std::string(part)).raw()[used_bits / 8]) >> (used_bits % 8))
    reject(encoded, part, "the spare bits of the last byte are not zero");
}

void require_accepts(const Format& format, const MaskedMatrix& matrix, const FormatParameters& parameters) {
  if (auto reason = format.refuses(matrix, parameters)) throw InvalidArgument(cat("cannot store as ", format.name, ": ", *reason));
}

EncodedMatrix header_of(const Format& format, const MaskedMatrix& matrix, const FormatParameters& parameters) {
  return {std::string(format.name), matrix.type, matrix.mask.rows(), matrix.mask.cols(), parameters, {}};
}

}  // namespace lacuna::storage
