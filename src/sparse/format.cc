#include "sparse/format.h"

#include <algorithm>
#include <cstring>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "sparse/formats/codes.h"
#include "sparse/pattern.h"

namespace lacuna {

#define FORMAT(name) Format name##_format();
#include "sparse/formats.def"
#undef FORMAT

namespace {

// Elements of the source tensor are numbered as if unpadded; nibble rows of the last dimension start on a byte.
struct SourceOrder {
  int64_t last, stride;
  SourceOrder(DType type, const Shape& shape) : last(shape.back()), stride(storage::row_stride(type, shape.back())) {}
  int64_t operator()(int64_t offset) const { return stride == last ? offset : offset / last * stride + offset % last; }
};

}  // namespace

bool MaskedMatrix::operator==(const MaskedMatrix& other) const {
  return type == other.type && mask == other.mask && codes.dtype() == other.codes.dtype() && codes.shape() == other.codes.shape() &&
         (codes.size_bytes() == 0 || std::memcmp(codes.raw(), other.codes.raw(), codes.size_bytes()) == 0);
}

MaskedMatrix masked_matrix(const Weight& weight, const WeightData& data) {
  MatrixView view(weight.layout, weight.shape);
  DType type = data.values.dtype();
  MaskedMatrix out{type, data.mask ? *data.mask : Mask(view.rows, view.cols, true), {}};
  if (!data.mask && view.identity() && weight.shape.size() == 2) {
    out.codes = data.values;
    return out;
  }
  out.codes = Tensor(type, {view.rows, view.cols});
  int64_t stride = storage::row_stride(type, view.cols);
  SourceOrder source(type, weight.shape);
  storage::with_codes(type, data.values, out.codes, [&](auto from, auto to) {
    storage::for_each_row(view.rows, false, [&](int64_t r) {
      storage::for_each_kept(out.mask.row(r), [&](int64_t c) { to.set(r * stride + c, from.get(source(view.offset(r, c)))); });
    });
  });
  return out;
}

Tensor source_order(const Weight& weight, const Tensor& codes) {
  MatrixView view(weight.layout, weight.shape);
  if (view.identity() && (weight.shape.size() == 2 || bits_of(codes.dtype()) >= 8)) return codes.reshaped(weight.shape);
  Tensor out(codes.dtype(), weight.shape);
  int64_t stride = storage::row_stride(codes.dtype(), view.cols);
  SourceOrder source(codes.dtype(), weight.shape);
  // Rows are neighbours in a transposed matrix: 64 at a time.
  constexpr int64_t kRowsPerTile = 64;
  int64_t tiles = (view.rows + kRowsPerTile - 1) / kRowsPerTile, row_step = view.offset(1, 0) - view.offset(0, 0);
  storage::with_codes(codes.dtype(), codes, out, [&](auto from, auto to) {
    auto scatter = [&](int64_t tile) {
      int64_t first = tile * kRowsPerTile, count = std::min(kRowsPerTile, view.rows - first);
      for (int64_t c = 0; c < view.cols; c++) {
        int64_t offset = view.offset(first, c);
        for (int64_t r = 0; r < count; r++) to.set(source(offset + r * row_step), from.get((first + r) * stride + c));
      }
    };
    if (storage::is_nibble(codes.dtype()))  // rows may share bytes
      for (int64_t tile = 0; tile < tiles; tile++) scatter(tile);
    else
      parallel_for(tiles, scatter);
  });
  return out;
}

int64_t EncodedMatrix::size_bytes() const {
  int64_t size = 0;
  for (const auto& [name, tensor] : parts) size += int64_t(tensor.size_bytes());
  return size;
}

std::span<const Format> formats() {
#define FORMAT(name) name##_format(),
  static const Format table[] = {
#include "sparse/formats.def"
  };
#undef FORMAT
  return table;
}

const Format& format_named(std::string_view name) {
  std::vector<std::string> known;
  for (const Format& format : formats()) {
    if (format.name == name) return format;
    known.emplace_back(format.name);
  }
  throw InvalidArgument(cat("unknown storage format '", name, "'; known are ", join(known)));
}

FormatChoice smallest_format(const MaskedMatrix& matrix, std::string_view pattern, int64_t inner, std::vector<FormatChoice>* all) {
  FormatParameters parameters{.inner = inner};
  if (!pattern.empty() && pattern != "dense") parameters = parse_pattern(pattern)->format_parameters(inner);
  std::optional<FormatChoice> best;
  for (const Format& format : formats()) {
    if (format.interchange_only || format.refuses(matrix, parameters)) continue;
    FormatChoice choice{&format, parameters, format.size_bytes(matrix, parameters)};
    if (!best || choice.size_bytes < best->size_bytes) best = choice;
    if (all) all->push_back(choice);
  }
  return *best;
}

}  // namespace lacuna
