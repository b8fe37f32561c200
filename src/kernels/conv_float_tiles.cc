// f32 convolution on AMX, as exact as f32: dense, and sparse under a bitmask (which gains by its size). Activations are in blocks of sixteen
// channels; they are split into bf16 parts over padded planes, from which tiles load (conv_tiles.h).
#include <algorithm>
#include <array>
#include <cstring>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/conv_tiles.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/float_tile_stream.h"
#include "kernels/integer/amx_weight.h"
#include "kernels/support.h"
#include "sparse/bits.h"

namespace lacuna::kernels {
namespace {

constexpr int64_t kBlock = 16;      // channels
constexpr int64_t kXParts = 3;      // of an f32
constexpr int64_t kBlockTiles = 8;  // of positions: their parts stay in L2
constexpr int64_t kMostPairs = 8;   // of row groups: the sums of a task stay in L2

int64_t pixel_chunks(const ConvProblem& p) { return (p.in_channels + kChunkCols - 1) / kChunkCols; }
// 64 bytes more than the parts take, so that sixteen pixels do not fall into the same cache sets.
int64_t pixel_bytes(const ConvProblem& p) { return pixel_chunks(p) * kXParts * 64 + 64; }
int64_t blocks_of(int64_t channels) { return (channels + kBlock - 1) / kBlock; }

// The columns with the channels of each kernel position filled up to whole chunks.
TileStream stream_of(const ConvProblem& p, const WeightMatrix& weight, bool bitmask) {
  int64_t taps = p.kernel_h * p.kernel_w, padded = pixel_chunks(p) * kChunkCols;
  WeightMatrix out = {.rows = weight.rows, .cols = taps * padded};
  Tensor values(DType::kF32, {out.rows, out.cols}, false);
  Mask mask(bitmask ? out.rows : 0, bitmask ? out.cols : 0, false);
  float* to = values.mutable_data<float>().data();
  parallel_for(weight.rows, [&](int64_t r) {
    for (int64_t tap = 0; tap < taps; tap++) {
      int64_t first = tap * p.in_channels, col = tap * padded;
      std::copy_n(weight.values + r * weight.cols + first, p.in_channels, to + r * out.cols + col);
      std::fill_n(to + r * out.cols + col + p.in_channels, padded - p.in_channels, 0.0f);
      for (int64_t c = 0; bitmask && c < p.in_channels; c += 64) {
        int64_t count = std::min<int64_t>(64, p.in_channels - c);
        add_bits(mask.mutable_row(r), col + c, weight.mask ? bits_at(weight.mask->row(r), first + c, count) : ~uint64_t(0) >> (64 - count));
      }
    }
  });
  out.values = to;
  if (bitmask) out.mask = &mask;
  constexpr int64_t kMostReady = 640 << 10;  // larger ones come from far, where fewer bytes count more
  return TileStream(DType::kF32, out, bitmask, !bitmask && out.rows * out.cols <= kMostReady);
}

class FloatTilesConv : public PackedConv {
 public:
  FloatTilesConv(std::string_view kernel, const ConvProblem& problem, const WeightMatrix& weight, bool bitmask)
      : kernel_(kernel), problem_(problem), stream_(stream_of(problem, weight, bitmask)) {
    LACUNA_ASSERT(amx_granted());
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override { return stream_.size_bytes(); }
  int64_t input_block() const override { return kBlock; }
  int64_t output_block() const override { return kBlock; }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    run_in_blocks(*this, problem_, x, batch, in_h, in_w, y, epilogue);
  }

  void run_blocked(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    if (batch == 0 || problem_.out_channels == 0) return;
    constexpr int64_t kMostBytes = 64 << 20;  // of planes at a time
    ConvTiles geometry(problem_, pixel_bytes(problem_), in_h, in_w);
    if (geometry.tiles.empty()) return;
    std::vector<int64_t> chunk_offsets;
    for (int64_t tap = 0; tap < problem_.kernel_h * problem_.kernel_w; tap++)
      for (int64_t c = 0; c < pixel_chunks(problem_); c++)
        chunk_offsets.push_back(geometry.tap_offset(problem_, tap / problem_.kernel_w, tap % problem_.kernel_w) + c * kXParts * 64);
    int64_t images = std::clamp<int64_t>(kMostBytes / geometry.plane_bytes, 1, batch);
    int64_t in_size = blocks_of(problem_.in_channels) * kBlock * in_h * in_w,
            out_size = blocks_of(problem_.out_channels) * kBlock * geometry.out_h * geometry.out_w;
    for (int64_t first = 0; first < batch; first += images) {
      Epilogue of_images = epilogue;
      if (epilogue.residual) of_images.residual += first * out_size;
      run_images(geometry, chunk_offsets, x + first * in_size, std::min(images, batch - first), y + first * out_size, of_images);
    }
  }

 private:
  // Some tiles of positions under some pairs of row groups.
  struct Block {
    int64_t image, first_pair, last_pair, first_tile, tiles;
  };

  void run_images(const ConvTiles& geometry, const std::vector<int64_t>& chunk_offsets, const float* x, int64_t batch, float* y,
                  const Epilogue& epilogue) const {
    constexpr int64_t kReadAhead = 4096;
    int64_t spare = 16 * geometry.pixel_stride + kReadAhead;  // read by tiles that pass the end
    uint8_t* planes = thread_scratch_of<uint8_t>(ScratchSlot::kPlanes, batch * geometry.plane_bytes + spare);
    split(x, geometry, batch, planes);
    int64_t tiles = int64_t(geometry.tiles.size()), blocks = (tiles + kBlockTiles - 1) / kBlockTiles, all = batch * blocks, pairs = stream_.pairs();
    int64_t parts = std::min(pairs, std::max((4 * thread_count() + all - 1) / all, (pairs + kMostPairs - 1) / kMostPairs));
    parallel_for(all * parts, [&](int64_t task) {
      int64_t image = task / parts / blocks, first = task / parts % blocks * kBlockTiles, part = task % parts;
      Block block = {image, part * pairs / parts, (part + 1) * pairs / parts, first, std::min(kBlockTiles, tiles - first)};
      run_block(geometry, planes + image * geometry.plane_bytes, chunk_offsets, block, y, epilogue);
    });
  }

  void split(const float* x, const ConvTiles& g, int64_t batch, uint8_t* planes) const {
    const ConvProblem& p = problem_;
    int64_t step_h = g.subsampled ? p.stride_h : 1, step_w = g.subsampled ? p.stride_w : 1;
    int64_t first = std::clamp<int64_t>((p.pad_left + step_w - 1) / step_w, 0, g.width);
    int64_t last = std::clamp<int64_t>((g.in_w + p.pad_left + step_w - 1) / step_w, first, g.width);
    int64_t pixels = g.in_h * g.in_w, blocks = blocks_of(p.in_channels);
    parallel_for(batch * g.height, [&](int64_t task) {
      int64_t image = task / g.height, row = task % g.height, in_row = row * step_h - p.pad_top;
      uint8_t* out = planes + image * g.plane_bytes + row * g.width * g.pixel_bytes;
      if (in_row < 0 || in_row >= g.in_h) {
        std::memset(out, 0, size_t(g.width * g.pixel_bytes));
        return;
      }
      std::memset(out, 0, size_t(first * g.pixel_bytes));
      std::memset(out + last * g.pixel_bytes, 0, size_t((g.width - last) * g.pixel_bytes));
      int64_t in_col = first * step_w - p.pad_left;
      for (int64_t b = 0; b < blocks; b += 2) {
        const float* from = x + ((image * blocks + b) * pixels + in_row * g.in_w + in_col) * kBlock;
        amx_bf16::split_pixels(from, b + 1 < blocks ? from + pixels * kBlock : nullptr, step_w * kBlock, last - first,
                               out + first * g.pixel_bytes + b / 2 * kXParts * 64, g.pixel_bytes);
      }
    });
  }

  void run_block(const ConvTiles& g, const uint8_t* plane, const std::vector<int64_t>& chunk_offsets, const Block& block, float* y,
                 const Epilogue& epilogue) const {
    int64_t width = (block.last_pair - block.first_pair) * 2 * kGroupRows, sums_stride = width + 16;
    float* sums = thread_scratch_of<float>(ScratchSlot::kTile, block.tiles * 16 * sums_stride);
    std::array<int64_t, kBlockTiles> tile_offsets;
    for (int64_t t = 0; t < block.tiles; t++) tile_offsets[size_t(t)] = g.tiles[size_t(block.first_tile + t)].offset;
    stream_.multiply(block.first_pair, block.last_pair,
                     {.x_parts = kXParts,
                      .x = plane,
                      .x_stride = g.pixel_stride,
                      .chunk_offsets = chunk_offsets.data(),
                      .tile_offsets = tile_offsets.data(),
                      .token_tiles = block.tiles,
                      .sums = sums,
                      .sums_stride = sums_stride});
    int64_t last_group = std::min(2 * block.last_pair, blocks_of(problem_.out_channels));
    for (int64_t group = 2 * block.first_pair; group < last_group; group++)
      store(g, block, group, sums + (group - 2 * block.first_pair) * kGroupRows, sums_stride, y, epilogue);
  }

  // A row group is a block of output channels.
  void store(const ConvTiles& g, const Block& block, int64_t group, const float* sums, int64_t sums_stride, float* y,
             const Epilogue& epilogue) const {
    int64_t pixels = g.out_h * g.out_w, base = (block.image * blocks_of(problem_.out_channels) + group) * pixels * kBlock;
    int64_t rows = std::min(kBlock, problem_.out_channels - group * kBlock);
    Epilogue of_block = epilogue;
    if (epilogue.bias) of_block.bias += group * kBlock;
    if (epilogue.residual) of_block.residual += base, of_block.residual_stride = kBlock;
    g.for_each_run(block.first_tile, block.tiles, [&](int64_t lane, int64_t pixel, int64_t count) {
      store_token_major(
          {.sums = sums + lane * sums_stride, .sums_stride = sums_stride, .first_row = 0, .rows = rows, .first_token = pixel, .tokens = count},
          y + base, kBlock, of_block);
      for (int64_t i = pixel; rows < kBlock && i < pixel + count; i++) std::fill_n(y + base + i * kBlock + rows, kBlock - rows, 0.0f);
    });
  }

  std::string_view kernel_;
  ConvProblem problem_;
  TileStream stream_;
};

std::optional<std::string> accepts(const ConvProblem& problem, const CpuFeatures& cpu, bool bitmask) {
  constexpr int64_t kFewestChannels = 16;
  if (auto reason = lacks(cpu, "amx_bf16")) return reason;
  if (problem.weights != DType::kF32 || problem.activations != DType::kF32) return "multiplies f32";
  if (bitmask && problem.pattern == "dense") return "the weight is dense";
  if (problem.pad_top < 0 || problem.pad_left < 0 || problem.pad_bottom < 0 || problem.pad_right < 0) return "pads are negative";
  if (problem.groups != 1) return "is for one group of channels";
  if (problem.in_channels < kFewestChannels) return cat("is for at least ", kFewestChannels, " input channels");
  if (!amx_granted()) return "the operating system does not grant AMX tiles";
  return std::nullopt;
}

}  // namespace

extern const ConvKernel amx_bf16_conv_bitmask_f32 = {.name = "amx_bf16::conv_bitmask_f32",
                                                     .help = "f32 under a bitmask, expanded to AMX tiles of bf16 parts",
                                                     .sparse = true,
                                                     .break_even = 0.1,
                                                     .accepts = [](const ConvProblem& p, const CpuFeatures& cpu) { return accepts(p, cpu, true); },
                                                     .pack = [](const ConvProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedConv> {
                                                       return std::make_unique<FloatTilesConv>("amx_bf16::conv_bitmask_f32", p, w, true);
                                                     }};

extern const ConvKernel amx_bf16_conv_dense_f32 = {.name = "amx_bf16::conv_dense_f32",
                                                   .help = "dense f32 in AMX tiles of bf16 parts",
                                                   .sparse = false,
                                                   .break_even = 0,
                                                   .accepts = [](const ConvProblem& p, const CpuFeatures& cpu) { return accepts(p, cpu, false); },
                                                   .pack = [](const ConvProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedConv> {
                                                     return std::make_unique<FloatTilesConv>("amx_bf16::conv_dense_f32", p, w, false);
                                                   }};

}  // namespace lacuna::kernels
