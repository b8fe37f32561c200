// Between plain planes and blocks of channels.
#include <algorithm>

#include "base/assert.h"
#include "base/parallel.h"
#include "kernels/conv.h"
#include "kernels/support.h"

namespace lacuna::kernels {

void to_channel_blocks(const float* x, int64_t batch, int64_t channels, int64_t pixels, int64_t block, float* y) {
  int64_t blocks = (channels + block - 1) / block;
  parallel_for(batch * blocks, [&](int64_t index) {
    int64_t first = index % blocks * block, count = std::min(block, channels - first);
    float* to = y + index * pixels * block;
    if (count < block) std::fill_n(to, pixels * block, 0.0f);
    transpose(x + (index / blocks * channels + first) * pixels, pixels, count, pixels, to, block);
  });
}

void from_channel_blocks(const float* x, int64_t batch, int64_t channels, int64_t pixels, int64_t block, float* y) {
  int64_t blocks = (channels + block - 1) / block;
  parallel_for(batch * blocks, [&](int64_t index) {
    int64_t first = index % blocks * block, count = std::min(block, channels - first);
    transpose(x + index * pixels * block, block, pixels, count, y + (index / blocks * channels + first) * pixels, pixels);
  });
}

void run_in_blocks(const PackedConv& conv, const ConvProblem& problem, const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y,
                   const Epilogue& epilogue) {
  if (batch == 0) return;
  int64_t in_pixels = in_h * in_w, out_pixels = problem.out_h(in_h) * problem.out_w(in_w), block = conv.output_block();
  LACUNA_ASSERT(block > 0);
  auto floats = [&](int64_t channels, int64_t of_block, int64_t pixels) {
    return batch * ((channels + of_block - 1) / of_block * of_block) * pixels;
  };
  if (int64_t in_block = conv.input_block()) {
    float* blocked = thread_scratch_of<float>(ScratchSlot::kShared, floats(problem.in_channels, in_block, in_pixels));
    to_channel_blocks(x, batch, problem.in_channels, in_pixels, in_block, blocked);
    x = blocked;
  }
  Epilogue inner = epilogue;
  if (epilogue.residual) {
    float* blocked = thread_scratch_of<float>(ScratchSlot::kSharedThird, floats(problem.out_channels, block, out_pixels));
    to_channel_blocks(epilogue.residual, batch, problem.out_channels, out_pixels, block, blocked);
    inner.residual = blocked;
  }
  float* blocked = thread_scratch_of<float>(ScratchSlot::kSharedSecond, floats(problem.out_channels, block, out_pixels));
  conv.run_blocked(x, batch, in_h, in_w, blocked, inner);
  from_channel_blocks(blocked, batch, problem.out_channels, out_pixels, block, y);
}

}  // namespace lacuna::kernels
