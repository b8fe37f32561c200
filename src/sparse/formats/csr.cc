// row_offsets  [rows + 1]  where each row begins in the other two; smallest unsigned type that holds the number of kept weights
// indices      [kept]      column of each kept code, ascending in a row; smallest unsigned type that holds cols - 1
// values       [kept]      the kept codes, row by row
#include "base/cat.h"
#include "sparse/formats/codes.h"
#include "sparse/formats/parts.h"

namespace lacuna {
Format csr_format();
namespace {
using namespace storage;

std::optional<std::string> refuses(const MaskedMatrix&, const FormatParameters&) { return std::nullopt; }

int64_t bytes_of_count(int64_t rows, int64_t cols, DType type, int64_t kept) {
  return (rows + 1) * index_bytes(kept) + kept * index_bytes(cols - 1) + packed_bytes(type, kept);
}
int64_t size_bytes(const MaskedMatrix& matrix, const FormatParameters&) {
  return bytes_of_count(matrix.mask.rows(), matrix.mask.cols(), matrix.type, matrix.mask.count_kept());
}

EncodedMatrix encode(const MaskedMatrix& matrix, const FormatParameters&) {
  EncodedMatrix out = header_of(csr_format(), matrix);
  auto before = kept_before(matrix.mask);
  Tensor indices(index_type(out.cols - 1), {before.back()}, false);
  IndexWriter columns(indices);
  for_each_row(out.rows, false, [&](int64_t r) {
    int64_t at = before[size_t(r)];
    for_each_kept(matrix.mask.row(r), [&](int64_t c) { columns.set(at++, c); });
  });
  out.parts["row_offsets"] = pack_indices(before, before.back());
  out.parts["indices"] = indices;
  out.parts["values"] = pack_kept(matrix, before);
  return out;
}

void validate(const EncodedMatrix& encoded) {
  check_parts(encoded, {"row_offsets", "indices", "values"});
  check_offsets(encoded, "row_offsets", encoded.rows, checked_value_count(encoded));
  check_indices(encoded, "indices", "row_offsets", encoded.rows, encoded.cols);
}

MaskedMatrix decode(const EncodedMatrix& encoded) {
  Mask mask(encoded.rows, encoded.cols, false);
  Indices offsets(encoded.parts.at("row_offsets")), indices(encoded.parts.at("indices"));
  for_each_row(encoded.rows, false, [&](int64_t r) {
    for (auto k = int64_t(offsets[r]); k < int64_t(offsets[r + 1]); k++) mask.set(r, int64_t(indices[k]), true);
  });
  return unpack_kept(encoded.type, std::move(mask), encoded.parts.at("values"));
}

}  // namespace

Format csr_format() {
  return {"csr", "compressed rows: a column index and a code per kept weight", false, refuses, size_bytes, encode, validate, decode, bytes_of_count};
}

}  // namespace lacuna
