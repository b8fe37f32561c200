#include "runtime/weight_codes.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>

#include "base/parallel.h"

namespace lacuna {
namespace {

WeightCodes rounded(const MatrixView& view, const std::vector<float>& values) {
  WeightCodes out;
  out.codes.resize(values.size());
  out.scales.resize(size_t(view.rows));
  parallel_for(view.rows, [&](int64_t r) {
    const float* row = values.data() + r * view.cols;
    float largest = 0;
    for (int64_t c = 0; c < view.cols; c++) largest = std::max(largest, std::abs(row[c]));
    float scale = largest / 127;
    out.scales[size_t(r)] = scale;
    for (int64_t c = 0; c < view.cols; c++)
      out.codes[size_t(r * view.cols + c)] = scale > 0 ? int8_t(std::clamp(std::nearbyint(row[c] / scale), -127.0f, 127.0f)) : int8_t(0);
  });
  return out;
}

// The code at an offset of the source: nibbles come in rows of the last dimension that start on a byte.
int code_at(const Tensor& codes, int64_t offset) {
  auto* bytes = reinterpret_cast<const uint8_t*>(codes.raw());
  if (bits_of(codes.dtype()) == 8) return codes.dtype() == DType::kS8 ? int8_t(bytes[offset]) : bytes[offset];
  int64_t last = codes.shape().empty() ? 1 : codes.shape().back();
  int nibble = (bytes[offset / last * ((last + 1) / 2) + offset % last / 2] >> (offset % last % 2 * 4)) & 15;
  return codes.dtype() == DType::kS4 && nibble > 7 ? nibble - 16 : nibble;
}

}  // namespace

std::optional<WeightCodes> stored_codes(const Weight& weight, const WeightData& data, const MatrixView& view, const std::vector<float>& values,
                                        bool masked) {
  const Encoding& e = weight.encoding;
  bool unsigned_nibbles = e.values == DType::kU4, bytes = e.values == DType::kS8 || e.values == DType::kU8;
  if ((!bytes && e.values != DType::kS4 && !unsigned_nibbles) || e.granularity == Encoding::Granularity::kNone) return std::nullopt;
  if ((e.has_zero_points && e.values == DType::kS4) || (e.has_minima && bytes)) return std::nullopt;
  WeightCodes out;
  out.type = bytes ? DType::kS8 : DType::kS4;
  out.group = e.granularity == Encoding::Granularity::kGroup && e.group < view.cols ? e.group : 0;
  int64_t groups = out.group ? (view.cols + out.group - 1) / out.group : 1, shift = unsigned_nibbles ? 8 : 0;

  Tensor scales = data.scales.to(DType::kF32), minima = e.has_minima ? data.minima.to(DType::kF32) : Tensor();
  auto index = [&](int64_t n) { return size_t(scales.size() == 1 ? 0 : n); };
  bool any_minimum = false;
  for (int64_t n = 0; n < view.rows * groups; n++) {
    float scale = scales.data<float>()[index(n)], minimum = e.has_minima ? minima.data<float>()[index(n)] : 0;
    // value = code * scale + minimum, with the code moved into [-8, 7] and the zero point into the minimum.
    if (e.has_zero_points && unsigned_nibbles) minimum -= float(code_at(data.zero_points, int64_t(index(n)))) * scale;
    minimum += float(shift) * scale;
    out.scales.push_back(scale);
    out.minima.push_back(minimum);
    any_minimum = any_minimum || minimum != 0;
  }
  if (!any_minimum) out.minima.clear();
  // Without a mask every code counts, so a zero must be code * scale.
  if (any_minimum && data.mask && !masked) return std::nullopt;
  out.codes.resize(size_t(view.rows * view.cols));
  std::atomic<bool> fits = true;
  parallel_for(view.rows, [&](int64_t r) {
    for (int64_t c = 0; c < view.cols; c++) {
      bool kept = masked ? values[size_t(r * view.cols + c)] != 0 : !data.mask || data.mask->kept(r, c);
      int64_t group = out.group ? r * groups + c / out.group : r;
      int zero = bytes && e.has_zero_points ? code_at(data.zero_points, int64_t(index(group))) : int(shift);
      int code = kept ? code_at(data.values, view.offset(r, c)) - zero : 0;
      if (code < -127 || code > 127) fits = false;
      out.codes[size_t(r * view.cols + c)] = int8_t(code);
    }
  });
  if (!fits) return std::nullopt;
  return out;
}

WeightCodes codes_of(const Weight& weight, const WeightData& data, const MatrixView& view, const std::vector<float>& values, bool masked) {
  if (auto codes = stored_codes(weight, data, view, values, masked)) return std::move(*codes);
  return rounded(view, values);
}

}  // namespace lacuna
