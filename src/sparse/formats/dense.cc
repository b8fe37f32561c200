// values      [rows, cols]  every code, row by row; zero bytes where not kept
// kept_zeros  [n]           only if some weights are not kept: row * cols + col of each kept weight whose code is zero, ascending
//
// The mask needs no bits of its own: where anything is removed, a weight is kept if its code is not zero or it is listed.
#include <algorithm>
#include <bit>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "sparse/formats/codes.h"
#include "sparse/formats/parts.h"

namespace lacuna {
Format dense_format();
namespace {
using namespace storage;

template <class T>
bool is_zero(Codes<T> codes, int64_t i) {
  return codes.get(i) == 0;
}

template <class F>
void with_read(const Tensor& codes, F&& f) {
  Tensor none(codes.dtype(), {0});
  with_codes(codes.dtype(), codes, none, [&](auto from, auto) { f(from); });
}

// The removed weights must be zero codes, or decoding would bring them back.
std::vector<int64_t> kept_zeros(const MaskedMatrix& matrix) {
  int64_t rows = matrix.mask.rows(), cols = matrix.mask.cols(), stride = row_stride(matrix.type, cols);
  constexpr int64_t kRowsPerTile = 64;
  std::vector<std::vector<int64_t>> found(size_t((rows + kRowsPerTile - 1) / kRowsPerTile));
  with_read(matrix.codes, [&](auto codes) {
    parallel_for(int64_t(found.size()), [&](int64_t tile) {
      for (int64_t r = tile * kRowsPerTile; r < std::min(rows, (tile + 1) * kRowsPerTile); r++) {
        auto words = matrix.mask.row(r);
        for (int64_t c = 0; c < cols; c += 64) {
          uint64_t zero = 0, kept = words[size_t(c / 64)];
          int64_t count = std::min<int64_t>(64, cols - c);
          for (int64_t i = 0; i < count; i++) zero |= uint64_t(is_zero(codes, r * stride + c + i)) << i;
          LACUNA_ASSERT((zero | kept) == (count == 64 ? ~uint64_t(0) : (uint64_t(1) << count) - 1));
          for (uint64_t both = zero & kept; both; both &= both - 1) found[size_t(tile)].push_back(r * cols + c + std::countr_zero(both));
        }
      }
    });
  });
  std::vector<int64_t> all;
  for (auto& part : found) all.insert(all.end(), part.begin(), part.end());
  return all;
}

bool all_kept(const Mask& mask) { return mask.count_kept() == mask.rows() * mask.cols(); }

std::optional<std::string> refuses(const MaskedMatrix&, const FormatParameters&) { return std::nullopt; }

int64_t size_bytes(const MaskedMatrix& matrix, const FormatParameters&) {
  int64_t rows = matrix.mask.rows(), cols = matrix.mask.cols(), size = rows * packed_bytes(matrix.type, cols);
  return all_kept(matrix.mask) ? size : size + int64_t(kept_zeros(matrix).size()) * index_bytes(rows * cols - 1);
}

EncodedMatrix encode(const MaskedMatrix& matrix, const FormatParameters&) {
  EncodedMatrix out = header_of(dense_format(), matrix);
  out.parts["values"] = matrix.codes;
  if (!all_kept(matrix.mask)) out.parts["kept_zeros"] = pack_indices(kept_zeros(matrix), out.rows * out.cols - 1);
  return out;
}

void check_kept_zeros(const EncodedMatrix& encoded, const Tensor& values) {
  const Tensor& part = encoded.parts.at("kept_zeros");
  int64_t total = encoded.rows * encoded.cols, stride = row_stride(encoded.type, encoded.cols), zeros = 0;
  Indices listed(checked_part(encoded, "kept_zeros", index_type(total - 1), {part.size()}));
  with_read(values, [&](auto codes) {
    for (int64_t k = 0; k < listed.size(); k++) {
      if (listed[k] >= uint64_t(total)) reject(encoded, "kept_zeros", cat("entry ", k, " is ", listed[k], ", below ", total, " expected"));
      if (k > 0 && listed[k] <= listed[k - 1])
        reject(encoded, "kept_zeros", cat("entry ", k, " does not ascend: ", listed[k], " after ", listed[k - 1]));
      int64_t at = int64_t(listed[k]);
      if (!is_zero(codes, at / encoded.cols * stride + at % encoded.cols))
        reject(encoded, "kept_zeros", cat("entry ", k, " lists a code that is not zero"));
    }
    for (int64_t r = 0; r < encoded.rows; r++)
      for (int64_t c = 0; c < encoded.cols; c++) zeros += is_zero(codes, r * stride + c);
  });
  if (listed.size() == zeros) reject(encoded, "kept_zeros", "lists every zero: nothing is removed, so the part must be absent");
}

void validate(const EncodedMatrix& encoded) {
  check_parts(encoded, {"values"}, {"kept_zeros"});
  const Tensor& values = checked_part(encoded, "values", encoded.type, {encoded.rows, encoded.cols});
  if (is_nibble(encoded.type) && encoded.cols % 2)
    for (int64_t r = 0; r < encoded.rows; r++)
      if (uint8_t(values.raw()[(r + 1) * ((encoded.cols + 1) / 2) - 1]) >> 4)
        reject(encoded, "values", cat("row ", r, " ends in a spare nibble that is not zero"));
  if (encoded.parts.contains("kept_zeros")) check_kept_zeros(encoded, values);
}

MaskedMatrix decode(const EncodedMatrix& encoded) {
  const Tensor& values = encoded.parts.at("values");
  MaskedMatrix matrix{encoded.type, Mask(encoded.rows, encoded.cols, true), values};
  auto listed = encoded.parts.find("kept_zeros");
  if (listed == encoded.parts.end()) return matrix;
  int64_t stride = row_stride(encoded.type, encoded.cols);
  with_read(values, [&](auto codes) {
    for_each_row(encoded.rows, false, [&](int64_t r) {
      for (int64_t c = 0; c < encoded.cols; c++)
        if (is_zero(codes, r * stride + c)) matrix.mask.set(r, c, false);
    });
  });
  Indices kept(listed->second);
  for (int64_t k = 0; k < kept.size(); k++) matrix.mask.set(int64_t(kept[k]) / encoded.cols, int64_t(kept[k]) % encoded.cols, true);
  return matrix;
}

}  // namespace

Format dense_format() {
  return {"dense", "every code; the mask is where codes are not zero, exceptions listed", false, refuses, size_bytes, encode, validate, decode};
}

}  // namespace lacuna
