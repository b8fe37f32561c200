#include "kernels/integer/token_codes.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/parallel.h"
#include "kernels/support.h"

namespace lacuna::kernels {

// Not a multiple of 1 KiB, so that eight tokens do not fall into the same cache sets.
int64_t code_stride(int64_t cols, int64_t multiple) {
  int64_t stride = (cols + multiple - 1) / multiple * multiple;
  return stride % 1024 == 0 ? stride + 64 : stride;
}

namespace {

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Whole units and whole groups.
int64_t row_stride(int64_t cols, int64_t group) { return code_stride(round_up(cols, 64), std::max<int64_t>(group, 64)); }

int64_t padded(int64_t tokens, int64_t multiple) {
  if (multiple != 0) return round_up(tokens, multiple);
  return tokens < kTokenMultiple ? int64_t(std::bit_ceil(uint64_t(tokens))) : round_up(tokens, kTokenMultiple);
}

}  // namespace

TokenCodes quantize_tokens(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, const TokenCodesWanted& wanted, const Lane16Isa& isa,
                           const AfterSixteen& after) {
  TokenCodes out = {};
  int64_t padded_tokens = padded(tokens, wanted.token_multiple), group = wanted.group ? wanted.group : round_up(std::max<int64_t>(cols, 1), 32);
  out.stride = wanted.planes > 1 ? row_stride(wanted.planes * wanted.plane_stride, 0) : row_stride(cols, wanted.group);
  out.groups = std::max<int64_t>((cols + group - 1) / group, 1);
  size_t plane = size_t(padded_tokens * out.stride + kStreamSpare);
  out.codes = thread_scratch_of<uint8_t>(ScratchSlot::kShared, int64_t(plane));
  if (wanted.xored) out.xored = thread_scratch_of<uint8_t>(ScratchSlot::kSharedSecond, int64_t(plane));
  out.scales = thread_scratch_of<float>(ScratchSlot::kSharedThird, padded_tokens * (1 + out.groups));
  if (wanted.sums) out.sums = reinterpret_cast<int32_t*>(out.scales + padded_tokens);
  std::memset(out.codes + padded_tokens * out.stride, 0, size_t(kStreamSpare));

  auto quantize_row = [&](int64_t t) {
    uint8_t* codes = out.codes + t * out.stride;
    if (t >= tokens) {
      std::memset(codes, wanted.flip, size_t(out.stride));
    } else {
      const float* row = x + t * x_stride;
      float scale = wanted.input_scale;
      CodeRule rule = {};
      if (scale > 0) {
        rule = static_rule(scale, wanted.input_zero);
      } else {
        float largest = isa.largest(row, cols);
        if (largest >= 0x1p-100f) scale = largest / 127.0f, rule = per_token_rule(127.0f / largest);
      }
      out.scales[t] = scale;
      if (scale > 0)
        isa.quantize(row, cols, rule, wanted.flip, codes);
      else
        std::memset(codes, wanted.flip, size_t(cols));
      std::memset(codes + cols, wanted.flip, size_t(out.stride - cols));
      for (int64_t p = 1; p < wanted.planes; p++) std::memcpy(codes + p * wanted.plane_stride, codes + p * 64 / wanted.planes, size_t(cols));
    }
    if (wanted.sums) isa.group_sums(reinterpret_cast<const int8_t*>(codes), group, out.groups, out.sums + t * out.groups);
  };
  LACUNA_ASSERT(!after || wanted.token_multiple % 16 == 0);
  if (tokens == 1 && !after) {
    for (int64_t t = 0; t < padded_tokens; t++) quantize_row(t);
  } else {
    // A task costs a few hundred nanoseconds of its own, so each takes tokens of 8 K elements at least.
    int64_t per_task = after ? 16 : std::clamp<int64_t>((8 << 10) / std::max<int64_t>(cols, 1), 1, padded_tokens);
    parallel_for((padded_tokens + per_task - 1) / per_task, [&](int64_t task) {
      for (int64_t t = task * per_task; t < std::min(padded_tokens, (task + 1) * per_task); t++) quantize_row(t);
      if (after) after(out, task * per_task);
    });
  }
  // Across rows, because a window may begin in one and end in the next.
  if (wanted.xored) isa.xor_shifted(out.codes, int64_t(plane) - 64, out.xored);
  return out;
}

}  // namespace lacuna::kernels
