// Quantize and dequantize of a whole tensor with one constant scale.
#include <algorithm>

#include "base/parallel.h"
#include "runtime/ops/ops.h"
#include "runtime/passes/fuse_rounding.h"

namespace lacuna {
namespace {

constexpr int64_t kPerTask = 16384;

void in_parts(int64_t count, const std::function<void(int64_t first, int64_t last)>& run) {
  parallel_for((count + kPerTask - 1) / kPerTask, [&](int64_t part) { run(part * kPerTask, std::min(count, (part + 1) * kPerTask)); });
}

// Adding 1.5 * 2^23 rounds to nearest even; the clamp before it keeps the sum where that holds.
template <class T>
void quantize_part(const InputRounding& r, const float* x, int64_t first, int64_t last, T* y) {
  constexpr float kMagic = 12582912;
  float low = float(std::numeric_limits<T>::min()) - float(r.zero_point), high = float(std::numeric_limits<T>::max()) - float(r.zero_point);
  for (int64_t i = first; i < last; i++) y[i] = T(int32_t(std::clamp(x[i] / r.scale, low, high) + kMagic - kMagic) + r.zero_point);
}

template <class T>
void dequantize_part(const InputRounding& r, const T* x, int64_t first, int64_t last, float* y) {
  for (int64_t i = first; i < last; i++) y[i] = float(int32_t(x[i]) - r.zero_point) * r.scale;
}

}  // namespace

CompiledStep compile_quantize(const OpContext& context) {
  auto rounding = static_rounding(context.graph(), context.node());
  if (!rounding || !context.is_float(0)) return {};
  int64_t count = element_count(context.shape(0));
  return {.kernel = "round", .run = [r = *rounding, count](const StepCall& call) {
            std::byte* out = call.out(0).mutable_raw();
            in_parts(count, [&](int64_t first, int64_t last) {
              if (r.type == DType::kU8) quantize_part(r, call.floats(0), first, last, reinterpret_cast<uint8_t*>(out));
              else quantize_part(r, call.floats(0), first, last, reinterpret_cast<int8_t*>(out));
            });
          }};
}

CompiledStep compile_dequantize(const OpContext& context) {
  auto rounding = static_rounding(context.graph(), context.node());
  if (!rounding) return {};
  int64_t count = element_count(context.shape(0));
  return {.kernel = "round", .run = [r = *rounding, count](const StepCall& call) {
            const std::byte* x = call.in(0).raw();
            in_parts(count, [&](int64_t first, int64_t last) {
              if (r.type == DType::kU8) dequantize_part(r, reinterpret_cast<const uint8_t*>(x), first, last, call.out_floats());
              else dequantize_part(r, reinterpret_cast<const int8_t*>(x), first, last, call.out_floats());
            });
          }};
}

}  // namespace lacuna
