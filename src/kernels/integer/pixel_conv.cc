// Int8 convolution with the channels of a pixel together and a static input scale: on AMX, dense or under a bitmask, and in vectors by the loops of
// lane16.h, dense or sparse in windows of 64 columns.
//
// Sixteen output positions are the tokens of a tile (pixel_planes.h); under one row of the kernel their inputs are one run of
// kernel_w * channels bytes (one run per tap if taps are dilated), which is cut into chunks of 64 or 32 columns, the last one filled up with zero
// weights. A task is a block of tiles by some quads of row groups: 64 channels, a cache line of each pixel of codes.
#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <optional>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/integer/amx_block.h"
#include "kernels/integer/amx_weight.h"
#include "kernels/integer/codes_end.h"
#include "kernels/integer/pixel_planes.h"
#include "kernels/support.h"

namespace lacuna::kernels {

namespace avx512_vbmi2 {
extern const Lane16Isa lane16;
}
namespace avx512_vnni {
extern const Lane16Isa lane16;
}

namespace {

constexpr std::string_view kAmx = "amx_int8";

// How the products are made.
struct Product {
  const PixelIsa& pixels;
  const Lane16Isa& layout;
  Lane16Format format;
  bool amx = false;
  bool depthwise = false;
  bool expands() const { return amx && format == Lane16Format::kBitmask; }
  bool windows() const { return format == Lane16Format::kWindow; }
  bool sparse() const { return format != Lane16Format::kDense; }
  int64_t chunk() const { return amx || windows() ? 64 : kUnitCols; }
  // Of codes that products of unsigned activations read.
  uint8_t flip() const { return depthwise || (windows() && layout.unsigned_gather) ? 0x80 : 0; }
  // Unsigned weights leave a multiple of the sum of the activations.
  bool sums_inputs() const { return !amx && !windows() && !depthwise && layout.bias8 != 0; }
};

class PixelConv : public PackedConv {
 public:
  PixelConv(std::string_view kernel, const ConvProblem& problem, const WeightMatrix& weight, const Product& product)
      : kernel_(kernel), product_(product), problem_(geometry(problem, product)), runs_(problem_, product.chunk()) {
    LACUNA_ASSERT(!product.amx || amx_granted());
    if (product.depthwise) {
      pack_depthwise(weight);
      return;
    }
    int64_t rows = weight.rows / problem.groups, cols = runs_.count * runs_.padded;
    std::vector<int8_t> codes(static_cast<size_t>(rows * cols));
    for (int64_t g = 0; g < problem.groups; g++) {
      std::fill(codes.begin(), codes.end(), int8_t(0));
      Mask kept(rows, cols, false);
      for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < weight.cols; c++) {
          if (weight.mask && !weight.mask->kept(g * rows + r, c)) continue;
          int64_t at = c / runs_.length * runs_.padded + c % runs_.length;
          int8_t code = weight.codes[(g * rows + r) * weight.cols + c];
          codes[size_t(r * cols + at)] = code;
          if (product.sparse() && code != 0) kept.set(r, at, true);
        }
      WeightMatrix padded = {
          .rows = rows, .cols = cols, .codes = codes.data(), .scales = weight.scales + g * rows, .mask = product.sparse() ? &kept : nullptr};
      Lane16Options options = {.format = product.format, .input_zero = problem.input_zero};
      if (product.windows()) options.window = 64, options.run = runs_.padded;
      groups_.push_back(pack_lane16(padded, product.layout, options));
      quads_ = (groups_.back().row_groups() + 3) / 4;
      add_orders(groups_.back());
    }
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override {
    int64_t bytes = int64_t(orders_.size() * sizeof(RowOrder));
    for (const Lane16Weight& group : groups_) bytes += group.size_bytes();
    return bytes;
  }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    if (batch == 0 || problem_.out_channels == 0) return;
    auto planes = planes_for(in_h, in_w, false);
    uint8_t* codes = thread_scratch_of<uint8_t>(ScratchSlot::kShared, batch * planes->image_bytes + planes->spare_bytes());
    quantize_planes(problem_, *planes, plane_codes(), x, batch, codes);
    for_each_block(*planes, batch, {.planes = codes}, nullptr, nullptr,
                   [&](const Block& block, const int32_t* sums) { store_floats(*planes, block, sums, y, epilogue); });
  }

  void run_codes(const CodesConv& call, int64_t batch, int64_t in_h, int64_t in_w) const override {
    if (batch == 0 || problem_.out_channels == 0) return;
    const ConvProblem& p = problem_;
    bool pointwise = p.kernel_h == 1 && p.kernel_w == 1 && p.stride_h == 1 && p.stride_w == 1;
    bool padded = p.pad_top || p.pad_left || p.pad_bottom || p.pad_right;
    // Products of unsigned weights read whole chunks of columns, and what is behind the last pixel may change meanwhile.
    bool whole = !product_.sums_inputs() || runs_.padded == runs_.length;
    bool in_place = pointwise && !padded && whole && p.groups == 1 && !product_.flip() && 16 * p.in_channels + ConvPlanes::kReadAhead <= kCodesSpare;
    // Pixels of images follow each other.
    if (in_place && call.y) in_h *= batch, batch = 1;
    auto planes = planes_for(in_h, in_w, in_place);
    Source source = {.codes = call.x};
    if (in_place) source = {.planes = reinterpret_cast<const uint8_t*>(call.x)};
    std::optional<CodesEnd> end;
    if (call.y) end.emplace(problem_, product_.pixels, call);
    std::vector<float> bias_of_rows;
    if (end && call.bias) end->bias = in_row_order(call.bias, bias_of_rows);
    for_each_block(*planes, batch, source, call.next, end ? &*end : nullptr,
                   [&](const Block& block, const int32_t* sums) { store_floats(*planes, block, sums, call.y_floats, call.epilogue); });
  }

  std::span<const uint8_t> first_weights(int64_t share, int64_t shares) const override {
    constexpr int64_t kMost = 128 << 10;  // of an L2 cache that others use as well
    if (!product_.amx) return {};         // vectors multiply slower than weights come
    int64_t quad = cached() ? 0 : quads_ * share / shares;
    const uint8_t *begin = stream_of(0, 4 * quad), *end = stream_of(0, cached() ? 4 * quads_ : 4 * quad + 4);
    return {begin, size_t(std::min<int64_t>(end - begin, kMost))};
  }

 private:
  static constexpr int64_t kBlockTiles = 16;
  inline static std::atomic<uint64_t> run_number = 0;
  static constexpr int64_t kCachedWeight = 256 << 10;

  // Whether weights stay in the cache, or come faster than they are used. AMX expands them with each of few blocks of tiles.
  bool cached() const { return !product_.amx || (!product_.expands() && groups_[0].size_bytes() <= kCachedWeight); }

  // With where the units of every group, or the steps of its windows, find their columns.
  struct Planes : ConvPlanes {
    using ConvPlanes::ConvPlanes;
    std::vector<std::vector<int32_t>> offsets;
  };

  // Either all planes, or codes of which each task makes the rows it needs.
  struct Source {
    const uint8_t* planes = nullptr;
    const int8_t* codes = nullptr;
  };

  // Tiles, counted through the images, under a quad of row groups.
  struct Block {
    int64_t group, quad, first_tile, tiles;
  };

  // What a task reads: its tiles, and where they are.
  struct Input {
    const uint8_t* x;
    std::array<int64_t, kBlockTiles> offsets;
    std::array<int32_t, kBlockTiles * 16> sums;  // of what each position reads, if the product wants them
  };

  // How a run falls into tasks: part by part of the quads, so that a thread reads its share of the weights for all tiles. Weights that stay in the
  // cache are not cut.
  struct Cut {
    Cut(int64_t tiles_, int64_t groups, int64_t quads_, bool cached, int64_t threads_) : tiles(tiles_), quads(quads_), threads(threads_) {
      int64_t wanted = 4 * threads, pairs = (tiles + 1) / 2;
      blocks = (pairs + kBlockTiles / 2 - 1) / (kBlockTiles / 2);
      if (cached) blocks = std::min(pairs, std::max((blocks + threads - 1) / threads * threads, (wanted + groups - 1) / groups));
      parts = std::min(quads, std::max((wanted + groups * blocks - 1) / (groups * blocks), cached ? 1 : threads));
      tasks = groups * parts * blocks;
    }
    int64_t first_tile(int64_t block) const { return std::min(tiles, (tiles + 1) / 2 * block / blocks * 2); }
    int64_t first_quad(int64_t part) const { return quads * part / parts; }
    // Of the pool: neighbouring tasks have the same one.
    int64_t share(int64_t task) const { return ((task + 1) * threads - 1) / tasks; }
    int64_t first_task(int64_t share) const { return tasks * share / threads; }
    int64_t tiles, quads, threads, blocks, parts, tasks;
  };

  // What the thread that runs a task reads first of the next convolution, spread over the tiles of all its tasks.
  class Later {
   public:
    Later(const Cut& cut, int64_t task, const PackedConv* next) {
      if (!next) return;
      int64_t share = cut.share(task), first = cut.first_task(share), count = cut.first_task(share + 1) - first;
      std::span<const uint8_t> all = next->first_weights(share, cut.threads);
      int64_t lines = int64_t(all.size()) / kLine, begin = lines * (task - first) / count, end = lines * (task - first + 1) / count;
      int64_t part = task / cut.blocks % cut.parts, block = task % cut.blocks;
      int64_t tiles = (cut.first_tile(block + 1) - cut.first_tile(block)) * (cut.first_quad(part + 1) - cut.first_quad(part));
      at_ = all.data() + begin * kLine, end_ = all.data() + end * kLine;
      of_tile_ = (end - begin + tiles - 1) / tiles * kLine;
    }
    AmxConvCall::Ahead of(int64_t tiles) {
      const uint8_t* begin = at_;
      at_ += std::min(tiles * of_tile_, int64_t(end_ - at_));
      return {begin, at_ - begin};
    }

   private:
    static constexpr int64_t kLine = 64;
    const uint8_t *at_ = nullptr, *end_ = nullptr;
    int64_t of_tile_ = 0;
  };

  static constexpr int64_t kSums = 4 * kGroupSums;

  // A depthwise convolution is cut like one whose pixels have all channels.
  static ConvProblem geometry(ConvProblem problem, const Product& product) {
    if (product.depthwise) problem.groups = 1;
    return problem;
  }

  // The kernel of a depthwise convolution as DepthwiseCall has it: a flat one stands upright, as four taps of a column fill a lane.
  struct Upright {
    explicit Upright(const ConvProblem& p) : flat(p.kernel_h == 1), h(flat ? p.kernel_w : p.kernel_h), w(flat ? 1 : p.kernel_w) {}
    bool flat;
    int64_t h, w;
    int64_t parts() const { return (h + 3) / 4; }  // of a column, four taps each
  };

  void pack_depthwise(const WeightMatrix& weight) {
    Lane16Weight& packed = groups_.emplace_back();
    const Upright kernel(problem_);
    int64_t channels = weight.rows, taps = kernel.w * kernel.parts() * 4, row_groups = (channels + kLanes - 1) / kLanes;
    packed.rows = channels, packed.cols = weight.cols;
    quads_ = (row_groups + 3) / 4;
    int64_t bytes = quads_ * taps * 64;
    packed.stream = allocate(size_t(bytes), true);
    packed.stream_begin.assign(size_t(row_groups + 1), 0), packed.stream_begin.back() = bytes;
    packed.scales.assign(size_t(row_groups * kLanes), 0.0f), packed.excess.assign(size_t(row_groups * kLanes), 0);
    auto* to = reinterpret_cast<int8_t*>(packed.stream.get());
    for (int64_t c = 0; c < channels; c++) {
      packed.scales[size_t(c)] = weight.scales[c];
      for (int64_t t = 0; t < weight.cols; t++) {
        if (weight.mask && !weight.mask->kept(c, t)) continue;
        int8_t code = weight.codes[c * weight.cols + t];
        int64_t h = t / kernel.w, part = t % kernel.w * kernel.parts() + h / 4;
        to[c / 64 * taps * 64 + (4 * part + c % 64 / 16) * 64 + 4 * (c % 16) + h % 4] = code;
        packed.excess[size_t(c)] += (problem_.input_zero + 128) * code;
      }
    }
  }

  // The orders of the quads of a group, where its rows are not in order.
  void add_orders(const Lane16Weight& weight) {
    LACUNA_ASSERT(weight.row_of.empty() || product_.pixels.orders_rows);
    for (int64_t first = 0; first < int64_t(weight.row_of.size()); first += 64) {
      RowOrder& order = orders_.emplace_back();
      for (int64_t i = 0; i < 64; i++) {
        const int64_t row = first + i < weight.rows ? weight.row_of[size_t(first + i)] - first : i;
        order.channel[i] = uint8_t(row), order.narrowed[row] = uint8_t(16 * (i % 16 / 4) + 4 * (i / 16) + i % 4);
      }
    }
  }
  const RowOrder* order_of(const Block& block) const { return orders_.empty() ? nullptr : &orders_[size_t(block.group * quads_ + block.quad)]; }

  // [out channels] as the sums have them: in `moved`, unless rows are in order.
  const float* in_row_order(const float* channels, std::vector<float>& moved) const {
    if (orders_.empty()) return channels;
    moved.reserve(size_t(problem_.out_channels));
    for (const Lane16Weight& group : groups_)
      for (int64_t r = 0, first = int64_t(moved.size()); r < rows(); r++) moved.push_back(channels[first + group.row_of[size_t(r)]]);
    return moved.data();
  }

  // Where the codes of pairs of tiles go, the same for all quads but for the channel.
  struct PairRuns {
    std::array<CodeRun, kBlockPixels> runs;
    int64_t count = 0;
  };
  using TaskRuns = std::array<PairRuns, kBlockTiles / 2>;
  void find_runs(const ConvPlanes& g, const Block& all, TaskRuns& to) const {
    int64_t pixels = g.out_h * g.out_w;
    for (int64_t t = 0; t < all.tiles; t += 2) {
      PairRuns& pair = to[size_t(t / 2)];
      pair.count = 0;
      Block some{.group = all.group, .quad = 0, .first_tile = all.first_tile + t, .tiles = std::min<int64_t>(2, all.tiles - t)};
      for_each_image(g, some, [&](int64_t image, int64_t tile, int64_t tiles, int64_t before) {
        g.for_each_run(tile, tiles, [&](int64_t lane, int64_t pixel, int64_t count) {
          pair.runs[size_t(pair.count++)] = {before * 16 + lane, count, (image * pixels + pixel) * problem_.out_channels};
        });
      });
    }
  }

  // Sums of a block, from now on; the rest of the task stays. Field by field: a copy of fields just written would wait until they are in the cache,
  // and all products with it.
  void set_block(const CodesEnd& end, const Block& block, const PairRuns& pair, const int32_t* sums, CodeStore& store) const {
    int64_t channel = channel_of(block);
    store.channels = std::min<int64_t>(64, rows() - block.quad * 64);
    store.factors = scales_of(block);
    store.bias = end.bias ? end.bias + channel : nullptr;
    store.order = order_of(block);
    store.excess = excess_of(block);
    store.y = end.call.y + channel, store.residual = end.call.residual ? end.call.residual + channel : nullptr;
    store.sums = sums, store.runs = pair.runs.data(), store.run_count = pair.count;
  }

  // For all blocks, of one or two tiles: sums [4][32][16] become codes as `end` says, or else floats(block, sums) stores them.
  template <class F>
  void for_each_block(const Planes& planes, int64_t batch, const Source& source, const PackedConv* next, const CodesEnd* end, F&& floats) const {
    const uint64_t run = ++run_number;
    const Cut cut(batch * int64_t(planes.tiles.size()), problem_.groups, quads_, cached(), thread_count());
    parallel_for(cut.tasks, [&](int64_t task) {
      int64_t block = task % cut.blocks, part = task / cut.blocks % cut.parts;
      Block all{.group = task / cut.blocks / cut.parts,
                .quad = cut.first_quad(part),
                .first_tile = cut.first_tile(block),
                .tiles = cut.first_tile(block + 1) - cut.first_tile(block)};
      Input input = input_of(planes, source, all, run);
      if (product_.sums_inputs()) sum_inputs(planes, all, input);
      // Sums become codes while the next ones are on their way.
      int32_t* sums = thread_scratch_of<int32_t>(ScratchSlot::kTileSecond, 2 * kSums);
      Block blocks[2];  // what the two halves of the sums are of
      int64_t turn = 0;
      TaskRuns runs;
      if (end) find_runs(planes, all, runs);
      CodeStore store = end ? end->task : CodeStore{};
      auto aim_at_turn_before = [&] {
        const Block& before = blocks[(turn + 1) % 2];
        set_block(*end, before, runs[size_t((before.first_tile - all.first_tile) / 2)], sums + (turn + 1) % 2 * kSums, store);
      };
      Later later(cut, task, next);
      if (product_.amx) amx_int8::begin_conv();
      for (int64_t last = cut.first_quad(part + 1); all.quad < last; all.quad++) {
        // The weights of the next quad, if nobody has read them yet.
        bool unread = all.quad + 1 < last ? block == 0 : block + 1 == cut.blocks && part + 1 < cut.parts && cut.share(task) == cut.share(task + 1);
        int64_t ahead = cached() || !unread ? 0 : (stream_of(all.group, 4 * all.quad + 8) - stream_of(all.group, 4 * all.quad + 4)) / all.tiles;
        std::array<const uint8_t*, 4> weights = {};
        if (product_.amx) weights = weights_of(all);
        Calls calls = product_.amx || product_.depthwise ? Calls{} : calls_of(planes, all);
        for (int64_t t = 0; t < all.tiles; t += 2, turn++) {
          Block& some = blocks[turn % 2];  // field by field, see set_block
          some.group = all.group, some.quad = all.quad, some.first_tile = all.first_tile + t, some.tiles = std::min<int64_t>(2, all.tiles - t);
          int32_t* to = sums + turn % 2 * kSums;
          const bool codes = end && turn > 0;
          if (codes) aim_at_turn_before();
          if (product_.amx) {
            AmxConvCall::Ahead quad = {stream_of(all.group, 4 * all.quad + 4) + t * ahead, some.tiles * ahead};
            multiply_tiles(planes, some, weights, input.x, input.offsets.data() + t, {quad, later.of(some.tiles)}, codes ? &store : nullptr, to);
          } else {
            product_.depthwise ? multiply_depthwise(planes, some, input, t, to) : multiply(calls, input, t, some.tiles, to);
            if (codes) product_.pixels.store_codes(store);
          }
          if (!end && turn > 0) floats(blocks[(turn + 1) % 2], sums + (turn + 1) % 2 * kSums);
        }
      }
      if (end && turn > 0) aim_at_turn_before(), product_.pixels.store_codes(store);
      if (!end && turn > 0) floats(blocks[(turn + 1) % 2], sums + (turn + 1) % 2 * kSums);
      if (product_.amx) amx_int8::end_conv();
    });
  }

  // Tiles begin at planes of their image, or in rows that are copied here, unless this task of the run had the same ones last.
  Input input_of(const Planes& g, const Source& source, const Block& block, uint64_t run) const {
    Input input;
    int64_t per_image = int64_t(g.tiles.size());
    if (source.planes) {
      input.x = source.planes + block.group * g.group_bytes;
      for (int64_t i = 0; i < block.tiles; i++) {
        int64_t tile = block.first_tile + i;
        input.offsets[size_t(i)] = tile / per_image * g.image_bytes + g.tiles[size_t(tile % per_image)].offset;
      }
      return input;
    }
    struct Piece {
      int64_t image;
      ConvPlanes::Rows rows;
    };
    std::array<Piece, kBlockTiles> pieces;
    size_t count = 0;
    int64_t bytes = 0;
    for_each_image(g, block, [&](int64_t image, int64_t tile, int64_t tiles, int64_t before) {
      ConvPlanes::Rows rows = g.rows_of(tile, tile + tiles);
      for (int64_t i = 0; i < tiles; i++) input.offsets[size_t(before + i)] = bytes + g.tiles[size_t(tile + i)].offset - rows.first * g.row_bytes;
      bytes += (rows.last - rows.first) * g.row_bytes;
      pieces[count++] = {image, rows};
    });
    uint8_t* out = thread_scratch_of<uint8_t>(ScratchSlot::kPlanes, bytes + g.spare_bytes());
    input.x = out;
    static thread_local struct {
      uint64_t run = 0;
      int64_t group = 0, first_tile = 0;
    } made;
    if (made.run == run && made.group == block.group && made.first_tile == block.first_tile) return input;
    for (size_t i = 0; i < count; i++)
      for (int64_t row = pieces[i].rows.first; row < pieces[i].rows.last; row++, out += g.row_bytes)
        copy_plane_row(problem_, g, plane_codes(), source.codes, pieces[i].image, block.group, row, out);
    made.run = run, made.group = block.group, made.first_tile = block.first_tile;
    return input;
  }

  // run(image, its first tile, tiles, tiles of the block before) for the images that tiles of a block are of.
  template <class F>
  static void for_each_image(const ConvPlanes& g, const Block& block, F&& run) {
    int64_t per_image = int64_t(g.tiles.size());
    for (int64_t i = 0; i < block.tiles;) {
      int64_t tile = (block.first_tile + i) % per_image, tiles = std::min(block.tiles - i, per_image - tile);
      run((block.first_tile + i) / per_image, tile, tiles, i);
      i += tiles;
    }
  }

  const uint8_t* stream_of(int64_t group, int64_t row_group) const {
    const Lane16Weight& weight = groups_[size_t(group)];
    return reinterpret_cast<const uint8_t*>(weight.stream.get()) + weight.stream_begin[size_t(std::min(row_group, weight.row_groups()))];
  }

  // The tiles of the row groups of a quad; those that are not there repeat the last.
  std::array<const uint8_t*, 4> weights_of(const Block& block) const {
    std::array<const uint8_t*, 4> weights;
    const Lane16Weight& weight = groups_[size_t(block.group)];
    int64_t first = 4 * block.quad, present = std::min<int64_t>(4, weight.row_groups() - first), bytes = weight.units / 2 * kAmxTile;
    uint8_t* tiles = product_.expands() ? thread_scratch_of<uint8_t>(ScratchSlot::kTile, 4 * bytes) : nullptr;
    for (int64_t i = 0; i < 4; i++) {
      int64_t from = std::min(i, present - 1);
      const uint8_t* stream = stream_of(block.group, first + from);
      weights[size_t(i)] = product_.expands() ? tiles + from * bytes : stream;
      if (!product_.expands() || i >= present) continue;
      AmxExpansion expansion = {.streams = {stream, stream}, .units = {weight.units, 0}, .tiles = tiles + i * bytes};
      amx_int8::expand(expansion, weight.units);
    }
    return weights;
  }

  void multiply_tiles(const ConvPlanes& g, const Block& block, const std::array<const uint8_t*, 4>& weights, const uint8_t* x, const int64_t* offsets,
                      const std::array<AmxConvCall::Ahead, 2>& ahead, const CodeStore* before, int32_t* sums) const {
    int64_t first = 4 * block.quad, present = std::min<int64_t>(4, groups_[size_t(block.group)].row_groups() - first);
    AmxConvCall call = {.tiles = {},
                        .row_groups = present,
                        .chunk_offsets = g.chunk_offsets.data(),
                        .chunks = int64_t(g.chunk_offsets.size()),
                        .x = x,
                        .tile_offsets = offsets,
                        .x_stride = g.pixel_stride,
                        .pixel_tiles = block.tiles,
                        .sums = sums,
                        .ahead = {ahead[0], ahead[1]}};
    std::copy(weights.begin(), weights.end(), call.tiles);
    amx_int8::multiply_conv(call, before);
  }

  // What each position of a block reads, summed.
  void sum_inputs(const Planes& g, const Block& block, Input& input) const {
    const std::vector<int32_t>& offsets = g.offsets[size_t(block.group)];
    for (int64_t t = 0; t < block.tiles; t++)
      product_.pixels.sum(input.x + input.offsets[size_t(t)], g.pixel_stride, 16, offsets.data(), int64_t(offsets.size()),
                          input.sums.data() + 16 * t);
  }

  // In vectors, a tile and one or two row groups at a time: the calls of a quad, but for the tile.
  struct Calls {
    std::array<Lane16Call, 4> of_group = {};
    int64_t count = 0;
  };
  Calls calls_of(const Planes& g, const Block& block) const {
    const Lane16Weight& weight = groups_[size_t(block.group)];
    Calls calls{.count = std::min<int64_t>(4, weight.row_groups() - 4 * block.quad)};
    for (int64_t i = 0; i < calls.count; i++) {
      const int64_t row_group = 4 * block.quad + i, begin = weight.unit_begin[size_t(row_group)];
      calls.of_group[size_t(i)] = {.stream = stream_of(block.group, row_group),
                                   .offsets = g.offsets[size_t(block.group)].data() + begin,
                                   .units = product_.windows() ? weight.unit_begin[size_t(row_group + 1)] - begin : weight.units,
                                   .ahead = 0,
                                   .x = nullptr,
                                   .x_xor = nullptr,
                                   .x_stride = g.pixel_stride,
                                   .tokens = 16,
                                   .x_sums = nullptr,
                                   .x_sums_stride = 1,
                                   .group_units = weight.units,
                                   .half_scales = false,
                                   .sums = nullptr,
                                   .scaled_sums = nullptr};
    }
    return calls;
  }

  // Tiles of the task's from `first` on.
  void multiply(Calls& calls, const Input& input, int64_t first, int64_t tiles, int32_t* sums) const {
    const Lane16Run run = product_.windows() ? product_.layout.window[0] : product_.layout.dense[0][0];
    const Lane16RunPair run_pair = product_.windows() ? nullptr : product_.layout.dense_pair;
    for (int64_t i = 0, at_once; i < calls.count; i += at_once) {
      at_once = run_pair && i + 2 <= calls.count ? 2 : 1;
      for (int64_t t = 0; t < tiles; t++) {
        for (int64_t k = i; k < i + at_once; k++) {
          Lane16Call& call = calls.of_group[size_t(k)];
          call.x = input.x + input.offsets[size_t(first + t)];
          call.x_sums = input.sums.data() + 16 * (first + t);
          call.sums = sums + k * kGroupSums + t * 256;
        }
        at_once == 2 ? run_pair(&calls.of_group[size_t(i)]) : run(calls.of_group[size_t(i)]);
      }
    }
  }

  void multiply_depthwise(const Planes& g, const Block& block, const Input& input, int64_t first, int32_t* sums) const {
    const Upright kernel(problem_);
    const bool shared = kernel.w > 1;  // positions have columns in common
    const int64_t stride = shared ? g.pixel_stride / g.pixel_bytes : 1, columns = 15 * stride + (kernel.w - 1) * problem_.dilation_w + 1;
    DepthwiseCall call = {.x = nullptr,
                          .column_bytes = shared ? g.pixel_bytes : g.pixel_stride,
                          .row_bytes = kernel.flat ? problem_.dilation_w * g.pixel_bytes : problem_.dilation_h * g.row_bytes,
                          .column_count = columns,
                          .stride_w = stride,
                          .dilation_w = problem_.dilation_w,
                          .kernel_h = kernel.h,
                          .kernel_w = kernel.w,
                          .weights = reinterpret_cast<const uint8_t*>(groups_[0].stream.get()) + block.quad * kernel.w * kernel.parts() * 256,
                          .columns = thread_scratch_of<uint8_t>(ScratchSlot::kTile, columns * kernel.parts() * 256),
                          .sums = nullptr};
    for (int64_t t = 0; t < block.tiles; t++) {
      call.x = input.x + input.offsets[size_t(first + t)] + block.quad * 64;
      call.sums = sums + t * 256;
      avx512_vnni::depthwise_codes(call);
    }
  }

  PlaneCodes plane_codes() const { return {product_.pixels, product_.flip()}; }
  int64_t rows() const { return groups_[0].rows; }
  int64_t channel_of(const Block& block) const { return block.group * rows() + block.quad * 64; }
  // nullptr if the code of 0 is 0.
  const int32_t* excess_of(const Block& block) const {
    const std::vector<int32_t>& excess = groups_[size_t(block.group)].excess;
    return excess.empty() ? nullptr : excess.data() + block.quad * 64;
  }
  const float* scales_of(const Block& block) const { return groups_[size_t(block.group)].scales.data() + block.quad * 64; }

  void store_floats(const ConvPlanes& g, const Block& block, const int32_t* sums, float* y, const Epilogue& epilogue) const {
    int64_t positions = block.tiles * 16, pixels = g.out_h * g.out_w, image_size = problem_.out_channels * pixels;
    float* scaled = thread_scratch_of<float>(ScratchSlot::kTileThird, 64 * positions);
    const int32_t* excess = excess_of(block);
    const RowOrder* order = order_of(block);
    const int64_t present = std::min<int64_t>(64, rows() - block.quad * 64);
    for (int64_t first = 0; first < present; first += 16)
      product_.pixels.scale_transposed(sums + first / 16 * kGroupSums, excess ? excess + first : nullptr, positions, scales_of(block) + first,
                                       problem_.input_scale, order ? order->channel + first : nullptr, order ? scaled : scaled + first * positions,
                                       positions);
    for_each_image(g, block, [&](int64_t image, int64_t tile, int64_t tiles, int64_t before) {
      Epilogue image_epilogue = epilogue;
      if (epilogue.residual) image_epilogue.residual += image * image_size;
      image_epilogue.residual_stride = pixels;
      g.for_each_run(tile, tiles, [&](int64_t lane, int64_t pixel, int64_t count) {
        store_channel_major({.sums = scaled + before * 16 + lane,
                             .sums_stride = positions,
                             .first_row = channel_of(block),
                             .rows = present,
                             .first_token = pixel,
                             .tokens = count},
                            y + image * image_size, pixels, image_epilogue);
      });
    });
  }

  // The last one is kept: a network asks for the same one again and again.
  std::shared_ptr<const Planes> planes_for(int64_t in_h, int64_t in_w, bool in_place) const {
    std::lock_guard lock(planes_mutex_);
    if (!planes_ || planes_->in_h != in_h || planes_->in_w != in_w || planes_->in_place != in_place) {
      auto planes = std::make_shared<Planes>(problem_, runs_, in_h, in_w, in_place);
      for (const Lane16Weight& weight : groups_) {
        std::vector<int32_t>& offsets = planes->offsets.emplace_back();
        if (product_.amx) continue;
        for (int64_t column : weight.offsets) offsets.push_back(int32_t(planes->chunk_offsets[size_t(column / runs_.chunk)] + column % runs_.chunk));
      }
      planes_ = std::move(planes);
    }
    return planes_;
  }

  std::string_view kernel_;
  Product product_;
  ConvProblem problem_;
  ConvRuns runs_;
  int64_t quads_ = 0;
  std::vector<Lane16Weight> groups_;
  std::vector<RowOrder> orders_;  // [groups][quads], or empty: rows are in order
  mutable std::mutex planes_mutex_;
  mutable std::shared_ptr<const Planes> planes_;
};

// Tables of codes are looked up in a few instructions there.
const PixelIsa& best_pixels() { return lacks(cpu_features(), "avx512_vbmi2") ? avx512::pixels : avx512_vbmi2::pixels; }

std::optional<std::string> accepts(const ConvProblem& problem, const CpuFeatures& cpu, std::string_view isa, bool sparse,
                                   bool takes_depthwise = false) {
  if (auto reason = lacks(cpu, isa)) return reason;
  if (problem.weights != DType::kS8 || problem.activations != DType::kS8) return "takes s8 weights and activations";
  bool depthwise = problem.in_channels == problem.groups && problem.out_channels == problem.groups && problem.groups > 1;
  if (takes_depthwise != depthwise) return takes_depthwise ? "is for depthwise convolutions" : "is not for depthwise convolutions";
  if (problem.in_channels == problem.groups && problem.groups > 1 && !depthwise) return "takes no groups of one channel";
  if (sparse && problem.pattern == "dense") return "is for sparse weights";
  if (isa == kAmx && !amx_granted()) return "the operating system does not grant AMX tiles";
  return std::nullopt;
}

}  // namespace

#define LACUNA_PIXEL_CONV(isa, kernel, format, layout, pixels, text, even)                                                            \
  extern const ConvKernel isa##_##kernel = {                                                                                          \
      .name = #isa "::" #kernel,                                                                                                      \
      .help = text,                                                                                                                   \
      .sparse = format != Lane16Format::kDense,                                                                                       \
      .break_even = even,                                                                                                             \
      .accepts = [](const ConvProblem& p, const CpuFeatures& cpu) { return accepts(p, cpu, #isa, format != Lane16Format::kDense); },  \
      .pack = [](const ConvProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedConv> {                                        \
        return std::make_unique<PixelConv>(#isa "::" #kernel, p, w, Product{pixels, layout, format, std::string_view(#isa) == kAmx}); \
      },                                                                                                                              \
      .codes = true};

// Where expanding pays depends on the cache and the batch: only a plan that measures takes it.
LACUNA_PIXEL_CONV(amx_int8, conv_bitmask_s8, Lane16Format::kBitmask, amx_layout(), avx512_vbmi2::pixels,
                  "int8 under a bitmask, expanded to AMX tiles", 1)
LACUNA_PIXEL_CONV(amx_int8, conv_dense_s8, Lane16Format::kDense, amx_layout(), avx512_vbmi2::pixels, "dense int8 in AMX tiles", 0)
LACUNA_PIXEL_CONV(avx512_vbmi2, conv_window64_s8, Lane16Format::kWindow, avx512_vbmi2::lane16, avx512_vbmi2::pixels,
                  "int8 unstructured, gathered from windows of 64 columns, output channels in the lanes", 0.6)
// Not for AVX-512 without VNNI, where products between floats are faster, with everything around them: ResNet-50 23 ms against 31, with 90 % zeros 12
// against 29 (Zen 5 under LACUNA_ISA=avx512).
LACUNA_PIXEL_CONV(avx512_vnni, conv_dense_pixels_s8, Lane16Format::kDense, avx512_vnni::lane16, best_pixels(),
                  "dense int8, output channels in the lanes", 0)

extern const ConvKernel avx512_vnni_conv_depthwise_s8 = {
    .name = "avx512_vnni::conv_depthwise_s8",
    .help = "depthwise int8, channels in the lanes",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const ConvProblem& p, const CpuFeatures& cpu) { return accepts(p, cpu, "avx512_vnni", false, true); },
    .pack = [](const ConvProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedConv> {
      Product product{best_pixels(), avx512_vnni::lane16, Lane16Format::kDense};
      product.depthwise = true;
      return std::make_unique<PixelConv>("avx512_vnni::conv_depthwise_s8", p, w, product);
    },
    .codes = true};

}  // namespace lacuna::kernels
