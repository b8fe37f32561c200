#include "kernels/coded_tokens.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "kernels/integer/amx_weight.h"
#include "kernels/integer/token_codes.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

constexpr int64_t kTileTokens = 16;

int64_t padded_tokens(int64_t tokens) { return (tokens + kTileTokens - 1) / kTileTokens * kTileTokens; }

// Columns [first, last) of a token of which the largest magnitude is known; rounding as in code_tokens.
void code_columns(const float* x, int64_t first, int64_t last, float largest, const Rounding& rounding, int64_t token, const CodedTokens& out) {
  uint8_t* codes = out.codes + token * out.stride;
  float scale = rounding.scale;
  CodeRule rule = {};
  if (scale > 0)
    rule = static_rule(scale, rounding.zero);
  else if (largest >= 0x1p-100f)
    scale = largest / 127.0f, rule = per_token_rule(127.0f / largest);
  if (scale > 0)
    amx_layout().quantize(x + first, last - first, rule, 0, codes + first);
  else
    std::memset(codes + first, 0, size_t(last - first));
  if (first == 0) out.scales[token] = scale;
  if (last == out.cols) std::memset(codes + out.cols, 0, size_t(out.stride - out.cols));
}

void clear_beyond(const CodedTokens& out) {
  std::memset(out.codes + out.tokens * out.stride, 0, size_t((padded_tokens(out.tokens) - out.tokens) * out.stride));
}

}  // namespace

int64_t coded_tokens_bytes(int64_t tokens, int64_t cols) {
  int64_t padded = padded_tokens(tokens);
  return padded * (code_stride(cols, 64) + int64_t(sizeof(float)));
}

CodedTokens coded_tokens(void* memory, int64_t tokens, int64_t cols) {
  CodedTokens out = {.tokens = tokens, .cols = cols, .stride = code_stride(cols, 64), .codes = static_cast<uint8_t*>(memory), .scales = nullptr};
  out.scales = reinterpret_cast<float*>(out.codes + padded_tokens(tokens) * out.stride);
  return out;
}

void code_token(const float* x, const Rounding& rounding, int64_t token, const CodedTokens& out) {
  code_columns(x, 0, out.cols, rounding.scale > 0 ? 0 : amx_layout().largest(x, out.cols), rounding, token, out);
  if (token == out.tokens - 1) clear_beyond(out);
}

void code_tokens(const float* x, int64_t x_stride, const Rounding& rounding, bool by_columns, const CodedTokens& out) {
  // Columns of a thread, in whole cache lines of codes.
  int64_t lines = (out.cols + 63) / 64, parts = by_columns ? std::min<int64_t>(thread_count(), lines) : 1;
  if (parts < 2 || out.tokens < kTileTokens) {
    // A task costs a few hundred nanoseconds of its own, so each takes tokens of 8 K elements at least.
    int64_t per_task = std::clamp<int64_t>((8 << 10) / std::max<int64_t>(out.cols, 1), 1, kTileTokens);
    return parallel_for((out.tokens + per_task - 1) / per_task, [&](int64_t task) {
      for (int64_t t = task * per_task; t < std::min(out.tokens, (task + 1) * per_task); t++) code_token(x + t * x_stride, rounding, t, out);
    });
  }
  auto column = [&](int64_t part) { return std::min(lines * part / parts * 64, out.cols); };
  float* largest = thread_scratch_of<float>(ScratchSlot::kSharedThird, parts * out.tokens);  // [parts][tokens]
  if (rounding.scale == 0)
    parallel_for(parts, [&](int64_t part) {
      for (int64_t t = 0; t < out.tokens; t++)
        largest[part * out.tokens + t] = amx_layout().largest(x + t * x_stride + column(part), column(part + 1) - column(part));
    });
  parallel_for(parts, [&](int64_t part) {
    for (int64_t t = 0; t < out.tokens; t++) {
      float most = 0;
      for (int64_t p = 0; p < parts && rounding.scale == 0; p++) most = std::max(most, largest[p * out.tokens + t]);
      code_columns(x + t * x_stride, column(part), column(part + 1), most, rounding, t, out);
    }
    if (part == 0) clear_beyond(out);
  });
}

}  // namespace lacuna::kernels
