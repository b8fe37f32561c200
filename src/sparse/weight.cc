#include "sparse/weight.h"

#include <algorithm>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"

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

float nibble(DType type, std::byte pair, int64_t half) {
  int code = (int(pair) >> (half * 4)) & 15;
  return float(type == DType::kS4 && code >= 8 ? code - 16 : code);
}

// Code of one element (nibbles: rows of the last dimension start on a byte).
float code_at(const Tensor& values, int64_t offset) {
  const std::byte* raw = values.raw();
  DType type = values.dtype();
  if (bits_of(type) == 4) {
    int64_t cols = values.shape().empty() ? 1 : values.shape().back(), row_bytes = (cols + 1) / 2;
    int64_t row = offset / cols, col = offset % cols;
    return nibble(type, raw[row * row_bytes + col / 2], col % 2);
  }
  float out;
  convert_to_f32(type, raw + offset * (bits_of(type) / 8), 1, &out);
  return out;
}

// The codes of one row of the matrix view.
void row_codes(const Tensor& values, const MatrixView& view, int64_t row, float* out) {
  DType type = values.dtype();
  if (view.identity() && bits_of(type) >= 8) {
    convert_to_f32(type, values.raw() + row * view.cols * (bits_of(type) / 8), view.cols, out);
  } else if (view.identity() && values.rank() == 2) {
    const std::byte* pairs = values.raw() + row * ((view.cols + 1) / 2);
    for (int64_t c = 0; c < view.cols; c++) out[c] = nibble(type, pairs[c / 2], c % 2);
  } else {
    for (int64_t c = 0; c < view.cols; c++) out[c] = code_at(values, view.offset(row, c));
  }
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
      float zero = encoding_.has_zero_points ? zero_points_[i] : 0, scale = scales_[i];
      int64_t end = std::min(cols_, (g + 1) * group_);
      for (int64_t c = g * group_; c < end; c++) values[c] = (values[c] - zero) * scale;
      if (encoding_.has_minima)
        for (int64_t c = g * group_; c < end; c++) values[c] += minima_[i];
    }
  }

 private:
  static std::vector<float> part(const Tensor& tensor, int64_t begin, int64_t n) {
    std::vector<float> out(static_cast<size_t>(n));
    if (bits_of(tensor.dtype()) >= 8)
      convert_to_f32(tensor.dtype(), tensor.raw() + begin * (bits_of(tensor.dtype()) / 8), n, out.data());
    else
      for (int64_t i = 0; i < n; i++) out[size_t(i)] = code_at(tensor, begin + i);
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
    LACUNA_ASSERT(shape.size() == 2);
    rows = shape[1], cols = inner = shape[0];
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

void decode_rows(const Weight& weight, const WeightData& data, int64_t first, int64_t count, float* out) {
  MatrixView view(weight.layout, weight.shape);
  RowScales scales(weight.encoding, data, first, count, view.cols);
  for (int64_t r = 0; r < count; r++, out += view.cols) {
    row_codes(data.values, view, first + r, out);
    scales.apply(r, out);
    if (data.mask)
      for (int64_t c = 0; c < view.cols; c++)
        if (!data.mask->kept(first + r, c)) out[c] = 0;
  }
}

Tensor decode_f32(const Weight& weight, const WeightData& data) {
  if (weight.encoding.granularity == Encoding::Granularity::kNone && !data.mask) return data.values.to(DType::kF32);
  Tensor out(DType::kF32, weight.shape, false);
  auto values = out.mutable_data<float>();
  if (weight.layout == MatrixLayout::kNone) {
    LACUNA_ASSERT(weight.encoding.granularity == Encoding::Granularity::kTensor && !data.mask);
    for (int64_t i = 0; i < out.size(); i++) values[size_t(i)] = code_at(data.values, i);
    RowScales(weight.encoding, data, 0, 1, out.size()).apply(0, values.data());
    return out;
  }
  MatrixView view(weight.layout, weight.shape);
  if (view.identity()) {
    decode_rows(weight, data, 0, view.rows, values.data());
    return out;
  }
  std::vector<float> row(size_t(view.cols));
  for (int64_t r = 0; r < view.rows; r++) {
    decode_rows(weight, data, r, 1, row.data());
    for (int64_t c = 0; c < view.cols; c++) values[size_t(view.offset(r, c))] = row[size_t(c)];
  }
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

Mask mask_of_zeros(std::span<const float> values, int64_t rows, int64_t cols) {
  Mask mask(rows, cols, false);
  parallel_for(rows, [&](int64_t r) {
    auto words = mask.mutable_row(r);
    for (int64_t c = 0; c < cols; c++)
      if (values[size_t(r * cols + c)] != 0) words[size_t(c / 64)] |= uint64_t(1) << (c % 64);
  });
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
