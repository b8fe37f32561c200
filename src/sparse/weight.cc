#include "sparse/weight.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "sparse/bits.h"

namespace lacuna {
namespace {

class InMemory : public WeightSource {
 public:
  explicit InMemory(WeightData data) : data_(std::move(data)) {}
  WeightData load() const override { return data_; }
  int64_t stored_bytes() const override {
    return int64_t(data_.values.size_bytes() + data_.scales.size_bytes() + data_.zero_points.size_bytes() + data_.minima.size_bytes());
  }

 private:
  WeightData data_;
};

int8_t nibble(DType type, std::byte pair, int64_t half) {
  int code = (int(pair) >> (half * 4)) & 15;
  return int8_t(type == DType::kS4 && code >= 8 ? code - 16 : code);
}

// One nibble (rows of the last dimension start on a byte).
int8_t nibble_at(const Tensor& codes, int64_t offset) {
  int64_t cols = codes.shape().empty() ? 1 : codes.shape().back(), row = offset / cols, col = offset % cols;
  return nibble(codes.dtype(), codes.raw()[row * ((cols + 1) / 2) + col / 2], col % 2);
}

// Rows of a view that is not the order of the source, of elements at(offset). Of a transposed matrix as many at a time as share the lines of
// the source, and few columns: both stay in L1.
template <class T, class At>
void gather_rows(const MatrixView& view, int64_t first, int64_t count, T* out, At at) {
  int64_t row_step = view.offset(1, 0) - view.offset(0, 0), col_step = view.inner > 1 ? view.offset(0, 1) - view.offset(0, 0) : 0;
  constexpr int64_t kColsTogether = 64;
  int64_t together = row_step == 1 ? 64 / int64_t(sizeof(T)) : 1;
  for (int64_t row = 0; row < count; row += together)
    for (int64_t start = 0; start < view.cols; start += view.inner) {
      int64_t from = view.offset(first + row, start), rows = std::min(together, count - row);
      T* to = out + row * view.cols + start;
      for (int64_t begin = 0; begin < view.inner; begin += kColsTogether)
        for (int64_t r = 0; r < rows; r++)
          for (int64_t c = begin; c < std::min(begin + kColsTogether, view.inner); c++)
            to[r * view.cols + c] = at(from + c * col_step + r * row_step);
    }
}

void unpack_nibbles(DType type, const std::byte* pairs, int64_t count, int8_t* out) {
  int flip = type == DType::kS4 ? 8 : 0;  // (code ^ 8) - 8 extends the sign
  for (int64_t i = 0; i < count / 2; i++) {
    out[2 * i] = int8_t(((int(pairs[i]) & 15) ^ flip) - flip);
    out[2 * i + 1] = int8_t(((int(pairs[i]) >> 4) ^ flip) - flip);
  }
  if (count % 2) out[count - 1] = nibble(type, pairs[count / 2], 0);
}

void clear_removed(std::span<const uint64_t> kept, int64_t cols, float* row) {
  for (int64_t first = 0; first < cols; first += 64) {
    uint64_t word = kept[size_t(first / 64)];
    if (!~word) continue;
    int8_t keep[64];
    bytes_of_bits(word, keep);
    float* values = row + first;
    for (int64_t i = 0; i < std::min<int64_t>(64, cols - first); i++) values[i] = std::bit_cast<float>(std::bit_cast<int32_t>(values[i]) & keep[i]);
  }
}

// Elements [begin, begin + n) in source order, as they are.
void floats_of(const Tensor& tensor, int64_t begin, int64_t n, float* out) {
  if (bits_of(tensor.dtype()) >= 8) return convert_to_f32(tensor.dtype(), tensor.raw() + begin * (bits_of(tensor.dtype()) / 8), n, out);
  for (int64_t i = 0; i < n; i++) out[i] = nibble_at(tensor, begin + i);
}

// Turns the codes of rows [first, first + count) into values. Only the scales of these rows are converted: callers go row by row.
class RowScales {
 public:
  RowScales(const Encoding& e, const WeightData& data, int64_t first, int64_t count, int64_t cols) : encoding_(e), cols_(cols) {
    using enum Encoding::Granularity;
    if (e.granularity == kNone) return;
    group_ = e.granularity == kGroup ? e.group : std::max<int64_t>(cols, 1);
    groups_ = (cols + group_ - 1) / group_;
    bool shared = e.granularity == kTensor;
    int64_t begin = shared ? 0 : first * groups_, n = shared ? 1 : count * groups_;
    row_stride_ = shared ? 0 : groups_;
    scales_ = part(data.scales, begin, n);
    if (e.has_zero_points) zero_points_ = part(data.zero_points, begin, n);
    if (e.has_minima) minima_ = part(data.minima, begin, n);
  }
  // `row` counts from `first`.
  void apply(int64_t row, float* values) const {
    for (int64_t g = 0; g < groups_; g++) {
      size_t i = size_t(row * row_stride_ + g);
      float zero = encoding_.has_zero_points ? zero_points_[i] : 0, scale = scales_[i], minimum = encoding_.has_minima ? minima_[i] : 0;
      int64_t end = std::min(cols_, (g + 1) * group_);
      for (int64_t c = g * group_; c < end; c++) values[c] = (values[c] - zero) * scale;
      if (encoding_.has_minima)
        for (int64_t c = g * group_; c < end; c++) values[c] += minimum;
    }
  }

 private:
  static std::vector<float> part(const Tensor& tensor, int64_t begin, int64_t n) {
    std::vector<float> out(static_cast<size_t>(n));
    floats_of(tensor, begin, n, out.data());
    return out;
  }
  const Encoding& encoding_;
  int64_t cols_, group_ = 0, groups_ = 0, row_stride_ = 0;
  std::vector<float> scales_, zero_points_, minima_;
};

}  // namespace

std::string_view name_of(MatrixLayout layout) noexcept {
  switch (layout) {
    case MatrixLayout::kNone: return "none";
    case MatrixLayout::kOutIn: return "out_in";
    case MatrixLayout::kInOut: return "in_out";
    case MatrixLayout::kConv: return "conv";
  }
  return "?";
}

MatrixView::MatrixView(MatrixLayout layout, std::span<const int64_t> shape) : layout_(layout) {
  LACUNA_ASSERT(layout != MatrixLayout::kNone && shape.size() >= 2);
  if (layout == MatrixLayout::kInOut) {
    rows = element_count(shape.subspan(1)), cols = inner = shape[0];
  } else if (layout == MatrixLayout::kOutIn) {  // [directions, out, in] of an LSTM: the rows of all directions
    rows = element_count(shape.first(shape.size() - 1));
    cols = inner = shape.back();
  } else {
    rows = shape[0];
    cols = element_count(shape.subspan(1));
    inner = shape[1];
  }
}

std::string to_string(const Encoding& encoding) {
  std::string out(name_of(encoding.values));
  using enum Encoding::Granularity;
  if (encoding.granularity == kNone) return out;
  out += encoding.granularity == kTensor ? " per-tensor" : encoding.granularity == kRow ? " per-row" : cat(" g", encoding.group);
  out += cat(" ", name_of(encoding.scales));
  if (encoding.has_zero_points) out += " zero-point";
  if (encoding.has_minima) out += " min";
  return out;
}

std::shared_ptr<const WeightSource> in_memory(WeightData data) { return std::make_shared<InMemory>(std::move(data)); }

CodeRows code_rows(const Tensor& values, const MatrixView& view, int64_t first, int64_t count, std::vector<std::byte>& scratch) {
  DType type = values.dtype();
  bool nibbles = bits_of(type) == 4;
  if (nibbles) type = type == DType::kS4 ? DType::kS8 : DType::kU8;
  int64_t bytes = bits_of(type) / 8;
  if (view.identity() && !nibbles) return {type, values.raw() + first * view.cols * bytes};
  scratch.resize(size_t(count * view.cols * bytes));
  auto gather = [&](auto element) {
    using T = decltype(element);
    gather_rows(view, first, count, reinterpret_cast<T*>(scratch.data()), [raw = values.raw()](int64_t offset) {
      T v;
      std::memcpy(&v, raw + offset * int64_t(sizeof v), sizeof v);
      return v;
    });
  };
  if (nibbles && view.identity() && values.shape().back() == view.cols) {
    for (int64_t r = 0; r < count; r++)
      unpack_nibbles(values.dtype(), values.raw() + (first + r) * ((view.cols + 1) / 2), view.cols,
                     reinterpret_cast<int8_t*>(scratch.data()) + r * view.cols);
  } else if (nibbles) {
    gather_rows(view, first, count, reinterpret_cast<int8_t*>(scratch.data()), [&](int64_t offset) { return nibble_at(values, offset); });
  } else if (bytes == 1) {
    gather(uint8_t{});
  } else if (bytes == 2) {
    gather(uint16_t{});
  } else if (bytes == 4) {
    gather(uint32_t{});
  } else {
    gather(uint64_t{});
  }
  return {type, scratch.data()};
}

void decode_rows(const Weight& weight, const WeightData& data, int64_t first, int64_t count, float* out) {
  MatrixView view(weight.layout, weight.shape);
  RowScales scales(weight.encoding, data, first, count, view.cols);
  std::vector<std::byte> scratch;
  CodeRows codes = code_rows(data.values, view, first, count, scratch);
  for (int64_t r = 0; r < count; r++, out += view.cols) {
    convert_to_f32(codes.type, codes.data + r * view.cols * (bits_of(codes.type) / 8), view.cols, out);
    scales.apply(r, out);
    if (data.mask) clear_removed(data.mask->row(first + r), view.cols, out);
  }
}

Tensor decode_f32(const Weight& weight, const WeightData& data) {
  if (weight.encoding.granularity == Encoding::Granularity::kNone && !data.mask) return data.values.to(DType::kF32);
  Tensor out(DType::kF32, weight.shape, false);
  auto values = out.mutable_data<float>();
  if (weight.layout == MatrixLayout::kNone) {
    LACUNA_ASSERT(weight.encoding.granularity == Encoding::Granularity::kTensor && !data.mask);
    floats_of(data.values, 0, out.size(), values.data());
    RowScales(weight.encoding, data, 0, 1, out.size()).apply(0, values.data());
    return out;
  }
  MatrixView view(weight.layout, weight.shape);
  constexpr int64_t kRowsPerTile = 16;
  parallel_for((view.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile) {
    int64_t first = tile * kRowsPerTile, count = std::min(kRowsPerTile, view.rows - first);
    if (view.identity()) return decode_rows(weight, data, first, count, values.data() + first * view.cols);
    std::vector<float> rows(size_t(count * view.cols));
    decode_rows(weight, data, first, count, rows.data());
    for (int64_t c = 0; c < view.cols; c++)
      for (int64_t r = 0; r < count; r++) values[size_t(view.offset(first + r, c))] = rows[size_t(r * view.cols + c)];
  });
  return out;
}

WeightId WeightTable::add(Weight weight) {
  if (!ids_.try_emplace(weight.name, WeightId(weights_.size())).second) throw InvalidData(cat("two weights are named '", weight.name, "'"));
  weights_.push_back(std::move(weight));
  return WeightId(weights_.size() - 1);
}

WeightId WeightTable::find(std::string_view name) const {
  auto it = ids_.find(name);
  return it == ids_.end() ? -1 : it->second;
}

void keep_nonzero(const float* row, Mask& mask, int64_t r) {
  auto words = mask.mutable_row(r);
  for (int64_t c = 0; c < mask.cols(); c += 64) words[size_t(c / 64)] = nonzero_bits(row + c, std::min<int64_t>(64, mask.cols() - c));
}

Mask mask_of_zeros(std::span<const float> values, int64_t rows, int64_t cols) {
  Mask mask(rows, cols, false);
  parallel_for(rows, [&](int64_t r) { keep_nonzero(values.data() + r * cols, mask, r); });
  return mask;
}

std::optional<Mask> mask_of_pruned(const Weight& weight, std::span<const float> values) {
  constexpr double kPrunedShare = 0.1;
  if (weight.encoding.granularity != Encoding::Granularity::kNone) return std::nullopt;
  MatrixView view(weight.layout, weight.shape);
  Mask mask = mask_of_zeros(values, view.rows, view.cols);
  return mask.sparsity() >= kPrunedShare ? std::optional(std::move(mask)) : std::nullopt;
}

}  // namespace lacuna
