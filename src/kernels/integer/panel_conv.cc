// Convolution over integer/panel.h: int8 with a static input scale, unstructured, in blocks and dense.
//
// Tokens are positions of the output in the padded input plane (planes.h), row after row with the plane's width, so that 64 of them are one
// load per column wherever they start. The positions at the end of each row that no output has are multiplied too and not stored. A panel
// is filled once for all output channels: one load and store per column, against hundreds of multiplications.
#include <algorithm>
#include <cstring>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/conv.h"
#include "kernels/dispatch.h"
#include "kernels/integer/panel_weight.h"
#include "kernels/planes.h"
#include "kernels/support.h"

namespace lacuna::kernels {

namespace avx512_vnni {
extern const Lane16Isa lane16;
extern const PanelIsa panels;
}  // namespace avx512_vnni
namespace avx512 {
extern const Lane16Isa lane16;
extern const PanelIsa panels;
}  // namespace avx512
namespace avx2_vnni {
extern const Lane16Isa lane16;
extern const PanelIsa panels;
}  // namespace avx2_vnni
namespace avx2 {
extern const Lane16Isa lane16;
extern const PanelIsa panels;
}  // namespace avx2

namespace {

// Rows [first, first + rows) of a weight.
struct RowSlice {
  RowSlice(const WeightMatrix& weight, int64_t first, int64_t rows) : matrix(weight) {
    matrix.rows = rows, matrix.codes += first * weight.cols, matrix.scales += first;
    if (!weight.mask || first == 0) return;
    mask = Mask(rows, weight.cols, false);
    for (int64_t r = 0; r < rows; r++) std::copy(weight.mask->row(first + r).begin(), weight.mask->row(first + r).end(), mask.mutable_row(r).begin());
    matrix.mask = &mask;
  }
  RowSlice(const RowSlice&) = delete;
  Mask mask;
  WeightMatrix matrix;
};

class PanelConv : public PackedConv {
 public:
  PanelConv(std::string_view kernel, const ConvProblem& problem, const WeightMatrix& weight, const PanelSet& set, const PanelOptions& options)
      : kernel_(kernel), problem_(problem), set_(set), flip_(set.panels.unsigned_x ? 0x80 : 0), padding_(uint8_t(problem.input_zero) ^ flip_) {
    int64_t rows = weight.rows / problem.groups;
    for (int64_t g = 0; g < problem.groups; g++) groups_.emplace_back(RowSlice(weight, g * rows, rows).matrix, set.panels, options);
    x_scales_.assign(size_t(set.panels.tokens), problem.input_scale);
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override {
    int64_t bytes = 0;
    for (const PanelWeight& group : groups_) bytes += group.size_bytes();
    return bytes;
  }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    if (batch == 0 || problem_.out_channels == 0) return;
    PlaneLayout layout(problem_, in_h, in_w);
    uint8_t* planes = thread_scratch_of<uint8_t>(ScratchSlot::kShared, layout.size(batch) + kSpare);
    quantize_planes(x, layout, batch, planes);
    for (size_t g = 0; g < groups_.size(); g++) run_group(int64_t(g), layout, batch, planes, y, epilogue);
  }

 private:
  static constexpr int64_t kSpare = 256;  // read by the last panel of the last channel

  void quantize_planes(const float* x, const PlaneLayout& layout, int64_t batch, uint8_t* planes) const {
    std::memset(planes + layout.size(batch), padding_, size_t(kSpare));
    int64_t in_pixels = layout.in_h * layout.in_w;
    CodeRule rule = static_rule(problem_.input_scale, problem_.input_zero);
    parallel_for(batch * layout.channels, [&](int64_t i) {
      int64_t image = i / layout.channels, channel = i % layout.channels;
      uint8_t* out = planes + image * layout.image_pitch + channel * layout.channel_pitch;
      if (layout.identity) return set_.tokens.quantize(x + i * in_pixels, in_pixels, rule, flip_, out);
      uint8_t* codes = thread_scratch_of<uint8_t>(ScratchSlot::kTile, in_pixels);
      set_.tokens.quantize(x + i * in_pixels, in_pixels, rule, flip_, codes);
      for (size_t phase = 0; phase < layout.phases.size(); phase++)
        fill_plane(codes, layout, layout.phases[phase], out + int64_t(phase) * layout.phase_pitch);
    });
  }

  void fill_plane(const uint8_t* codes, const PlaneLayout& layout, const PlaneLayout::Phase& phase, uint8_t* out) const {
    const ConvProblem& p = problem_;
    int64_t shift = phase.col - p.pad_left;
    int64_t first = std::clamp<int64_t>((-shift + p.stride_w - 1) / p.stride_w, 0, layout.width);
    int64_t last = std::clamp<int64_t>((layout.in_w - shift + p.stride_w - 1) / p.stride_w, first, layout.width);
    for (int64_t h = 0; h < layout.height; h++, out += layout.width) {
      int64_t row = h * p.stride_h + phase.row - p.pad_top;
      if (row < 0 || row >= layout.in_h) {
        std::memset(out, padding_, size_t(layout.width));
        continue;
      }
      const uint8_t* from = codes + row * layout.in_w + shift;
      std::memset(out, padding_, size_t(first));
      if (p.stride_w == 1)
        std::copy(from + first, from + last, out + first);
      else
        for (int64_t w = first; w < last; w++) out[w] = from[w * p.stride_w];
      std::memset(out + last, padding_, size_t(layout.width - last));
    }
  }

  // Where each column of a group starts in the planes of an image.
  std::vector<int64_t> column_offsets(int64_t group, const PlaneLayout& layout) const {
    int64_t inner = problem_.in_channels / problem_.groups, cols = groups_[size_t(group)].cols();
    std::vector<int64_t> offsets(size_t((cols + 63) / 64 * 64), 0);
    for (int64_t c = 0; c < cols; c++)
      offsets[size_t(c)] = layout.tap_offsets[size_t(c / inner)] + (group * inner + c % inner) * layout.channel_pitch;
    return offsets;
  }

  void run_group(int64_t group, const PlaneLayout& layout, int64_t batch, const uint8_t* planes, float* y, const Epilogue& epilogue) const {
    const PanelWeight& weight = groups_[size_t(group)];
    std::vector<int64_t> offsets = column_offsets(group, layout);
    int64_t lanes = set_.panels.tokens, positions = (layout.out_h - 1) * layout.width + layout.out_w, per_image = (positions + lanes - 1) / lanes;
    auto fill = weight.options().aligned ? set_.panels.interleave_columns : set_.panels.copy_columns;
    // Panel i of all images to `out`, columns [col, col + count).
    auto fill_part = [&](int64_t i, int64_t col, int64_t count, uint8_t* out) {
      fill(planes + i / per_image * layout.image_pitch + i % per_image * lanes, offsets.data() + col, count, out + col * lanes);
    };
    auto multiply = [&](int64_t chunk, int64_t i, const uint8_t* panel) {
      int32_t* sums = thread_scratch_of<int32_t>(ScratchSlot::kTile, weight.chunk_rows() * lanes);
      weight.multiply(chunk, panel, sums);
      store(group, chunk, sums, layout, i / per_image, i % per_image * lanes, y, epilogue);
    };
    int64_t panels = batch * per_image, cols = int64_t(offsets.size());
    if (panels >= 4 * thread_count()) {  // a panel is used right after it is filled
      parallel_for(panels, [&](int64_t i) {
        uint8_t* panel = thread_scratch_of<uint8_t>(ScratchSlot::kTileThird, weight.panel_bytes());
        fill_part(i, 0, cols, panel);
        for (int64_t chunk = 0; chunk < weight.chunks(); chunk++) multiply(chunk, i, panel);
      });
      return;
    }
    constexpr int64_t kColumnsPerTask = 256;
    int64_t column_parts = (cols + kColumnsPerTask - 1) / kColumnsPerTask;
    uint8_t* filled = thread_scratch_of<uint8_t>(ScratchSlot::kSharedSecond, panels * weight.panel_bytes());
    parallel_for(panels * column_parts, [&](int64_t task) {
      int64_t col = task % column_parts * kColumnsPerTask;
      fill_part(task / column_parts, col, std::min(kColumnsPerTask, cols - col), filled + task / column_parts * weight.panel_bytes());
    });
    parallel_for(weight.chunks() * panels,
                 [&](int64_t task) { multiply(task / panels, task % panels, filled + task % panels * weight.panel_bytes()); });
  }

  // Stores the outputs among the positions [position, position + lanes) of an image, a piece of an output row at a time.
  void store(int64_t group, int64_t chunk, const int32_t* sums, const PlaneLayout& layout, int64_t image, int64_t position, float* y,
             const Epilogue& epilogue) const {
    const PanelWeight& weight = groups_[size_t(group)];
    int64_t lanes = set_.panels.tokens, pixels = layout.out_h * layout.out_w, image_size = problem_.out_channels * pixels;
    PanelWeight::Finish finish = {.x_scales = x_scales_.data(), .interleaved = true, .channel_major = true};
    Epilogue group_epilogue = epilogue;
    int64_t first_channel = group * weight.rows();
    if (epilogue.bias) group_epilogue.bias += first_channel;
    if (epilogue.residual) group_epilogue.residual += image * image_size + first_channel * pixels;
    group_epilogue.residual_stride = pixels;
    float* out = y + image * image_size + first_channel * pixels;
    if (layout.width == layout.out_w)
      return weight.store(chunk, sums, finish, position, std::min(lanes, pixels - position), out, pixels, group_epilogue);

    float* scaled = thread_scratch_of<float>(ScratchSlot::kTileSecond, 16 * lanes);
    int64_t first_row = chunk * weight.chunk_rows(), rows = std::min(weight.chunk_rows(), weight.rows() - first_row);
    for (int64_t r = 0; r < rows; r += 16) {
      weight.scale(chunk, r, sums, finish, scaled);
      for (int64_t lane = 0; lane < lanes;) {
        int64_t h = (position + lane) / layout.width, w = (position + lane) % layout.width;
        int64_t length = std::min(lanes - lane, layout.width - w), outputs = std::min(length, layout.out_w - w);
        if (h >= layout.out_h) break;
        if (outputs > 0)
          store_channel_major({.sums = scaled + lane,
                               .sums_stride = lanes,
                               .first_row = first_row + r,
                               .rows = std::min<int64_t>(16, rows - r),
                               .first_token = h * layout.out_w + w,
                               .tokens = outputs},
                              out, pixels, group_epilogue);
        lane += length;
      }
    }
  }

  std::string_view kernel_;
  ConvProblem problem_;
  PanelSet set_;
  uint8_t flip_, padding_;
  std::vector<PanelWeight> groups_;
  std::vector<float> x_scales_;
};

enum class Kind { kQuads, kBlocks, kDense };

std::optional<std::string> accepts(const ConvProblem& problem, const CpuFeatures& cpu, std::string_view isa, Kind kind) {
  if (auto reason = lacks(cpu, isa)) return reason;
  if (problem.weights != DType::kS8 || problem.activations != DType::kS8) return "takes s8 weights and activations";
  if (problem.in_channels == problem.groups && problem.groups > 1) return "is not for depthwise convolutions";
  if (kind != Kind::kDense && problem.pattern == "dense") return "is for sparse weights";
  if (kind == Kind::kBlocks && !panel_blocks(problem.pattern))
    return cat("takes blocks whose rows or columns are a multiple of 4, not ", problem.pattern);
  return std::nullopt;
}

PanelOptions options_for(const ConvProblem& problem, Kind kind) {
  PanelOptions options = kind == Kind::kDense    ? PanelOptions{.group_rows = 4, .aligned = true, .skips = false}
                         : kind == Kind::kBlocks ? *panel_blocks(problem.pattern)
                                                 : PanelOptions();
  options.input_zero = problem.input_zero;
  return options;
}

}  // namespace

#define LACUNA_PANEL_CONV(isa, kernel, kind, text, even)                                                                       \
  extern const ConvKernel isa##_##kernel = {                                                                                   \
      .name = #isa "::" #kernel,                                                                                               \
      .help = text,                                                                                                            \
      .sparse = kind != Kind::kDense,                                                                                          \
      .break_even = even,                                                                                                      \
      .accepts = [](const ConvProblem& p, const CpuFeatures& cpu) { return accepts(p, cpu, #isa, kind); },                     \
      .pack = [](const ConvProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedConv> {                                 \
        return std::make_unique<PanelConv>(#isa "::" #kernel, p, w, PanelSet{isa::panels, isa::lane16}, options_for(p, kind)); \
      }};

#define LACUNA_PANEL_CONV_ISA(isa)                                                                                                      \
  LACUNA_PANEL_CONV(isa, conv_blocks_s8, Kind::kBlocks, "int8 blocks of 1x4, 4x1, 4x4 and multiples, pixels in the lanes", 0.3)         \
  LACUNA_PANEL_CONV(isa, conv_quads_s8, Kind::kQuads, "int8 unstructured, four columns of a row interleaved, pixels in the lanes", 0.7) \
  LACUNA_PANEL_CONV(isa, conv_dense_s8, Kind::kDense, "dense int8 in 4x4 blocks, pixels in the lanes", 0)

LACUNA_PANEL_CONV_ISA(avx512_vnni)
LACUNA_PANEL_CONV_ISA(avx512)
LACUNA_PANEL_CONV_ISA(avx2_vnni)
LACUNA_PANEL_CONV_ISA(avx2)

}  // namespace lacuna::kernels
