#include "kernels/decode_linear.h"

#include <algorithm>

#include "base/parallel.h"
#include "kernels/epilogue.h"
#include "kernels/support.h"

namespace lacuna::kernels {

void DecodeLinear::run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const {
  for (int64_t first = 0; first < tokens && rows_ > 0; first += kDecodeTokens)
    run_block(x, x_stride, first, std::min(kDecodeTokens, tokens - first), y, y_stride, epilogue);
}

// [chunk][lanes][64] of tokens [first, first + tokens); lanes beyond the tokens are zero.
void DecodeLinear::fill_activations(const float* x, int64_t x_stride, int64_t first, int64_t tokens, int64_t lanes, float* out) const {
  for (int64_t chunk = 0; chunk < chunks_; chunk++) {
    int64_t cols = std::min(kDecodeCols, cols_ - chunk * kDecodeCols);
    for (int64_t t = 0; t < lanes; t++, out += kDecodeCols) {
      if (t >= tokens || cols < kDecodeCols) std::fill_n(out, kDecodeCols, 0.0f);
      if (t >= tokens) continue;
      const float* from = x + (first + t) * x_stride + chunk * kDecodeCols;
      if (loop_.pair_block == 0)
        std::copy_n(from, cols, out);
      else
        for (int64_t c = 0; c < cols; c++) {
          int64_t in_block = c % loop_.pair_block;
          out[c - in_block + in_block / 2 + in_block % 2 * (loop_.pair_block / 2)] = from[c];
        }
    }
  }
}

void DecodeLinear::run_block(const float* x, int64_t x_stride, int64_t first, int64_t tokens, float* y, int64_t y_stride,
                             const Epilogue& epilogue) const {
  int64_t lanes = tokens <= 2 ? tokens : tokens <= 4 ? 4 : 8;
  float* activations = thread_scratch_of<float>(ScratchSlot::kShared, chunks_ * lanes * kDecodeCols);
  fill_activations(x, x_stride, first, tokens, lanes, activations);
  // Groups are shared out by the bytes of their streams.
  constexpr int64_t kPartBytes = 16 << 10;  // a few microseconds
  int64_t groups = decode_groups(rows_), total = stream_.offsets.back();
  int64_t parts = std::clamp<int64_t>(total / kPartBytes, 1, std::min<int64_t>(groups, 8 * thread_count()));
  auto boundary = [&](int64_t part) {
    if (part == parts) return groups;
    return int64_t(std::lower_bound(stream_.offsets.begin(), stream_.offsets.end() - 1, total * part / parts) - stream_.offsets.begin());
  };
  parallel_for(parts, [&](int64_t part) {
    for (int64_t begin = boundary(part), end = boundary(part + 1), most = 256; begin < end; begin += most)
      run_groups(begin, std::min(begin + most, end), first, tokens, lanes, activations, y, y_stride, epilogue);
  });
}

void DecodeLinear::run_groups(int64_t begin, int64_t end, int64_t first, int64_t tokens, int64_t lanes, const float* activations, float* y,
                              int64_t y_stride, const Epilogue& epilogue) const {
  int64_t stride = (end - begin) * kDecodeRows;
  float* sums = thread_scratch_of<float>(ScratchSlot::kTile, lanes * stride);
  auto task_of = [&](int64_t g) -> DecodeTask {
    return {.stream = stream_of(g),
            .chunks = chunks_,
            .x = activations,
            .tokens = lanes,
            .sums = sums + (g - begin) * kDecodeRows,
            .sums_stride = stride};
  };
  int64_t pairs = loop_.pairs && lanes == 1 ? (end - begin) / 2 : 0;
  for (int64_t g = begin; g < begin + pairs; g++) {
    DecodeTask task = task_of(g);
    task.second_stream = stream_of(g + pairs), task.second_sums = task.sums + pairs * kDecodeRows;
    loop_.run(task);
  }
  for (int64_t g = begin + 2 * pairs; g < end; g++) loop_.run(task_of(g));
  int64_t first_row = begin * kDecodeRows;
  store_token_major({.sums = sums,
                     .sums_stride = stride,
                     .first_row = first_row,
                     .rows = std::min(stride, rows_ - first_row),
                     .first_token = first,
                     .tokens = tokens},
                    y, y_stride, epilogue);
}

}  // namespace lacuna::kernels
