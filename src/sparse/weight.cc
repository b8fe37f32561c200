#include "sparse/weight.h"

#include <algorithm>

#include "base/cat.h"
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

// Code of element i of a row that starts at `row` elements (nibbles: rows of `cols` elements start on a byte).
float code_at(const Tensor& values, int64_t offset) {
  const std::byte* raw = values.raw();
  DType type = values.dtype();
  if (bits_of(type) == 4) {
    int64_t cols = values.shape().empty() ? 1 : values.shape().back(), row_bytes = (cols + 1) / 2;
    int64_t row = offset / cols, col = offset % cols;
    int nibble = (int(raw[row * row_bytes + col / 2]) >> (col % 2 * 4)) & 15;
    return float(type == DType::kS4 && nibble >= 8 ? nibble - 16 : nibble);
  }
  float out;
  convert_to_f32(type, raw + offset * (bits_of(type) / 8), 1, &out);
  return out;
}

// The codes of one row of `cols` that lie in order in the source.
void read_codes(const Tensor& values, int64_t row, int64_t cols, float* out) {
  DType type = values.dtype();
  if (bits_of(type) != 4) return convert_to_f32(type, values.raw() + row * cols * (bits_of(type) / 8), cols, out);
  int64_t last = values.shape().empty() ? 1 : values.shape().back();
  if (last != cols) {
    for (int64_t c = 0; c < cols; c++) out[c] = code_at(values, row * cols + c);
    return;
  }
  const std::byte* raw = values.raw() + row * ((cols + 1) / 2);
  int bias = type == DType::kS4 ? 8 : 0;
  for (int64_t c = 0; c < cols; c++) out[c] = float((((int(raw[c / 2]) >> (c % 2 * 4)) & 15) ^ bias) - bias);
}

struct ScaleReader {
  const Encoding& encoding;
  Tensor scales, zero_points, minima;
  int64_t groups_per_row;

  ScaleReader(const Encoding& e, const WeightData& data, int64_t cols) : encoding(e), groups_per_row(e.group ? (cols + e.group - 1) / e.group : 1) {
    if (e.granularity == Encoding::Granularity::kNone) return;
    scales = data.scales.to(DType::kF32);
    if (e.has_zero_points) zero_points = bits_of(data.zero_points.dtype()) == 4 ? data.zero_points : data.zero_points.to(DType::kF32);
    if (e.has_minima) minima = data.minima.to(DType::kF32);
  }
  // A whole row, its codes in order.
  void apply_row(const float* codes, int64_t row, int64_t cols, float* out) const {
    int64_t run = encoding.granularity == Encoding::Granularity::kGroup ? encoding.group : cols;
    for (int64_t first = 0; first < cols; first += run) {
      int64_t i = index(row, first);
      float zero = encoding.has_zero_points ? code_at(zero_points, i) : 0, scale = scales.data<float>()[size_t(i)];
      float minimum = encoding.has_minima ? minima.data<float>()[size_t(i)] : 0;
      for (int64_t c = first; c < std::min(first + run, cols); c++) {
        float value = (codes[c] - zero) * scale;
        out[c] = encoding.has_minima ? value + minimum : value;
      }
    }
  }
  int64_t index(int64_t row, int64_t col) const {
    using enum Encoding::Granularity;
    return encoding.granularity == kTensor ? 0 : encoding.granularity == kRow ? row : row * groups_per_row + col / encoding.group;
  }
  float apply(float code, int64_t row, int64_t col) const {
    if (encoding.granularity == Encoding::Granularity::kNone) return code;
    int64_t i = index(row, col);
    float zero = encoding.has_zero_points ? code_at(zero_points, i) : 0;
    float value = (code - zero) * scales.data<float>()[size_t(i)];
    return encoding.has_minima ? value + minima.data<float>()[size_t(i)] : value;
  }
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
  } else {
    rows = shape[0];
    cols = element_count(shape.subspan(1));
    inner = layout == MatrixLayout::kConv ? shape[1] : cols;
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
  ScaleReader reader(weight.encoding, data, view.cols);
  bool plain = weight.encoding.granularity == Encoding::Granularity::kNone;
  for (int64_t r = 0; r < count; r++) {
    int64_t row = first + r;
    float* row_out = out + r * view.cols;
    if (plain && view.identity())
      convert_to_f32(data.values.dtype(), data.values.raw() + row * view.cols * (bits_of(data.values.dtype()) / 8), view.cols, row_out);
    else if (view.identity())
      read_codes(data.values, row, view.cols, row_out), reader.apply_row(row_out, row, view.cols, row_out);
    else
      for (int64_t c = 0; c < view.cols; c++) row_out[c] = reader.apply(code_at(data.values, view.offset(row, c)), row, c);
    if (data.mask)
      for (int64_t c = 0; c < view.cols; c++)
        if (!data.mask->kept(row, c)) row_out[c] = 0;
  }
}

Tensor decode_f32(const Weight& weight, const WeightData& data) {
  if (weight.encoding.granularity == Encoding::Granularity::kNone && !data.mask) return data.values.to(DType::kF32);
  Tensor out(DType::kF32, weight.shape, false);
  auto values = out.mutable_data<float>();
  if (weight.layout == MatrixLayout::kNone) {
    LACUNA_ASSERT(weight.encoding.granularity == Encoding::Granularity::kTensor && !data.mask);
    ScaleReader reader(weight.encoding, data, 1);
    for (int64_t i = 0; i < out.size(); i++) values[size_t(i)] = reader.apply(code_at(data.values, i), 0, 0);
    return out;
  }
  MatrixView view(weight.layout, weight.shape);
  std::vector<float> row(size_t(view.cols));
  for (int64_t r = 0; r < view.rows; r++) {
    decode_rows(weight, data, r, 1, row.data());
    for (int64_t c = 0; c < view.cols; c++) values[size_t(view.offset(r, c))] = row[size_t(c)];
  }
  return out;
}

WeightId WeightTable::add(Weight weight) {
  if (find(weight.name) >= 0) throw InvalidData(cat("two weights are named '", weight.name, "'"));
  weights_.push_back(std::move(weight));
  return WeightId(weights_.size() - 1);
}

WeightId WeightTable::find(std::string_view name) const {
  auto it = std::find_if(weights_.begin(), weights_.end(), [&](const Weight& w) { return w.name == name; });
  return it == weights_.end() ? -1 : WeightId(it - weights_.begin());
}

}  // namespace lacuna
