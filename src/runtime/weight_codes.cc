#include "runtime/weight_codes.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/parallel.h"
#include "sparse/bits.h"

namespace lacuna {
namespace {

constexpr int64_t kRowsPerTile = 64;

WeightCodes rounded(const MatrixView& view, const float* values) {
  WeightCodes out;
  out.codes = Tensor(DType::kS8, {view.rows, view.cols}, false);
  out.scales.resize(size_t(view.rows));
  int8_t* codes = out.codes.mutable_data<int8_t>().data();
  parallel_for(view.rows, [&](int64_t r) {
    const float* row = values + r * view.cols;
    float largest = 0;
    for (int64_t c = 0; c < view.cols; c++) largest = std::max(largest, std::abs(row[c]));
    float scale = largest / 127;
    out.scales[size_t(r)] = scale;
    constexpr float kRound = 0x1.8p23f;  // added and taken away: to the nearest integer, ties to even, without a call
    for (int64_t c = 0; c < view.cols; c++) {
      float code = scale > 0 ? (row[c] / scale + kRound) - kRound : 0.0f;
      codes[r * view.cols + c] = int8_t(std::clamp(code, -127.0f, 127.0f));
    }
  });
  return out;
}

// One element of a vector of codes.
int code_at(const Tensor& codes, int64_t i) {
  auto* bytes = reinterpret_cast<const uint8_t*>(codes.raw());
  if (bits_of(codes.dtype()) == 8) return codes.dtype() == DType::kS8 ? int8_t(bytes[i]) : bytes[i];
  int64_t last = codes.shape().back();
  int nibble = (bytes[i / last * ((last + 1) / 2) + i % last / 2] >> (i % last % 2 * 4)) & 15;
  return codes.dtype() == DType::kS4 && nibble > 7 ? nibble - 16 : nibble;
}

// out = codes - zero, 0 where `kept` has no bit; false if one is outside of [-127, 127]. At most 64.
template <class Code>
bool shift_codes(const Code* codes, int64_t count, int zero, uint64_t kept, int8_t* out) {
  int16_t shifted[64];
  for (int64_t i = 0; i < count; i++) shifted[i] = int16_t(codes[i] - zero);
  if (~kept) {
    int8_t keep[64];
    bytes_of_bits(kept, keep);
    for (int64_t i = 0; i < count; i++) shifted[i] = int16_t(shifted[i] & keep[i]);
  }
  int16_t lowest = 0, highest = 0;
  for (int64_t i = 0; i < count; i++) {
    lowest = std::min(lowest, shifted[i]), highest = std::max(highest, shifted[i]);
    out[i] = int8_t(shifted[i]);
  }
  return lowest >= -127 && highest <= 127;
}

}  // namespace

std::optional<WeightCodes> stored_codes(const Weight& weight, const WeightData& data, const MatrixView& view, const Mask* mask) {
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
  if (any_minimum && data.mask && !mask) return std::nullopt;
  const Mask* kept = mask ? mask : data.mask ? &*data.mask : nullptr;
  out.codes = Tensor(DType::kS8, {view.rows, view.cols}, false);
  int8_t* codes = out.codes.mutable_data<int8_t>().data();
  std::atomic<bool> fits = true;
  auto shift_row = [&](const auto* from, int64_t r) {
    int64_t width = out.group ? out.group : view.cols;
    for (int64_t begin = 0, end; begin < view.cols; begin = end) {  // stretches of one zero point and one word of the mask
      end = std::min({view.cols, (begin / width + 1) * width, (begin / 64 + 1) * 64});
      int zero = bytes && e.has_zero_points ? code_at(data.zero_points, int64_t(index(r * groups + begin / width))) : int(shift);
      uint64_t word = kept ? kept->row(r)[size_t(begin / 64)] >> (begin % 64) : ~uint64_t(0);
      if (!shift_codes(from + begin, end - begin, zero, word, codes + r * view.cols + begin)) fits = false;
    }
  };
  parallel_for((view.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile) {
    int64_t first = tile * kRowsPerTile, count = std::min(kRowsPerTile, view.rows - first);
    std::vector<std::byte> scratch;
    CodeRows rows = code_rows(data.values, view, first, count, scratch);
    for (int64_t r = 0; r < count; r++)
      if (rows.type == DType::kS8)
        shift_row(reinterpret_cast<const int8_t*>(rows.data) + r * view.cols, first + r);
      else
        shift_row(reinterpret_cast<const uint8_t*>(rows.data) + r * view.cols, first + r);
  });
  if (!fits) return std::nullopt;
  return out;
}

WeightCodes codes_of(const Weight& weight, const WeightData& data, const MatrixView& view, const Tensor& values, const Mask* mask) {
  if (auto codes = stored_codes(weight, data, view, mask)) return std::move(*codes);
  return rounded(view, values.data<float>().data());
}

}  // namespace lacuna
