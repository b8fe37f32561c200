// Int8 convolution on AMX: dense, static input scale.
//
// The input is quantized to padded planes with the channels of a pixel together [row][column][channel]. Sixteen output positions are the
// tokens of a tile (conv_tiles.h); under one row of the kernel their inputs are one run of kernel_w * channels bytes (one run per tap if taps
// are dilated), which is cut into chunks of 64 columns, the last one filled up with zero weights.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "base/parallel.h"
#include "kernels/conv_tiles.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/integer/amx_weight.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

// Columns of a kernel row (or tap) side by side, filled up to whole chunks.
struct Runs {
  explicit Runs(const ConvProblem& p) : inner(p.in_channels / p.groups), taps(p.dilation_w == 1 ? p.kernel_w : 1) {
    length = inner * taps, padded = (length + 63) / 64 * 64, count = p.kernel_h * p.kernel_w / taps;
  }
  int64_t inner, taps;  // channels, and taps of a run
  int64_t length, padded, count;
};

class AmxConv : public PackedConv {
 public:
  AmxConv(std::string_view kernel, const ConvProblem& problem, const WeightMatrix& weight) : kernel_(kernel), problem_(problem), runs_(problem) {
    LACUNA_ASSERT(amx_granted());
    int64_t rows = weight.rows / problem.groups, cols = runs_.count * runs_.padded;
    std::vector<int8_t> codes(static_cast<size_t>(rows * cols));
    for (int64_t g = 0; g < problem.groups; g++) {
      std::fill(codes.begin(), codes.end(), int8_t(0));
      for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < weight.cols; c++)
          if (!weight.mask || weight.mask->kept(g * rows + r, c))
            codes[size_t(r * cols + c / runs_.length * runs_.padded + c % runs_.length)] = weight.codes[(g * rows + r) * weight.cols + c];
      WeightMatrix padded = {.rows = rows, .cols = cols, .codes = codes.data(), .scales = weight.scales + g * rows};
      groups_.push_back(pack_lane16(padded, amx_layout(), {.format = Lane16Format::kDense, .input_zero = problem.input_zero}));
    }
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override {
    int64_t bytes = 0;
    for (const Lane16Weight& group : groups_) bytes += group.size_bytes();
    return bytes;
  }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    if (batch == 0 || problem_.out_channels == 0) return;
    Geometry geometry(problem_, runs_, in_h, in_w);
    uint8_t* planes = thread_scratch_of<uint8_t>(ScratchSlot::kShared, batch * geometry.image_bytes + geometry.spare_bytes());
    quantize(x, geometry, batch, planes);
    for_each_block(geometry, batch, [&](const Block& block) {
      int32_t* sums = multiply(geometry, planes, block);
      store_floats(geometry, block, sums, y, epilogue);
    });
  }

  void run_codes(const CodesConv& call, int64_t batch, int64_t in_h, int64_t in_w) const override {
    if (batch == 0 || problem_.out_channels == 0) return;
    const ConvProblem& p = problem_;
    bool in_place = p.groups == 1 && p.pad_top == 0 && p.pad_left == 0 && p.pad_bottom == 0 && p.pad_right == 0;
    in_place = in_place && 16 * p.stride_w * p.in_channels + kReadAhead <= kCodesSpare;
    Geometry geometry(problem_, runs_, in_h, in_w, in_place);
    const uint8_t* planes = reinterpret_cast<const uint8_t*>(call.x);
    if (!in_place) planes = pad_codes(call, geometry, batch);
    for_each_block(geometry, batch, [&](const Block& block) {
      int32_t* sums = multiply(geometry, planes, block);
      if (call.y) return store_codes(geometry, block, sums, call);
      store_floats(geometry, block, sums, call.y_floats, call.epilogue);
    });
  }

 private:
  static constexpr int64_t kReadAhead = 4096;  // beyond the pixels that the last tile passes the end by
  static constexpr int64_t kBlockTiles = 16;   // their sums stay in the L1 cache

  struct Geometry : ConvTiles {
    // With `in_place` the planes are the input itself.
    Geometry(const ConvProblem& p, const Runs& runs, int64_t in_h_, int64_t in_w_, bool in_place = false)
        : ConvTiles(p, runs.inner, in_h_, in_w_, in_place), group_bytes(plane_bytes), image_bytes(plane_bytes * p.groups) {
      for (int64_t run = 0; run < runs.count; run++) {
        int64_t tap = tap_offset(p, run * runs.taps / p.kernel_w, run * runs.taps % p.kernel_w);
        for (int64_t c = 0; c < runs.padded; c += 64) chunk_offsets.push_back(tap + c);
      }
    }
    // Read by tiles and chunks that pass the end.
    int64_t spare_bytes() const { return 16 * pixel_stride + kReadAhead; }
    int64_t group_bytes, image_bytes;
    std::vector<int64_t> chunk_offsets;
  };

  // Some tiles under a pair of row groups; the task goes on to pair last_pair - 1.
  struct Block {
    int64_t image, group, pair, last_pair, first_tile, tiles;
  };

  // Codes of a pixel lie together, so that row groups of one cache line belong to one task: all pairs of a block of tiles if there are
  // blocks enough and the weight stays in the cache meanwhile, else as many as give each thread some tasks.
  template <class F>
  void for_each_block(const Geometry& geometry, int64_t batch, F&& run) const {
    constexpr int64_t kCachedWeight = 256 << 10;
    int64_t pairs = (groups_[0].row_groups() + 1) / 2, tiles = int64_t(geometry.tiles.size()), blocks = (tiles + kBlockTiles - 1) / kBlockTiles;
    int64_t all = batch * problem_.groups * blocks, wanted = 4 * thread_count();
    bool whole = all >= wanted && groups_[0].size_bytes() <= kCachedWeight;
    int64_t parts = whole ? 1 : std::clamp<int64_t>((wanted + all - 1) / all, 1, (pairs + 1) / 2);
    int64_t step = ((pairs + parts - 1) / parts + 1) / 2 * 2;
    parts = (pairs + step - 1) / step;
    parallel_for(all * parts, [&](int64_t task) {
      int64_t first = task / parts % blocks * kBlockTiles, part = task % parts;
      Block block{.image = task / parts / blocks / problem_.groups,
                  .group = task / parts / blocks % problem_.groups,
                  .pair = part * step,
                  .last_pair = std::min(pairs, (part + 1) * step),
                  .first_tile = first,
                  .tiles = std::min(kBlockTiles, tiles - first)};
      for (; block.pair < block.last_pair; block.pair++) run(block);
    });
  }

  void quantize(const float* x, const Geometry& g, int64_t batch, uint8_t* planes) const {
    const ConvProblem& p = problem_;
    std::memset(planes + batch * g.image_bytes, 0, size_t(g.spare_bytes()));
    constexpr int64_t kRowsPerTask = 8;
    int64_t parts = (g.height + kRowsPerTask - 1) / kRowsPerTask;
    parallel_for(batch * p.groups * parts, [&](int64_t task) {
      int64_t part = task % parts, plane = task / parts, first = part * kRowsPerTask, last = std::min(first + kRowsPerTask, g.height);
      uint8_t* out = planes + plane * g.group_bytes;
      const float* channels = x + plane * runs_.inner * g.in_h * g.in_w;
      bool padded = g.height != g.in_h || g.width != g.in_w || p.pad_top || p.pad_left;
      if (padded) std::memset(out + first * g.width * runs_.inner, p.input_zero, size_t((last - first) * g.width * runs_.inner));
      if (g.subsampled || p.pad_left + g.in_w > g.width) {
        for (int64_t row = first; row < last; row++) quantize_row(channels, g, row, out);
      } else {
        quantize_rows(channels, g, std::max(first, p.pad_top), std::min(last, p.pad_top + g.in_h), out);
      }
    });
  }

  // Whole rows [first, last) of a plane, which all come from the input: its pixels follow each other.
  void quantize_rows(const float* channels, const Geometry& g, int64_t first, int64_t last, uint8_t* out) const {
    std::vector<int64_t> offsets;
    for (int64_t row = first; row < last; row++)
      for (int64_t w = 0; w < g.in_w; w++) offsets.push_back((row * g.width + problem_.pad_left + w) * runs_.inner);
    amx_int8::quantize_pixels({.x = channels + (first - problem_.pad_top) * g.in_w,
                               .channels = runs_.inner,
                               .channel_stride = g.in_h * g.in_w,
                               .pixels = int64_t(offsets.size()),
                               .rule = static_rule(problem_.input_scale, problem_.input_zero),
                               .offsets = offsets.data(),
                               .out = out});
  }

  // One row of a plane that leaves input columns out.
  void quantize_row(const float* channels, const Geometry& g, int64_t row, uint8_t* out) const {
    const ConvProblem& p = problem_;
    int64_t in_row = row * (g.subsampled ? p.stride_h : 1) - p.pad_top, step = g.subsampled ? p.stride_w : 1;
    if (in_row < 0 || in_row >= g.in_h) return;
    int64_t first = std::clamp<int64_t>((p.pad_left + step - 1) / step, 0, g.width);
    int64_t last = std::clamp<int64_t>((g.in_w + p.pad_left + step - 1) / step, first, g.width);
    std::vector<int64_t> offsets;
    for (int64_t w = first; w < last; w++) offsets.push_back((row * g.width + w) * runs_.inner);
    const float* x = channels + in_row * g.in_w + first * step - p.pad_left;
    float* picked = thread_scratch_of<float>(ScratchSlot::kTile, runs_.inner * (last - first));
    for (int64_t c = 0; c < runs_.inner; c++)
      for (int64_t i = 0; i < last - first; i++) picked[c * (last - first) + i] = x[c * g.in_h * g.in_w + i * step];
    amx_int8::quantize_pixels({.x = picked,
                               .channels = runs_.inner,
                               .channel_stride = last - first,
                               .pixels = last - first,
                               .rule = static_rule(p.input_scale, p.input_zero),
                               .offsets = offsets.data(),
                               .out = out});
  }

  // The codes of x with padding around them, or only those that a strided 1x1 kernel reads.
  const uint8_t* pad_codes(const CodesConv& call, const Geometry& g, int64_t batch) const {
    const ConvProblem& p = problem_;
    uint8_t* planes = thread_scratch_of<uint8_t>(ScratchSlot::kShared, batch * g.image_bytes + g.spare_bytes());
    int64_t step_h = g.subsampled ? p.stride_h : 1, step_w = g.subsampled ? p.stride_w : 1, inner = runs_.inner;
    int64_t first = std::clamp<int64_t>((p.pad_left + step_w - 1) / step_w, 0, g.width);
    int64_t last = std::clamp<int64_t>((g.in_w + p.pad_left + step_w - 1) / step_w, first, g.width);
    parallel_for(batch * p.groups * g.height, [&](int64_t task) {
      int64_t row = task % g.height, group = task / g.height % p.groups, image = task / g.height / p.groups;
      uint8_t* out = planes + image * g.image_bytes + group * g.group_bytes + row * g.width * inner;
      int64_t in_row = row * step_h - p.pad_top;
      if (in_row < 0 || in_row >= g.in_h) {
        std::memset(out, p.input_zero, size_t(g.width * inner));
        return;
      }
      const int8_t* from = call.x + ((image * g.in_h + in_row) * g.in_w + first * step_w - p.pad_left) * p.in_channels + group * inner;
      std::memset(out, p.input_zero, size_t(first * inner));
      if (p.groups == 1 && step_w == 1)
        std::memcpy(out + first * inner, from, size_t((last - first) * inner));
      else
        for (int64_t w = first; w < last; w++, from += step_w * p.in_channels) std::memcpy(out + w * inner, from, size_t(inner));
      std::memset(out + last * inner, p.input_zero, size_t((g.width - last) * inner));
    });
    return planes;
  }

  // Sums [2][tiles * 16][16] of a block; an odd last row group is multiplied twice.
  int32_t* multiply(const Geometry& g, const uint8_t* planes, const Block& block) const {
    const Lane16Weight& weight = groups_[size_t(block.group)];
    int64_t positions = block.tiles * 16;
    int32_t* sums = thread_scratch_of<int32_t>(ScratchSlot::kTileSecond, 2 * positions * 16);
    std::array<int64_t, kBlockTiles> tile_offsets;
    for (int64_t t = 0; t < block.tiles; t++) tile_offsets[size_t(t)] = g.tiles[size_t(block.first_tile + t)].offset;
    auto stream_of = [&](int64_t row_group) {
      return reinterpret_cast<const uint8_t*>(weight.stream.get()) + weight.stream_begin[size_t(std::min(row_group, weight.row_groups()))];
    };
    int64_t first = 2 * block.pair;
    bool more = block.pair + 1 < block.last_pair;
    AmxCall call = {.tiles = {stream_of(first), stream_of(first + row_groups(block) - 1)},
                    .chunk_offsets = g.chunk_offsets.data(),
                    .chunks = int64_t(g.chunk_offsets.size()),
                    .x = planes + block.image * g.image_bytes + block.group * g.group_bytes,
                    .tile_offsets = tile_offsets.data(),
                    .x_stride = g.pixel_stride,
                    .token_tiles = block.tiles,
                    .sums = {sums, sums + positions * 16},
                    .ahead = more ? stream_of(first + 2) : nullptr,
                    .ahead_bytes = more ? stream_of(first + 4) - stream_of(first + 2) : 0};
    amx_int8::multiply(call);
    return sums;
  }

  int64_t row_groups(const Block& block) const { return std::min<int64_t>(2, groups_[size_t(block.group)].row_groups() - 2 * block.pair); }
  int64_t rows_of(const Block& block, int64_t i) const {
    return std::min<int64_t>(16, groups_[size_t(block.group)].rows - (2 * block.pair + i) * 16);
  }
  int64_t channel_of(const Block& block, int64_t i) const { return block.group * groups_[size_t(block.group)].rows + (2 * block.pair + i) * 16; }

  void store_floats(const Geometry& g, const Block& block, const int32_t* sums, float* y, const Epilogue& epilogue) const {
    int64_t positions = block.tiles * 16;
    float* scaled = thread_scratch_of<float>(ScratchSlot::kTileThird, 16 * positions);
    for (int64_t i = 0; i < row_groups(block); i++) {
      const float* scales = groups_[size_t(block.group)].scales.data() + (2 * block.pair + i) * 16;
      amx_int8::scale_transposed(sums + i * positions * 16, excess_of(block, i), positions, scales, problem_.input_scale, scaled, positions);
      store(g, block.image, channel_of(block, i), rows_of(block, i), block.first_tile, block.tiles, scaled, y, epilogue);
    }
  }

  // Of row group i of a block; nullptr if the code of 0 is 0.
  const int32_t* excess_of(const Block& block, int64_t i) const {
    const std::vector<int32_t>& excess = groups_[size_t(block.group)].excess;
    return excess.empty() ? nullptr : excess.data() + (2 * block.pair + i) * 16;
  }

  static CodeRounding rounding_of(const Rounding& r) {
    return {.scale = r.scale, .inverse = r.scale > 0 ? 1.0f / r.scale : 0, .low = float(-128 - r.zero), .high = float(127 - r.zero)};
  }

  void store_codes(const Geometry& g, const Block& block, const int32_t* sums, const CodesConv& call) const {
    int64_t positions = block.tiles * 16, channels = problem_.out_channels, image = block.image * g.out_h * g.out_w, channel = channel_of(block, 0);
    float inverse = 1.0f / call.y_scale;
    CodeStore task = {.sums = {},
                      .pixels = 0,
                      .channels = rows_of(block, 0) + (row_groups(block) > 1 ? rows_of(block, 1) : 0),
                      .excess = excess_of(block, 0),
                      .factors = groups_[size_t(block.group)].scales.data() + 2 * block.pair * 16,
                      .x_scale = problem_.input_scale,
                      .bias = call.bias ? call.bias + channel : nullptr,
                      .residual = nullptr,
                      .residual_scale = call.residual_scale,
                      .residual_zero = call.residual_zero,
                      .product = rounding_of(call.product),
                      .sum = rounding_of(call.sum),
                      .low = float(-128 - call.y_zero),
                      .high = float(127 - call.y_zero),
                      .inverse = inverse,
                      .zero = call.y_zero,
                      .y = nullptr,
                      .y_stride = channels};
    auto clip = [&](float low, float high) { task.low = std::clamp(low, task.low, task.high), task.high = std::clamp(high, task.low, task.high); };
    if (call.activation == Activation::kRelu) clip(0, task.high);
    if (call.activation == Activation::kRelu6) clip(0, 6 * inverse);
    if (call.activation == Activation::kClip) clip(call.alpha * inverse, call.beta * inverse);
    g.for_each_run(block.first_tile, block.tiles, [&](int64_t lane, int64_t pixel, int64_t count) {
      int64_t at = (image + pixel) * channels + channel;
      task.sums[0] = sums + lane * 16, task.sums[1] = sums + (positions + lane) * 16;
      task.pixels = count, task.y = call.y + at;
      if (call.residual) task.residual = call.residual + at;
      amx_int8::store_codes(task);
    });
  }

  // Stores `rows` channels from `channel` on, a piece of an output row at a time.
  void store(const Geometry& g, int64_t image, int64_t channel, int64_t rows, int64_t first_tile, int64_t tiles, const float* scaled, float* y,
             const Epilogue& epilogue) const {
    int64_t pixels = g.out_h * g.out_w, image_size = problem_.out_channels * pixels;
    Epilogue image_epilogue = epilogue;
    if (epilogue.residual) image_epilogue.residual += image * image_size;
    image_epilogue.residual_stride = pixels;
    g.for_each_run(first_tile, tiles, [&](int64_t lane, int64_t pixel, int64_t count) {
      store_channel_major(
          {.sums = scaled + lane, .sums_stride = tiles * 16, .first_row = channel, .rows = rows, .first_token = pixel, .tokens = count},
          y + image * image_size, pixels, image_epilogue);
    });
  }

  std::string_view kernel_;
  ConvProblem problem_;
  Runs runs_;
  std::vector<Lane16Weight> groups_;
};

std::optional<std::string> accepts(const ConvProblem& problem, const CpuFeatures& cpu) {
  if (auto reason = lacks(cpu, "amx_int8")) return reason;
  if (problem.weights != DType::kS8 || problem.activations != DType::kS8) return "takes s8 weights and activations";
  if (problem.in_channels == problem.groups && problem.groups > 1) return "is not for depthwise convolutions";
  if (!amx_granted()) return "the operating system does not grant AMX tiles";
  return std::nullopt;
}

}  // namespace

extern const ConvKernel amx_int8_conv_dense_s8 = {.name = "amx_int8::conv_dense_s8",
                                                  .help = "dense int8 in AMX tiles",
                                                  .sparse = false,
                                                  .break_even = 0,
                                                  .accepts = accepts,
                                                  .pack = [](const ConvProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedConv> {
                                                    return std::make_unique<AmxConv>("amx_int8::conv_dense_s8", p, w);
                                                  },
                                                  .codes = true};

}  // namespace lacuna::kernels
