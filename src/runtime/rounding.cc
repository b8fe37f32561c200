#include "runtime/rounding.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "kernels/epilogue.h"
#include "kernels/support.h"

namespace lacuna {
namespace {

void round_token(const float* x, int64_t cols, float* out) {
  std::vector<int8_t> codes(static_cast<size_t>(cols));
  float scale = kernels::quantize_token_s8(x, cols, codes.data());
  for (int64_t i = 0; i < cols; i++) out[i] = float(codes[size_t(i)]) * scale;
}

// The rounding trick of adding 1.5 * 2^23 holds as codes lie in [-512, 512] after clamping.
void round_static(const InputRounding& r, const float* x, int64_t count, float* out) {
  constexpr float kMagic = 12582912;
  float low = float((r.type == DType::kU8 ? 0 : -128) - r.zero_point), high = float((r.type == DType::kU8 ? 255 : 127) - r.zero_point);
  for (int64_t i = 0; i < count; i++) out[i] = (std::clamp(x[i] / r.scale, low, high) + kMagic - kMagic) * r.scale;
}

}  // namespace

InputRounding rounding_of(const Node& node) {
  InputRounding out;
  if (node.op == Op::linear && node.attributes.text("activations", "") == "s8") out.kind = InputRounding::Kind::kPerToken;
  return out;
}

InputRounding rounding_of_range(const float* x, int64_t count) {
  constexpr int64_t kPart = 16384, kLanes = 16;
  int64_t parts = (count + kPart - 1) / kPart;
  std::vector<std::array<float, 2>> ranges(static_cast<size_t>(parts));
  parallel_for(parts, [&](int64_t part) {
    float low[kLanes] = {}, high[kLanes] = {};
    int64_t i = part * kPart, last = std::min(count, i + kPart);
    for (; i + kLanes <= last; i += kLanes)
      for (int64_t k = 0; k < kLanes; k++) low[k] = x[i + k] < low[k] ? x[i + k] : low[k], high[k] = x[i + k] > high[k] ? x[i + k] : high[k];
    for (; i < last; i++) low[0] = std::min(low[0], x[i]), high[0] = std::max(high[0], x[i]);
    ranges[size_t(part)] = {*std::min_element(low, low + kLanes), *std::max_element(high, high + kLanes)};
  });
  float low = 0, high = 0;
  for (auto [l, h] : ranges) low = std::min(low, l), high = std::max(high, h);
  float scale = (high - low) / 255;
  if (scale == 0) scale = 1;
  float zero = std::nearbyint(-low / scale);
  zero = zero > 0 ? std::min(zero, 255.0f) : 0;  // 0 of a NaN
  return {.kind = InputRounding::Kind::kStatic, .scale = scale, .zero_point = int32_t(zero), .type = DType::kU8};
}

void round_values(const kernels::Rounding& rounding, float* y, int64_t n) {
  kernels::store_token_major({.sums = y, .sums_stride = 0, .first_row = 0, .rows = n, .first_token = 0, .tokens = 1}, y, 0, {.rounding = rounding});
}

void round_tokens(const InputRounding& rounding, const float* x, int64_t tokens, int64_t cols, float* out) {
  parallel_for(tokens, [&](int64_t t) {
    if (rounding.kind == InputRounding::Kind::kPerToken)
      round_token(x + t * cols, cols, out + t * cols);
    else
      round_static(rounding, x + t * cols, cols, out + t * cols);
  });
}

}  // namespace lacuna
