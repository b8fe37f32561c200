#include "sparse/formats/codes.h"

namespace lacuna::storage {

Tensor pack_kept(const MaskedMatrix& matrix, const std::vector<int64_t>& before) {
  int64_t rows = matrix.mask.rows(), stride = row_stride(matrix.type, matrix.mask.cols());
  Tensor values(matrix.type, {before.back()});
  with_codes(matrix.type, matrix.codes, values, [&](auto codes, auto packed) {
    for_each_row(rows, is_nibble(matrix.type), [&](int64_t r) {
      int64_t at = before[size_t(r)];
      for_each_kept(matrix.mask.row(r), [&](int64_t c) { packed.set(at++, codes.get(r * stride + c)); });
    });
  });
  return values;
}

MaskedMatrix unpack_kept(DType type, Mask mask, const Tensor& values) {
  int64_t rows = mask.rows(), cols = mask.cols(), stride = row_stride(type, cols);
  MaskedMatrix matrix{type, std::move(mask), Tensor(type, {rows, cols})};
  auto before = kept_before(matrix.mask);
  with_codes(type, values, matrix.codes, [&](auto packed, auto codes) {
    for_each_row(rows, false, [&](int64_t r) {
      int64_t at = before[size_t(r)];
      for_each_kept(matrix.mask.row(r), [&](int64_t c) { codes.set(r * stride + c, packed.get(at++)); });
    });
  });
  return matrix;
}

}  // namespace lacuna::storage
