// row_indices  [kept]  row of each kept code; smallest unsigned type that holds rows - 1
// col_indices  [kept]  its column; smallest unsigned type that holds cols - 1
// values       [kept]  the kept codes; row by row, columns ascending
#include "base/cat.h"
#include "sparse/formats/codes.h"
#include "sparse/formats/parts.h"

namespace lacuna {
Format coo_format();
namespace {
using namespace storage;

std::optional<std::string> refuses(const MaskedMatrix&, const FormatParameters&) { return std::nullopt; }

int64_t bytes_of_count(int64_t rows, int64_t cols, DType type, int64_t kept) {
  return kept * (index_bytes(rows - 1) + index_bytes(cols - 1)) + packed_bytes(type, kept);
}
int64_t size_bytes(const MaskedMatrix& matrix, const FormatParameters&) {
  return bytes_of_count(matrix.mask.rows(), matrix.mask.cols(), matrix.type, matrix.mask.count_kept());
}

EncodedMatrix encode(const MaskedMatrix& matrix, const FormatParameters&) {
  EncodedMatrix out = header_of(coo_format(), matrix);
  auto before = kept_before(matrix.mask);
  Tensor row_indices(index_type(out.rows - 1), {before.back()}, false), col_indices(index_type(out.cols - 1), {before.back()}, false);
  IndexWriter rows(row_indices), columns(col_indices);
  for_each_row(out.rows, false, [&](int64_t r) {
    int64_t at = before[size_t(r)];
    for_each_kept(matrix.mask.row(r), [&](int64_t c) {
      rows.set(at, r);
      columns.set(at++, c);
    });
  });
  out.parts["row_indices"] = row_indices;
  out.parts["col_indices"] = col_indices;
  out.parts["values"] = pack_kept(matrix, before);
  return out;
}

void validate(const EncodedMatrix& encoded) {
  check_parts(encoded, {"row_indices", "col_indices", "values"});
  int64_t kept = checked_value_count(encoded);
  Indices rows(checked_part(encoded, "row_indices", index_type(encoded.rows - 1), {kept}));
  Indices columns(checked_part(encoded, "col_indices", index_type(encoded.cols - 1), {kept}));
  for (int64_t k = 0; k < kept; k++) {
    if (rows[k] >= uint64_t(encoded.rows)) reject(encoded, "row_indices", cat("entry ", k, " is ", rows[k], ", below ", encoded.rows, " expected"));
    if (columns[k] >= uint64_t(encoded.cols))
      reject(encoded, "col_indices", cat("entry ", k, " is ", columns[k], ", below ", encoded.cols, " expected"));
    if (k == 0) continue;
    if (rows[k] < rows[k - 1]) reject(encoded, "row_indices", cat("entry ", k, " descends: ", rows[k], " after ", rows[k - 1]));
    if (rows[k] == rows[k - 1] && columns[k] <= columns[k - 1])
      reject(encoded, "col_indices", cat("entry ", k, " does not ascend: ", columns[k], " after ", columns[k - 1]));
  }
}

MaskedMatrix decode(const EncodedMatrix& encoded) {
  Mask mask(encoded.rows, encoded.cols, false);
  Indices rows(encoded.parts.at("row_indices")), columns(encoded.parts.at("col_indices"));
  for (int64_t k = 0; k < rows.size(); k++) mask.set(int64_t(rows[k]), int64_t(columns[k]), true);
  return unpack_kept(encoded.type, std::move(mask), encoded.parts.at("values"));
}

}  // namespace

Format coo_format() {
  return {"coo", "a row, a column and a code per kept weight, for interchange", true, refuses, size_bytes, encode, validate, decode, bytes_of_count};
}

}  // namespace lacuna
