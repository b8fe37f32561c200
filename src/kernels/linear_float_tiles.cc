// Float linear on AMX: dense, and sparse under a bitmask, as exact as f32. AMX skips no zeros; a sparse weight gains by its size, and by tiles that
// multiply f32 (in six products of bf16 parts) at about twice the rate of vector FMAs.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/float_tile_stream.h"
#include "kernels/integer/amx_weight.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

class FloatTilesLinear : public PackedLinear {
 public:
  FloatTilesLinear(std::string_view kernel, const LinearProblem& problem, const WeightMatrix& weight, bool bitmask)
      : kernel_(kernel),
        rows_(weight.rows),
        cols_(weight.cols),
        x_parts_(problem.activations == DType::kBF16 ? 1 : 3),
        stream_(problem.weights, weight, bitmask) {
    LACUNA_ASSERT(amx_granted());
    for (int64_t c = 0; c < stream_.chunks(); c++) chunk_offsets_.push_back(c * x_parts_ * 64);
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override { return stream_.size_bytes(); }
  Shape shape() const override { return {rows_, cols_}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    if (rows_ == 0) return;
    constexpr int64_t kSplitTokens = 1024;  // bounds the memory of their parts
    for (int64_t first = 0; first < tokens; first += kSplitTokens)
      run_tokens(x, x_stride, first, std::min(kSplitTokens, tokens - first), y, y_stride, epilogue);
  }

 private:
  static constexpr int64_t kBlockTokens = 128, kMostPairs = 8;  // the sums of a task stay in L2

  void run_tokens(const float* x, int64_t x_stride, int64_t first, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const {
    // 64 bytes more than the parts take, so that sixteen tokens do not fall into the same cache sets.
    int64_t stride = stream_.chunks() * x_parts_ * 64 + 64, padded = (tokens + 15) / 16 * 16;
    uint8_t* parts = thread_scratch_of<uint8_t>(ScratchSlot::kShared, padded * stride);
    parallel_for(padded, [&](int64_t t) {
      if (t < tokens)
        amx_bf16::split_row(x + (first + t) * x_stride, cols_, x_parts_, parts + t * stride);
      else
        std::memset(parts + t * stride, 0, size_t(stride));
    });
    int64_t blocks = (tokens + kBlockTokens - 1) / kBlockTokens, pairs = stream_.pairs();
    int64_t wanted = std::max((4 * thread_count() + blocks - 1) / blocks, (pairs + kMostPairs - 1) / kMostPairs), tasks = std::min(pairs, wanted);
    parallel_for(tasks * blocks, [&](int64_t i) {
      int64_t token = i % blocks * kBlockTokens, task = i / blocks;
      Block block = {task * pairs / tasks, (task + 1) * pairs / tasks, first + token, std::min(kBlockTokens, tokens - token)};
      run_block(parts + token * stride, stride, block, y, y_stride, epilogue);
    });
  }

  struct Block {
    int64_t first_pair, last_pair, first_token, tokens;
  };

  void run_block(const uint8_t* x, int64_t x_stride, const Block& block, float* y, int64_t y_stride, const Epilogue& epilogue) const {
    int64_t tiles = (block.tokens + 15) / 16, width = (block.last_pair - block.first_pair) * 2 * kGroupRows, sums_stride = width + 16;
    std::array<int64_t, kBlockTokens / 16> tile_offsets;
    for (int64_t t = 0; t < tiles; t++) tile_offsets[size_t(t)] = t * 16 * x_stride;
    float* sums = thread_scratch_of<float>(ScratchSlot::kTile, tiles * 16 * sums_stride);
    if (stream_.panels() == 0) std::fill_n(sums, tiles * 16 * sums_stride, 0.0f);
    stream_.multiply(block.first_pair, block.last_pair,
                     {.x_parts = x_parts_,
                      .x = x,
                      .x_stride = x_stride,
                      .chunk_offsets = chunk_offsets_.data(),
                      .tile_offsets = tile_offsets.data(),
                      .token_tiles = tiles,
                      .sums = sums,
                      .sums_stride = sums_stride});
    int64_t first_row = block.first_pair * 2 * kGroupRows;
    store_token_major({.sums = sums,
                       .sums_stride = sums_stride,
                       .first_row = first_row,
                       .rows = std::min(width, rows_ - first_row),
                       .first_token = block.first_token,
                       .tokens = block.tokens},
                      y, y_stride, epilogue);
  }

  std::string_view kernel_;
  int64_t rows_, cols_;
  int x_parts_;
  TileStream stream_;
  std::vector<int64_t> chunk_offsets_;
};

std::optional<std::string> accepts(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu, bool bitmask) {
  if (auto reason = lacks(cpu, "amx_bf16")) return reason;
  if (!is_float(problem.weights) || !is_float(problem.activations)) return "multiplies floats";
  if (bitmask && problem.pattern == "dense") return "the weight is dense";
  if (tokens < 9) return "is for more than 8 tokens";
  if (!amx_granted()) return "the operating system does not grant AMX tiles";
  return std::nullopt;
}

}  // namespace

extern const LinearKernel amx_bf16_bitmask_float = {
    .name = "amx_bf16::bitmask_float",
    .help = "floats under a bitmask, expanded to AMX tiles of bf16 parts",
    .sparse = true,
    .break_even = 0.1,
    .accepts = [](const LinearProblem& p, int64_t tokens, const CpuFeatures& cpu) { return accepts(p, tokens, cpu, true); },
    .pack = [](const LinearProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedLinear> {
      return std::make_unique<FloatTilesLinear>("amx_bf16::bitmask_float", p, w, true);
    }};

extern const LinearKernel amx_bf16_dense_float = {
    .name = "amx_bf16::dense_float",
    .help = "dense floats in AMX tiles of bf16 parts",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const LinearProblem& p, int64_t tokens, const CpuFeatures& cpu) { return accepts(p, tokens, cpu, false); },
    .pack = [](const LinearProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedLinear> {
      return std::make_unique<FloatTilesLinear>("amx_bf16::dense_float", p, w, false);
    }};

}  // namespace lacuna::kernels
