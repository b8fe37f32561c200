// Float linear on AMX: dense, and sparse under a bitmask, as exact as f32. AMX skips no zeros; a sparse weight gains by its size, and by tiles that
// multiply f32 (in six products of bf16 parts) at about twice the rate of vector FMAs.
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/buffer.h"
#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/inner/float_tiles.h"
#include "kernels/integer/amx_weight.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

constexpr int64_t kGroupRows = 16;

TileValues values_of(DType type) { return type == DType::kF16 ? TileValues::kF16 : type == DType::kBF16 ? TileValues::kBF16 : TileValues::kF32; }
int64_t bytes_of(TileValues type) { return type == TileValues::kF32 ? 4 : 2; }

constexpr int64_t kPanelChunks = 24;  // of 128 tokens and of a pair of row groups: their parts and tiles stay in L2

// The streams of all row groups, in the order in which they are read: of a pair of row groups a panel of columns, of that the first group's
// chunks, then the second's.
class TileStream {
 public:
  TileStream(TileValues type, const WeightMatrix& weight, bool bitmask)
      : type_(type), groups_((weight.rows + kGroupRows - 1) / kGroupRows), chunks_((weight.cols + kChunkCols - 1) / kChunkCols) {
    for (int64_t pair = 0; pair < pairs(); pair++)
      for (int64_t panel = 0; panel < panels(); panel++)
        for (int64_t group = 2 * pair; group < 2 * pair + 2; group++) {
          starts_.push_back(int64_t(fresh_.size()));
          mask_starts_.push_back(int64_t(masks_.size()));
          if (group == groups_) continue;
          for (int64_t c = panel * kPanelChunks; c < std::min(chunks_, (panel + 1) * kPanelChunks); c++)
            for (int64_t i = 0; i < kChunkMaskWords; i++) append_pair(weight, group * kGroupRows, c * kChunkCols + i, bitmask);
        }
    starts_.push_back(int64_t(fresh_.size()));
    values_ = allocate(fresh_.size() + 64, false);  // on huge pages; expand_tiles reads beyond them
    std::memcpy(values_.get(), fresh_.data(), fresh_.size());
    std::memset(values_.get() + fresh_.size(), 0, 64);
    fresh_ = {};
  }

  int64_t pairs() const { return (groups_ + 1) / 2; }
  int64_t panels() const { return (chunks_ + kPanelChunks - 1) / kPanelChunks; }
  int64_t chunks(int64_t panel) const { return std::min(kPanelChunks, chunks_ - panel * kPanelChunks); }
  int64_t chunks() const { return chunks_; }
  int parts() const { return parts_of(type_); }
  bool has(int64_t group) const { return group < groups_; }
  int64_t size_bytes() const { return starts_.back() + int64_t(masks_.size() * sizeof(uint32_t) + starts_.size() * 2 * sizeof(int64_t)); }

  std::span<const std::byte> values(int64_t pair, int64_t panel) const {
    size_t at = size_t((pair * panels() + panel) * 2);
    return {values_.get() + starts_[at], size_t(starts_[at + 2] - starts_[at])};
  }
  // Tiles of a panel of row group 2 * pair + i.
  void expand(int64_t pair, int64_t panel, int64_t i, uint8_t* tiles) const {
    size_t at = size_t((pair * panels() + panel) * 2 + i);
    const uint32_t* masks = masks_.empty() ? nullptr : masks_.data() + mask_starts_[at];
    amx_bf16::expand_tiles(type_, values_.get() + starts_[at], masks, chunks(panel), tiles);
  }

 private:
  // Sixteen rows of columns first_col and first_col + 16.
  void append_pair(const WeightMatrix& weight, int64_t first_row, int64_t first_col, bool bitmask) {
    uint32_t mask = 0;
    for (int64_t j = 0; j < 2 * kGroupRows; j++) {
      bool as_tile = type_ == TileValues::kBF16;
      int64_t row = first_row + (as_tile ? j / 2 : j % kGroupRows), col = first_col + (as_tile ? j % 2 : j / kGroupRows) * 16;
      bool kept = row < weight.rows && col < weight.cols && (!bitmask || !weight.mask || weight.mask->kept(row, col));
      if (kept) mask |= uint32_t(1) << j;
      if (kept || !bitmask) append(kept ? weight.values[row * weight.cols + col] : 0);
    }
    if (bitmask) masks_.push_back(mask);
  }
  void append(float value) {
    uint32_t bits = type_ == TileValues::kF32 ? std::bit_cast<uint32_t>(value) : type_ == TileValues::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
    for (int64_t i = 0; i < bytes_of(type_); i++) fresh_.push_back(std::byte(bits >> (8 * i) & 0xff));
  }

  TileValues type_;
  int64_t groups_, chunks_;
  std::vector<std::byte> fresh_;  // while packing
  std::shared_ptr<std::byte[]> values_;
  std::vector<uint32_t> masks_;                // empty: dense
  std::vector<int64_t> starts_, mask_starts_;  // of each row group's part of a panel
};

class FloatTilesLinear : public PackedLinear {
 public:
  FloatTilesLinear(std::string_view kernel, const LinearProblem& problem, const WeightMatrix& weight, bool bitmask)
      : kernel_(kernel),
        rows_(weight.rows),
        cols_(weight.cols),
        x_parts_(problem.activations == DType::kBF16 ? 1 : 3),
        stream_(values_of(problem.weights), weight, bitmask) {
    LACUNA_ASSERT(amx_granted());
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override { return stream_.size_bytes(); }
  Shape shape() const override { return {rows_, cols_}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    if (tokens == 0 || rows_ == 0) return;
    // 64 bytes more than the parts take, so that sixteen tokens do not fall into the same cache sets.
    int64_t stride = stream_.chunks() * x_parts_ * 64 + 64, padded = (tokens + 15) / 16 * 16;
    uint8_t* parts = thread_scratch_of<uint8_t>(ScratchSlot::kShared, padded * stride);
    parallel_for(padded, [&](int64_t t) {
      if (t < tokens)
        amx_bf16::split_row(x + t * x_stride, cols_, x_parts_, parts + t * stride);
      else
        std::memset(parts + t * stride, 0, size_t(stride));
    });
    int64_t blocks = (tokens + kBlockTokens - 1) / kBlockTokens, pairs = stream_.pairs();
    int64_t wanted = std::max((4 * thread_count() + blocks - 1) / blocks, (pairs + kMostPairs - 1) / kMostPairs), tasks = std::min(pairs, wanted);
    parallel_for(tasks * blocks, [&](int64_t i) {
      int64_t first_token = i % blocks * kBlockTokens, task = i / blocks;
      Block block = {task * pairs / tasks, (task + 1) * pairs / tasks, first_token, std::min(kBlockTokens, tokens - first_token)};
      run_block(parts + first_token * stride, stride, block, y, y_stride, epilogue);
    });
  }

 private:
  static constexpr int64_t kBlockTokens = 128, kMostPairs = 8;  // the sums of a task stay in L2

  struct Block {
    int64_t first_pair, last_pair, first_token, tokens;
  };

  void run_block(const uint8_t* x, int64_t x_stride, const Block& block, float* y, int64_t y_stride, const Epilogue& epilogue) const {
    int64_t tiles = (block.tokens + 15) / 16, width = (block.last_pair - block.first_pair) * 2 * kGroupRows, sums_stride = width + 16;
    int64_t group_bytes = kPanelChunks * stream_.parts() * kFloatTile;
    float* sums = thread_scratch_of<float>(ScratchSlot::kTile, tiles * 16 * sums_stride);
    uint8_t* weights = thread_scratch_of<uint8_t>(ScratchSlot::kTileSecond, 2 * group_bytes);
    if (stream_.panels() == 0) std::fill_n(sums, tiles * 16 * sums_stride, 0.0f);
    for (int64_t panel = 0; panel < stream_.panels(); panel++)
      for (int64_t pair = block.first_pair; pair < block.last_pair; pair++) {
        bool both = stream_.has(2 * pair + 1);  // else the first is multiplied twice
        for (int64_t i = 0; i < (both ? 2 : 1); i++) stream_.expand(pair, panel, i, weights + i * group_bytes);
        std::span<const std::byte> ahead;
        if (pair + 1 < block.last_pair)
          ahead = stream_.values(pair + 1, panel);
        else if (panel + 1 < stream_.panels())
          ahead = stream_.values(block.first_pair, panel + 1);
        amx_bf16::multiply_tiles({.x_parts = x_parts_,
                                  .w_parts = stream_.parts(),
                                  .x = x + panel * kPanelChunks * x_parts_ * 64,
                                  .x_stride = x_stride,
                                  .token_tiles = tiles,
                                  .tiles = {weights, both ? weights + group_bytes : weights},
                                  .chunks = stream_.chunks(panel),
                                  .sums = sums + (pair - block.first_pair) * 2 * kGroupRows,
                                  .sums_stride = sums_stride,
                                  .add = panel > 0,
                                  .ahead = ahead.data(),
                                  .ahead_bytes = int64_t(ahead.size())});
      }
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
