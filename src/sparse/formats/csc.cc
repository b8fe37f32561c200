// col_offsets  [cols + 1]  where each column begins in the other two; smallest unsigned type that holds the number of kept weights
// indices      [kept]      row of each kept code, ascending in a column; smallest unsigned type that holds rows - 1
// values       [kept]      the kept codes, column by column
#include "base/cat.h"
#include "sparse/formats/codes.h"
#include "sparse/formats/parts.h"

namespace lacuna {
Format csc_format();
namespace {
using namespace storage;

std::optional<std::string> refuses(const MaskedMatrix&, const FormatParameters&) { return std::nullopt; }

int64_t bytes_of_count(int64_t rows, int64_t cols, DType type, int64_t kept) {
  return (cols + 1) * index_bytes(kept) + kept * index_bytes(rows - 1) + packed_bytes(type, kept);
}
int64_t size_bytes(const MaskedMatrix& matrix, const FormatParameters&) {
  return bytes_of_count(matrix.mask.rows(), matrix.mask.cols(), matrix.type, matrix.mask.count_kept());
}

EncodedMatrix encode(const MaskedMatrix& matrix, const FormatParameters&) {
  EncodedMatrix out = header_of(csc_format(), matrix);
  std::vector<int64_t> offsets(size_t(out.cols) + 1, 0);
  for (int64_t r = 0; r < out.rows; r++) for_each_kept(matrix.mask.row(r), [&](int64_t c) { offsets[size_t(c) + 1]++; });
  for (size_t c = 0; c < size_t(out.cols); c++) offsets[c + 1] += offsets[c];
  Tensor indices(index_type(out.rows - 1), {offsets.back()}, false), values(out.type, {offsets.back()});
  IndexWriter rows(indices);
  auto next = offsets;
  int64_t stride = row_stride(out.type, out.cols);
  with_codes(out.type, matrix.codes, values, [&](auto codes, auto packed) {
    for (int64_t r = 0; r < out.rows; r++)
      for_each_kept(matrix.mask.row(r), [&](int64_t c) {
        int64_t at = next[size_t(c)]++;
        rows.set(at, r);
        packed.set(at, codes.get(r * stride + c));
      });
  });
  out.parts["col_offsets"] = pack_indices(offsets, offsets.back());
  out.parts["indices"] = indices;
  out.parts["values"] = values;
  return out;
}

void validate(const EncodedMatrix& encoded) {
  check_parts(encoded, {"col_offsets", "indices", "values"});
  check_offsets(encoded, "col_offsets", encoded.cols, checked_value_count(encoded));
  check_indices(encoded, "indices", "col_offsets", encoded.cols, encoded.rows);
}

MaskedMatrix decode(const EncodedMatrix& encoded) {
  MaskedMatrix matrix{encoded.type, Mask(encoded.rows, encoded.cols, false), Tensor(encoded.type, {encoded.rows, encoded.cols})};
  Indices offsets(encoded.parts.at("col_offsets")), indices(encoded.parts.at("indices"));
  int64_t stride = row_stride(encoded.type, encoded.cols);
  with_codes(encoded.type, encoded.parts.at("values"), matrix.codes, [&](auto packed, auto codes) {
    for (int64_t c = 0; c < encoded.cols; c++)
      for (auto k = int64_t(offsets[c]); k < int64_t(offsets[c + 1]); k++) {
        matrix.mask.set(int64_t(indices[k]), c, true);
        codes.set(int64_t(indices[k]) * stride + c, packed.get(k));
      }
  });
  return matrix;
}

}  // namespace

Format csc_format() { return {"csc", "compressed columns, for interchange", true, refuses, size_bytes, encode, validate, decode, bytes_of_count}; }

}  // namespace lacuna
