#include "quantize/weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <span>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "sparse/format.h"

namespace lacuna {
namespace {

// To nearest, half to even: adding 1.5 * 2^23 leaves no bits for a fraction. Unlike nearbyint the compiler can vectorise it.
float rounded(float value, float inverse, float low, float high) {
  constexpr float kMagic = 12582912;
  return std::clamp(value * inverse, low, high) + kMagic - kMagic;
}

float largest_of(std::span<const float> values) {
  float largest = 0;
  for (float v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

float s8_scale(std::span<const float> values) { return largest_of(values) / 127; }

// The scale of the codes that are reached from a trial scale with the smallest squared error: for fixed codes c it is sum(w c) / sum(c c),
// and the error then falls by sum(w c)^2 / sum(c c). Trials put the largest magnitude, with its sign, at -7 to -9.
float s4_scale(std::span<const float> values) {
  float extreme = 0;
  for (float v : values)
    if (std::abs(v) > std::abs(extreme)) extreme = v;
  if (extreme == 0) return 0;
  float best = 0;
  double best_gain = -1;
  for (int trial = -10; trial <= 10; trial++) {
    float inverse = -(8 + 0.1f * float(trial)) / extreme;
    double products = 0, squares = 0;
    for (float v : values) {
      double code = rounded(v, inverse, -8, 7);
      products += double(v) * code, squares += code * code;
    }
    double gain = squares > 0 ? products * products / squares : 0;
    if (gain > best_gain) best_gain = gain, best = squares > 0 ? float(products / squares) : 1 / inverse;
  }
  return best;
}

// The codes of one weight in matrix order while they are made.
struct Coder {
  const WeightScheme& scheme;
  int64_t cols, groups;
  Tensor codes, scales;
  std::atomic<bool> bad_scale = false;

  void code_row(int64_t row, const float* values, double& error, double& size) {
    int64_t group = scheme.group ? scheme.group : cols;
    std::vector<int8_t> row_codes(size_t(cols), 0);
    for (int64_t g = 0; g < groups; g++) {
      int64_t first = g * group, count = std::min(group, cols - first);
      std::span<const float> part(values + first, size_t(count));
      float scale = store_scale(row * groups + g, scheme.type == DType::kS8 ? s8_scale(part) : s4_scale(part));
      float low = scheme.type == DType::kS8 ? -127 : -8, high = scheme.type == DType::kS8 ? 127 : 7;
      for (int64_t i = 0; i < count; i++) {
        int8_t code = scale != 0 ? int8_t(rounded(part[size_t(i)], 1 / scale, low, high)) : int8_t(0);
        row_codes[size_t(first + i)] = code;
        double off = double(part[size_t(i)]) - double(code) * scale;
        error += off * off, size += double(part[size_t(i)]) * part[size_t(i)];
      }
    }
    put(row, row_codes);
  }

  // The scale as it is stored.
  float store_scale(int64_t at, float scale) {
    if (scales.dtype() == DType::kF32) return scales.mutable_data<float>()[size_t(at)] = scale;
    uint16_t half = f32_to_f16(scale);
    scales.mutable_data<uint16_t>()[size_t(at)] = half;
    if (!std::isfinite(f16_to_f32(half))) bad_scale = true;
    return f16_to_f32(half);
  }

  void put(int64_t row, const std::vector<int8_t>& row_codes) {
    auto* out = reinterpret_cast<uint8_t*>(codes.mutable_raw());
    if (scheme.type == DType::kS8) {
      std::copy(row_codes.begin(), row_codes.end(), reinterpret_cast<int8_t*>(out) + row * cols);
      return;
    }
    out += row * ((cols + 1) / 2);
    for (int64_t c = 0; c < cols; c++) out[c / 2] = uint8_t(out[c / 2] | (uint8_t(row_codes[size_t(c)]) & 15) << (c % 2 * 4));
  }
};

}  // namespace

Encoding encoding_of(const WeightScheme& scheme) {
  using enum Encoding::Granularity;
  return {
      .values = scheme.type, .granularity = scheme.group ? kGroup : kRow, .group = scheme.group, .scales = scheme.group ? DType::kF16 : DType::kF32};
}

QuantizedWeight quantize_weight(const Weight& weight, const WeightData& data, const WeightScheme& scheme) {
  LACUNA_ASSERT(weight.layout != MatrixLayout::kNone && (scheme.type == DType::kS8 || scheme.type == DType::kS4));
  MatrixView view(weight.layout, weight.shape);
  std::vector<float> values(size_t(view.rows * view.cols));
  constexpr int64_t kRowsPerTile = 64;
  parallel_for((view.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile) {
    int64_t first = tile * kRowsPerTile;
    decode_rows(weight, data, first, std::min(kRowsPerTile, view.rows - first), values.data() + first * view.cols);
  });
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    throw InvalidData(cat("weight '", weight.name, "' holds values that are not finite: they have no integer code"));

  QuantizedWeight out;
  out.data.mask = data.mask ? data.mask : mask_of_pruned(weight, values);
  int64_t groups = scheme.group ? (view.cols + scheme.group - 1) / scheme.group : 1;
  Coder coder{scheme, view.cols, groups, Tensor(scheme.type, {view.rows, view.cols}),
              Tensor(encoding_of(scheme).scales, scheme.group ? Shape{view.rows, groups} : Shape{view.rows})};
  std::vector<double> errors(size_t(view.rows), 0), sizes(size_t(view.rows), 0);
  parallel_for(view.rows, [&](int64_t r) { coder.code_row(r, values.data() + r * view.cols, errors[size_t(r)], sizes[size_t(r)]); });
  if (coder.bad_scale) throw InvalidData(cat("weight '", weight.name, "' is too large for scales in f16"));
  double error = 0, size = 0;
  for (int64_t r = 0; r < view.rows; r++) error += errors[size_t(r)], size += sizes[size_t(r)];
  out.relative_error = size > 0 ? std::sqrt(error / size) : 0;
  out.data.values = source_order(weight, coder.codes);
  out.data.scales = coder.scales;
  return out;
}

}  // namespace lacuna
