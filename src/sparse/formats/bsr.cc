// row_offsets  [block_rows + 1]  where each row of blocks begins in the other two; smallest unsigned type that holds the number of blocks
// indices      [blocks]          block column of each kept block, ascending in a row; smallest unsigned type that holds block_cols - 1
// values       [blocks, R * C]   its codes, row by row; 4-bit blocks start on a byte
//
// Blocks restart every `inner` columns. A block over the last rows, or the last columns of a stretch, is stored whole: the codes outside are zero.
// A block is kept or removed as one; a mask that cuts through a block is refused.
#include "base/cat.h"
#include "lacuna/error.h"
#include "sparse/bits.h"
#include "sparse/formats/codes.h"
#include "sparse/formats/parts.h"

namespace lacuna {
Format bsr_format();
namespace {
using namespace storage;

struct Layout {
  int64_t rows, block_rows_high, cols_wide;  // R, C
  int64_t inner, per_stretch;                // blocks in a stretch of `inner` columns
  int64_t block_rows, block_cols;            // of the matrix

  Layout(const FormatParameters& p, int64_t matrix_rows, int64_t cols)
      : rows(matrix_rows), block_rows_high(p.block_rows), cols_wide(p.block_cols), inner(p.inner ? p.inner : cols) {
    per_stretch = (inner + cols_wide - 1) / cols_wide;
    block_rows = (rows + block_rows_high - 1) / block_rows_high;
    block_cols = inner ? cols / inner * per_stretch : 0;
  }
  int64_t area() const { return block_rows_high * cols_wide; }
  int64_t height(int64_t block_row) const { return std::min(block_rows_high, rows - block_row * block_rows_high); }
  int64_t first_col(int64_t block_col) const { return block_col / per_stretch * inner + block_col % per_stretch * cols_wide; }
  int64_t width(int64_t block_col) const { return std::min(cols_wide, inner - block_col % per_stretch * cols_wide); }
};

std::optional<std::string> bad_parameters(const FormatParameters& p, int64_t cols) {
  if (p.block_rows < 1 || p.block_cols < 1 || p.block_rows > kLargestBlockSide || p.block_cols > kLargestBlockSide)
    return cat("block is ", p.block_rows, "x", p.block_cols, ", sides from 1 to ", kLargestBlockSide, " expected");
  if (p.inner < 0 || (p.inner && cols % p.inner)) return cat("inner is ", p.inner, ", a divisor of ", cols, " columns expected");
  return std::nullopt;
}

// Kept weights of a block.
int64_t kept_in(const Mask& mask, const Layout& layout, int64_t block_row, int64_t block_col) {
  int64_t kept = 0, first = block_row * layout.block_rows_high;
  for (int64_t r = first; r < first + layout.height(block_row); r++)
    kept += count_bits(mask.row(r), layout.first_col(block_col), layout.width(block_col));
  return kept;
}
bool is_kept(const Mask& mask, const Layout& layout, int64_t block_row, int64_t block_col) {
  return mask.kept(block_row * layout.block_rows_high, layout.first_col(block_col));
}

std::optional<std::string> refuses(const MaskedMatrix& matrix, const FormatParameters& p) {
  if (auto problem = bad_parameters(p, matrix.mask.cols())) return problem;
  Layout layout(p, matrix.mask.rows(), matrix.mask.cols());
  for (int64_t i = 0; i < layout.block_rows; i++)
    for (int64_t j = 0; j < layout.block_cols; j++) {
      int64_t kept = kept_in(matrix.mask, layout, i, j), size = layout.height(i) * layout.width(j);
      if (kept != 0 && kept != size)
        return cat("the block at row ", i * p.block_rows, ", column ", layout.first_col(j), " keeps ", kept, " of ", size, ", all or none expected");
    }
  return std::nullopt;
}

std::vector<int64_t> blocks_before(const Mask& mask, const Layout& layout) {
  std::vector<int64_t> before(size_t(layout.block_rows) + 1, 0);
  for (int64_t i = 0; i < layout.block_rows; i++) {
    int64_t kept = 0;
    for (int64_t j = 0; j < layout.block_cols; j++) kept += is_kept(mask, layout, i, j);
    before[size_t(i) + 1] = before[size_t(i)] + kept;
  }
  return before;
}

int64_t size_bytes(const MaskedMatrix& matrix, const FormatParameters& p) {
  Layout layout(p, matrix.mask.rows(), matrix.mask.cols());
  int64_t blocks = blocks_before(matrix.mask, layout).back();
  return (layout.block_rows + 1) * index_bytes(blocks) + blocks * (index_bytes(layout.block_cols - 1) + packed_bytes(matrix.type, layout.area()));
}

// Calls f(offset in the block, row, column) for each weight of a block that lies in the matrix.
template <class F>
void for_each_weight(const Layout& layout, int64_t block_row, int64_t block_col, F&& f) {
  for (int64_t y = 0; y < layout.height(block_row); y++)
    for (int64_t x = 0; x < layout.width(block_col); x++)
      f(y * layout.cols_wide + x, block_row * layout.block_rows_high + y, layout.first_col(block_col) + x);
}

EncodedMatrix encode(const MaskedMatrix& matrix, const FormatParameters& p) {
  require_accepts(bsr_format(), matrix, p);
  EncodedMatrix out = header_of(bsr_format(), matrix, {.inner = p.inner, .block_rows = p.block_rows, .block_cols = p.block_cols});
  Layout layout(p, out.rows, out.cols);
  auto before = blocks_before(matrix.mask, layout);
  Tensor indices(index_type(layout.block_cols - 1), {before.back()}, false), values(out.type, {before.back(), layout.area()});
  IndexWriter columns(indices);
  int64_t stride = row_stride(out.type, out.cols), block_stride = row_stride(out.type, layout.area());
  with_codes(out.type, matrix.codes, values, [&](auto codes, auto packed) {
    for_each_row(layout.block_rows, false, [&](int64_t i) {
      int64_t at = before[size_t(i)];
      for (int64_t j = 0; j < layout.block_cols; j++) {
        if (!is_kept(matrix.mask, layout, i, j)) continue;
        columns.set(at, j);
        for_each_weight(layout, i, j, [&](int64_t k, int64_t r, int64_t c) { packed.set(at * block_stride + k, codes.get(r * stride + c)); });
        at++;
      }
    });
  });
  out.parts["row_offsets"] = pack_indices(before, before.back());
  out.parts["indices"] = indices;
  out.parts["values"] = values;
  return out;
}

void check_outside_is_zero(const EncodedMatrix& encoded, const Layout& layout, const Tensor& values) {
  Indices offsets(encoded.parts.at("row_offsets")), indices(encoded.parts.at("indices"));
  Tensor none(encoded.type, {0});
  int64_t block_stride = row_stride(encoded.type, layout.area());
  with_codes(encoded.type, values, none, [&](auto packed, auto) {
    for (int64_t i = 0; i < layout.block_rows; i++)
      for (auto b = int64_t(offsets[i]); b < int64_t(offsets[i + 1]); b++) {
        int64_t height = layout.height(i), width = layout.width(int64_t(indices[b]));
        for (int64_t k = 0; k < block_stride; k++)
          if ((k >= layout.area() || k / layout.cols_wide >= height || k % layout.cols_wide >= width) && packed.get(b * block_stride + k) != 0)
            reject(encoded, "values", cat("block ", b, " holds a code outside the matrix that is not zero"));
      }
  });
}

void validate(const EncodedMatrix& encoded) {
  check_parts(encoded, {"row_offsets", "indices", "values"});
  FormatParameters p = encoded.parameters;
  if (auto problem = bad_parameters(p, encoded.cols)) throw InvalidData(cat("bsr: ", *problem));
  Layout layout(p, encoded.rows, encoded.cols);
  const Tensor& part = encoded.parts.at("values");
  int64_t blocks = part.rank() > 0 ? part.dim(0) : 0;
  const Tensor& values = checked_part(encoded, "values", encoded.type, {blocks, layout.area()});
  check_offsets(encoded, "row_offsets", layout.block_rows, blocks);
  check_indices(encoded, "indices", "row_offsets", layout.block_rows, layout.block_cols);
  check_outside_is_zero(encoded, layout, values);
}

MaskedMatrix decode(const EncodedMatrix& encoded) {
  MaskedMatrix matrix{encoded.type, Mask(encoded.rows, encoded.cols, false), Tensor(encoded.type, {encoded.rows, encoded.cols})};
  Layout layout(encoded.parameters, encoded.rows, encoded.cols);
  Indices offsets(encoded.parts.at("row_offsets")), indices(encoded.parts.at("indices"));
  int64_t stride = row_stride(encoded.type, encoded.cols), block_stride = row_stride(encoded.type, layout.area());
  with_codes(encoded.type, encoded.parts.at("values"), matrix.codes, [&](auto packed, auto codes) {
    for_each_row(layout.block_rows, false, [&](int64_t i) {
      for (auto b = int64_t(offsets[i]); b < int64_t(offsets[i + 1]); b++)
        for_each_weight(layout, i, int64_t(indices[b]), [&](int64_t k, int64_t r, int64_t c) {
          matrix.mask.set(r, c, true);
          codes.set(r * stride + c, packed.get(b * block_stride + k));
        });
    });
  });
  return matrix;
}

}  // namespace

Format bsr_format() { return {"bsr", "compressed rows of blocks of R x C codes", false, refuses, size_bytes, encode, validate, decode}; }

}  // namespace lacuna
