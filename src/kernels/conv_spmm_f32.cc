// f32 convolution as a sparse matrix times panels of output pixels, without a full im2col: each column tile of a panel is loaded from
// the input (taps.h) into L1 right before it is used for all output channels. Lanes run over rows and images, so that small images
// fill them too. Dense weights take the same way in blocks of four output channels.
#include <mutex>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/conv.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/inner/conv_f32.h"
#include "kernels/spmm_f32.h"
#include "kernels/strips.h"
#include "kernels/support.h"
#include "kernels/taps.h"

namespace lacuna::kernels {
namespace {

using PackTaps = void (*)(const TapTask&) noexcept;
using FillStrip = void (*)(const StripTask&) noexcept;

// One group of channels of one call.
struct GroupCall {
  const SpmmF32Isa& isa;
  PackTaps pack_taps;
  const TapTable& table;
  int64_t group_channels, row_taps;  // columns are (kernel row, channel, tap of the row); of row_taps all taps, (channel, tap)
  const float* channels;             // channel 0 of the group
  int64_t first_out_channel;         // of the group
  int64_t out_channels;              // of the whole convolution
  float* y;                          // may be nullptr in a chain
  const Epilogue& epilogue;
};

class GroupSource final : public ChainSource {
 public:
  explicit GroupSource(const GroupCall& call) : call_(call) {}

  void pack(int64_t first_token, int64_t tokens, int64_t first_col, int64_t cols, int64_t panel_pitch, float* out) const override {
    int64_t pixels = call_.table.pixels();
    if (streams() && one_image(first_token, tokens)) {
      const float* columns[kMostTileCols];
      int64_t at = first_token / pixels * call_.table.image_pitch() + first_token % pixels;
      for (int64_t i = 0; i < cols; i++) columns[i] = call_.channels + at + (first_col + i) * call_.table.channel_pitch();
      call_.isa.copy_lanes(columns, cols, tokens, panel_pitch, out);
      return;
    }
    int64_t taps = call_.table.taps(), row_cols = call_.group_channels * call_.row_taps;
    if (call_.row_taps == taps || cols == call_.group_channels * taps)
      return pack_taps(first_token, tokens, 0, taps, first_col, cols, panel_pitch, out);
    for (int64_t col = first_col; col < first_col + cols;) {
      int64_t in_row = col % row_cols, count = std::min(first_col + cols - col, row_cols - in_row);
      pack_taps(first_token, tokens, col / row_cols * call_.row_taps, call_.row_taps, in_row, count, panel_pitch,
                out + (col - first_col) * kPanelLanes);
      col += count;
    }
  }

  void store(int64_t first_token, int64_t tokens, int64_t first_row, int64_t rows, int64_t panel_pitch, const float* sums) const override {
    store(first_token, tokens, first_row, rows, panel_pitch, sums, nullptr);
  }

  void store_and_keep(int64_t first_token, int64_t tokens, int64_t first_row, int64_t rows, int64_t panel_pitch, float* sums) const override {
    store(first_token, tokens, first_row, rows, panel_pitch, sums, sums);
  }

  bool finishes(int64_t first_token, int64_t tokens) const override {
    const Epilogue& e = call_.epilogue;
    return bounds_of(e) && !e.rounds() && one_image(first_token, tokens);
  }

  SpmmTile::Finish finish(int64_t first_token, int64_t tokens, int64_t first_row) const override {
    const Epilogue& e = call_.epilogue;
    int64_t pixels = call_.table.pixels(), at = position(first_token, first_row);
    Bounds bounds = *bounds_of(e);
    return {.bias = e.bias ? e.bias + call_.first_out_channel + first_row : nullptr,
            .residual = e.residual ? e.residual + at : nullptr,
            .residual_stride = pixels,
            .y = call_.y ? call_.y + at : nullptr,
            .y_stride = pixels,
            .lanes = tokens,
            .cuts = e.activation != Activation::kNone,
            .low = bounds.low,
            .high = bounds.high};
  }

  bool streams() const override { return call_.table.plain(); }

 private:
  // Columns [first_col, first_col + cols) of those of taps [first_tap, first_tap + taps).
  void pack_taps(int64_t first_token, int64_t tokens, int64_t first_tap, int64_t taps, int64_t first_col, int64_t cols, int64_t panel_pitch,
                 float* out) const {
    int64_t lanes = call_.isa.vector_lanes;
    for (int64_t t = 0; t < tokens; t += kPanelLanes)
      call_.pack_taps({.channel = call_.channels + first_col / taps * call_.table.channel_pitch(),
                       .channel_pitch = call_.table.channel_pitch(),
                       .pieces = call_.table.pieces(),
                       .starts = call_.table.starts((first_token + t) / lanes) + first_tap,
                       .starts_pitch = call_.table.taps(),
                       .first_tap = first_col % taps,
                       .taps = taps,
                       .row_taps = call_.row_taps,
                       .row_pitch = call_.group_channels * call_.row_taps * kPanelLanes,
                       .cols = cols,
                       .vectors = (std::min(kPanelLanes, tokens - t) + lanes - 1) / lanes,
                       .out = out + t / kPanelLanes * panel_pitch});
  }

  bool one_image(int64_t first_token, int64_t tokens) const {
    return first_token / call_.table.pixels() == (first_token + tokens - 1) / call_.table.pixels();
  }

  // In y and the residual.
  int64_t position(int64_t first_token, int64_t first_row) const {
    int64_t pixels = call_.table.pixels();
    return (first_token / pixels * call_.out_channels + call_.first_out_channel + first_row) * pixels + first_token % pixels;
  }

  void store(int64_t first_token, int64_t tokens, int64_t first_row, int64_t rows, int64_t panel_pitch, const float* sums, float* kept) const {
    int64_t pixels = call_.table.pixels();
    bool whole = one_image(first_token, tokens);
    // Panels are contiguous only for pieces that begin at their first lane.
    for (int64_t t = 0; t < tokens;) {
      int64_t image = (first_token + t) / pixels, pixel = (first_token + t) % pixels;
      int64_t count = whole ? tokens : std::min({pixels - pixel, tokens - t, kPanelLanes - t % kPanelLanes});
      int64_t lane = t / kPanelLanes * panel_pitch + t % kPanelLanes, first = image * call_.out_channels * pixels;
      Epilogue image_epilogue = call_.epilogue;
      image_epilogue.residual_stride = pixels;
      if (call_.epilogue.residual) image_epilogue.residual = call_.epilogue.residual + first;
      store_channel_major({.sums = sums + lane,
                           .sums_stride = kPanelLanes,
                           .first_row = call_.first_out_channel + first_row,
                           .rows = rows,
                           .first_token = pixel,
                           .tokens = count,
                           .panel_pitch = panel_pitch,
                           .kept = kept ? kept + lane : nullptr},
                          call_.y ? call_.y + first : nullptr, pixels, image_epilogue);
      t += count;
    }
  }

  GroupCall call_;
};

class SpmmConv final : public PackedConv {
 public:
  SpmmConv(std::string_view name, const SpmmF32Isa& isa, PackTaps pack_taps, FillStrip fill_strip, const ConvProblem& problem,
           const WeightMatrix& weight, SpmmMatrix::Store store)
      : name_(name),
        problem_(problem),
        isa_(isa),
        pack_taps_(pack_taps),
        fill_strip_(fill_strip),
        row_taps_(StripTable::takes(problem) ? problem.kernel_w : problem.kernel_h * problem.kernel_w) {
    int64_t rows = weight.rows / problem.groups;
    Tensor values = channels_outside(weight, problem.kernel_h * problem.kernel_w / row_taps_, row_taps_);
    for (int64_t g = 0; g < problem.groups; g++)
      groups_.emplace_back(isa, rows, weight.cols, values.data<float>().data() + g * rows * weight.cols, store);
  }

  std::string_view kernel() const override { return name_; }
  int64_t size_bytes() const override {
    int64_t bytes = 0;
    for (const SpmmMatrix& group : groups_) bytes += group.size_bytes();
    return bytes;
  }

  bool residual_in_place() const override { return true; }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    if (batch == 0) return;
    if (int64_t bands = bands_of(batch, in_h, in_w, epilogue)) return run_bands(x, batch, bands, in_h, in_w, y, epilogue);
    std::shared_ptr<const TapTable> table = table_for(batch, in_h, in_w);
    const float* source = source_of(x, *table);
    for (size_t g = 0; g < groups_.size(); g++) multiply(groups_[g], group_source(g, source, *table, y, epilogue), batch * table->pixels());
  }

  bool runs_rows(int64_t in_h, int64_t in_w, const Epilogue& epilogue) const override {
    constexpr int64_t kMostStrips = 1 << 20;  // bytes, of all panels of a row
    if (!StripTable::takes(problem_) || !bounds_of(epilogue) || epilogue.rounds()) return false;
    std::shared_ptr<const StripTable> table = strips_for(in_h, in_w);
    return table->fills_lanes() && strips_size(*table) * int64_t(sizeof(float)) <= kMostStrips;
  }

  void run_rows(const float* x, int64_t in_h, int64_t in_w, int64_t first_row, int64_t rows, float* y, int64_t y_pitch,
                const Epilogue& e) const override {
    std::shared_ptr<const StripTable> table = strips_for(in_h, in_w);
    const SpmmMatrix& matrix = groups_[0];
    LACUNA_ASSERT(bounds_of(e));
    const Bounds bounds = *bounds_of(e);
    // Strips of a few rows, so that they stay in L2: those that the next rows read too are then moved to the front.
    const int64_t size = table->strip_size(), stride = problem_.stride_h, shared = std::max<int64_t>(problem_.kernel_h - stride, 0);
    float* strips = thread_scratch_of<float>(ScratchSlot::kTile, strips_size(*table));
    float* sums = thread_scratch_of<float>(ScratchSlot::kTileSecond, matrix.rows() * kPanelLanes);
    // Rows outside of panels: the results of a channel are then written one behind the other.
    for (int64_t row = 0; row < rows; row++) {
      const int64_t first = row % kStripRows * stride,
                    skipped = row / kStripRows * kStripRows * stride;  // strips in front of the row, and moved away
      float* panel_strips = strips;
      for (const StripTable::Panel& panel : table->panels()) {
        if (row > 0 && first == 0) std::copy_n(panel_strips + kStripRows * stride * size, shared * size, panel_strips);
        for (int64_t i = first + (row ? shared : 0); i < first + problem_.kernel_h; i++)
          table->fill(fill_strip_, x, first_row, skipped + i, panel, panel_strips + i * size);
        const float* columns = panel_strips + first * size;
        for (int64_t t = 0; t < matrix.tiles(); t++)
          for (size_t g = 0; g < matrix.groups().size(); g++) {
            int64_t channel = matrix.groups()[g].first_row, at = channel * y_pitch + row * table->out_w() + panel.first;
            SpmmTile tile = matrix.tile(int64_t(g), t);
            SpmmTile::Finish finish = {.bias = e.bias ? e.bias + channel : nullptr,
                                       .residual = e.residual ? e.residual + at : nullptr,
                                       .residual_stride = y_pitch,
                                       .y = y + at,
                                       .y_stride = y_pitch,
                                       .lanes = panel.pixels,
                                       .cuts = e.activation != Activation::kNone,
                                       .low = bounds.low,
                                       .high = bounds.high};
            if (t + 1 == matrix.tiles()) tile.finish = &finish;
            matrix.isa().tile(tile, columns + t * matrix.tile_cols() * kPanelLanes, sums + channel * kPanelLanes, panel.pixels);
          }
        panel_strips += table->strips(kStripRows) * size;
      }
    }
  }

  bool follows(const PackedConv& before, int64_t pixels, int threads) const override {
    auto* other = dynamic_cast<const SpmmConv*>(&before);
    const ConvProblem& p = problem_;
    bool no_pads = p.pad_top == 0 && p.pad_left == 0 && p.pad_bottom == 0 && p.pad_right == 0;
    bool plain = p.kernel_h == 1 && p.kernel_w == 1 && p.stride_h == 1 && p.stride_w == 1 && no_pads;
    return other && plain && &isa_ == &other->isa_ && p.groups == 1 && other->problem_.groups == 1 && p.in_channels == other->problem_.out_channels &&
           p.in_channels > 0 && p.out_channels > 0 && chain_fits(pixels, std::max(p.in_channels, p.out_channels), threads);
  }

  void run_chain(const float* x, int64_t batch, int64_t in_h, int64_t in_w, std::span<const ConvLink> links,
                 std::span<double> seconds) const override {
    if (batch == 0) return;
    std::shared_ptr<const TapTable> table = table_for(batch, in_h, in_w);
    const float* source = source_of(x, *table);
    std::vector<GroupSource> sources;
    for (const ConvLink& link : links)
      sources.push_back(static_cast<const SpmmConv*>(link.conv)->group_source(0, source, *table, link.y, link.epilogue));
    std::vector<ChainLink> chain;
    for (size_t i = 0; i < links.size(); i++) chain.push_back({&static_cast<const SpmmConv*>(links[i].conv)->groups_[0], &sources[i]});
    std::vector<std::atomic<double>> taken(seconds.size());
    multiply_chain(chain, batch * table->pixels(), taken);
    std::copy(taken.begin(), taken.end(), seconds.begin());
  }

 private:
  static constexpr int64_t kStripRows = 4;  // output rows of which strips lie side by side
  static int64_t strips_size(const StripTable& table) { return int64_t(table.panels().size()) * table.strips(kStripRows) * table.strip_size(); }

  // Bands of rows of each image that run() makes of strips; 0: it takes tap tables.
  int64_t bands_of(int64_t batch, int64_t in_h, int64_t in_w, const Epilogue& epilogue) const {
    constexpr int64_t kRows = 8;  // of a band: the strips that two bands read are few then
    // Packing is little of the work where a column meets many weights, and wider panels then save more.
    constexpr int64_t kMostWeights = 16;
    int64_t out_h = problem_.out_h(in_h), threads = thread_count();
    if (batch * out_h < kRows * threads || !runs_rows(in_h, in_w, epilogue)) return 0;
    const SpmmMatrix& matrix = groups_[0];
    if (matrix.stored() > kMostWeights * matrix.cols() && !strips_for(in_h, in_w)->full_panels()) return 0;
    return bands_for(batch, out_h / kRows, out_h);
  }

  void run_bands(const float* x, int64_t batch, int64_t bands, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const {
    int64_t out_h = problem_.out_h(in_h), out_w = problem_.out_w(in_w), plane = out_h * out_w;
    parallel_for(batch * bands, [&](int64_t task) {
      int64_t image = task / bands, first = task % bands * out_h / bands, rows = (task % bands + 1) * out_h / bands - first;
      int64_t at = image * problem_.out_channels * plane + first * out_w;
      Epilogue e = epilogue;
      if (e.residual) e.residual += at;
      run_rows(x + image * problem_.in_channels * in_h * in_w, in_h, in_w, first, rows, y + at, plane, e);
    });
  }

  const float* source_of(const float* x, const TapTable& table) const {
    if (!table.splits()) return x;
    float* split = thread_scratch_of<float>(ScratchSlot::kShared, table.size());
    table.split(x, split);
    return split;
  }

  // Later links of a chain read neither the source nor the table's taps.
  GroupSource group_source(size_t g, const float* source, const TapTable& table, float* y, const Epilogue& epilogue) const {
    return GroupSource({.isa = isa_,
                        .pack_taps = pack_taps_,
                        .table = table,
                        .group_channels = problem_.in_channels / problem_.groups,
                        .row_taps = row_taps_,
                        .channels = source + int64_t(g) * (problem_.in_channels / problem_.groups) * table.channel_pitch(),
                        .first_out_channel = int64_t(g) * groups_[g].rows(),
                        .out_channels = problem_.out_channels,
                        .y = y,
                        .epilogue = epilogue});
  }

  // The table of the size seen last is kept.
  std::shared_ptr<const TapTable> table_for(int64_t batch, int64_t in_h, int64_t in_w) const {
    std::lock_guard lock(mutex_);
    if (!table_ || !table_->fits(batch, in_h, in_w)) table_ = std::make_shared<TapTable>(problem_, batch, in_h, in_w, isa_.vector_lanes);
    return table_;
  }

  std::shared_ptr<const StripTable> strips_for(int64_t in_h, int64_t in_w) const {
    std::lock_guard lock(mutex_);
    if (!strips_ || !strips_->fits(in_h, in_w)) strips_ = std::make_shared<StripTable>(problem_, in_h, in_w, isa_.vector_lanes);
    return strips_;
  }

  // Columns (kernel row, channel, tap of the row) instead of (kernel row, tap of the row, channel); if all taps count as one row, a column tile reads
  // few channels, whose rows stay in L1 for all taps.
  static Tensor channels_outside(const WeightMatrix& weight, int64_t kernel_rows, int64_t row_taps) {
    Tensor out(DType::kF32, {weight.rows, weight.cols}, false);
    float* values = out.mutable_data<float>().data();
    int64_t channels = weight.cols / (kernel_rows * row_taps);
    parallel_for(weight.rows, [&](int64_t r) {
      const float* from = weight.values + r * weight.cols;
      float* to = values + r * weight.cols;
      for (int64_t row = 0; row < kernel_rows; row++, from += row_taps * channels)
        for (int64_t c = 0; c < channels; c++)
          for (int64_t tap = 0; tap < row_taps; tap++) *to++ = from[tap * channels + c];
    });
    return out;
  }

  std::string_view name_;
  ConvProblem problem_;
  const SpmmF32Isa& isa_;
  PackTaps pack_taps_;
  FillStrip fill_strip_;
  int64_t row_taps_;  // as in GroupCall
  std::vector<SpmmMatrix> groups_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const TapTable> table_;
  mutable std::shared_ptr<const StripTable> strips_;
};

std::optional<std::string> accepts(std::string_view isa, bool sparse, const ConvProblem& problem, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, isa)) return lacking;
  if (problem.weights != DType::kF32 || problem.activations != DType::kF32) return "multiplies f32 only";
  if (problem.in_channels == problem.groups && problem.groups > 1) return "left to the depthwise kernel";
  if (sparse && problem.pattern == "dense") return "the weight is dense";
  return std::nullopt;
}

SpmmMatrix::Store store_of(const ConvProblem& problem) {
  const std::string& pattern = problem.pattern;
  bool blocks = pattern == "block:4x1" || pattern == "block:4x4" || pattern.starts_with("block:8x");
  return blocks ? SpmmMatrix::Store::kRowBlocks : SpmmMatrix::Store::kSingle;
}

constexpr std::string_view kAvx512Sparse = "avx512::conv_csr_f32_n64", kAvx2Sparse = "avx2::conv_csr_f32_n64";
constexpr std::string_view kAvx512Dense = "avx512::conv_dense_f32_n64", kAvx2Dense = "avx2::conv_dense_f32_n64";

}  // namespace

extern const ConvKernel avx512_conv_f32 = {
    .name = kAvx512Sparse,
    .help = "sparse f32, output pixels in lanes, panels gathered per column tile",
    .sparse = true,
    .break_even = 0.45,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts("avx512", true, problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<SpmmConv>(kAvx512Sparse, kSpmmF32Avx512, avx512::pack_taps, avx512::fill_strip, problem, weight, store_of(problem));
    }};

extern const ConvKernel avx2_conv_f32 = {
    .name = kAvx2Sparse,
    .help = "sparse f32, output pixels in lanes, panels gathered per column tile",
    .sparse = true,
    .break_even = 0.45,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts("avx2", true, problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<SpmmConv>(kAvx2Sparse, kSpmmF32Avx2, avx2::pack_taps, avx2::fill_strip, problem, weight, store_of(problem));
    }};

extern const ConvKernel avx512_conv_dense_f32 = {
    .name = kAvx512Dense,
    .help = "dense f32 in blocks of four output channels",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts("avx512", false, problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<SpmmConv>(kAvx512Dense, kSpmmF32Avx512, avx512::pack_taps, avx512::fill_strip, problem, weight,
                                        SpmmMatrix::Store::kDense);
    }};

extern const ConvKernel avx2_conv_dense_f32 = {
    .name = kAvx2Dense,
    .help = "dense f32 in blocks of four output channels",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts("avx2", false, problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<SpmmConv>(kAvx2Dense, kSpmmF32Avx2, avx2::pack_taps, avx2::fill_strip, problem, weight, SpmmMatrix::Store::kDense);
    }};

}  // namespace lacuna::kernels
