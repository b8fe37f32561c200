// f32 convolution as a sparse matrix times panels of output pixels, without a full im2col: each column tile of a panel is gathered from
// the planes (planes.h) into L1 right before it is used for all output channels. Lanes run over rows and images, so that small images
// fill them too. Dense weights take the same way in blocks of four output channels.
#include <cstring>

#include "base/cat.h"
#include "kernels/conv.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/inner/conv_f32.h"
#include "kernels/planes.h"
#include "kernels/spmm_f32.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

using PackPixels = void (*)(const float* const*, int64_t, const PackPiece*, int64_t, float*) noexcept;

// One group of channels of one call.
struct GroupSource final : PanelSource {
  const SpmmF32Isa& isa;
  PackPixels pack_pixels;
  const PlaneLayout& layout;
  const float* planes;        // channel 0 of the group
  int64_t first_out_channel;  // of the group
  int64_t out_channels;       // of the whole convolution
  float* y;
  const Epilogue& epilogue;

  GroupSource(const SpmmF32Isa& isa_in, PackPixels pack_in, const PlaneLayout& layout_in, float* y_in, const Epilogue& epilogue_in)
      : isa(isa_in), pack_pixels(pack_in), layout(layout_in), y(y_in), epilogue(epilogue_in) {}

  // Tokens are output pixels of all images. Appends the pieces of the panel's vectors.
  std::vector<PackPiece> pieces_of(int64_t first_token, int64_t tokens) const {
    std::vector<PackPiece> pieces;
    bool whole_images = layout.width == layout.out_w;  // output rows follow each other in the plane
    int64_t pixels = layout.out_h * layout.out_w, row_length = whole_images ? pixels : layout.out_w;
    for (int64_t lane = 0; lane < tokens;) {
      int64_t image = (first_token + lane) / pixels, pixel = (first_token + lane) % pixels;
      int64_t in_row = pixel % row_length, vector = lane / isa.vector_lanes, in_vector = lane % isa.vector_lanes;
      int64_t length = std::min({row_length - in_row, isa.vector_lanes - in_vector, tokens - lane});
      int64_t source = image * layout.image_pitch + pixel / row_length * layout.width + in_row;
      pieces.push_back({.vector = int32_t(vector),
                        .lanes = uint32_t((uint64_t(1) << (in_vector + length)) - (uint64_t(1) << in_vector)),
                        .offset = source - in_vector});
      lane += length;
    }
    return pieces;
  }

  void pack(int64_t first_token, int64_t tokens, int64_t first_col, int64_t cols, int64_t panel_pitch, float* out) const override {
    int64_t taps = int64_t(layout.tap_offsets.size()), tap = first_col % taps;
    const float* channel = planes + first_col / taps * layout.channel_pitch;
    const float* columns[kMostTileCols];
    for (int64_t i = 0; i < cols; i++) {
      columns[i] = channel + layout.tap_offsets[size_t(tap)];
      if (++tap == taps) tap = 0, channel += layout.channel_pitch;
    }
    int64_t pixels = layout.out_h * layout.out_w;
    if (streams() && first_token / pixels == (first_token + tokens - 1) / pixels) {
      for (int64_t i = 0; i < cols; i++) columns[i] += first_token / pixels * layout.image_pitch + first_token % pixels;
      isa.copy_lanes(columns, cols, tokens, panel_pitch, out);
      return;
    }
    for (int64_t t = 0; t < tokens; t += kPanelLanes) {
      std::vector<PackPiece> pieces = pieces_of(first_token + t, std::min(kPanelLanes, tokens - t));
      pack_pixels(columns, cols, pieces.data(), int64_t(pieces.size()), out + t / kPanelLanes * panel_pitch);
    }
  }

  void store(int64_t first_token, int64_t tokens, int64_t first_row, int64_t rows, int64_t panel_pitch, const float* sums) const override {
    int64_t pixels = layout.out_h * layout.out_w;
    bool one_image = first_token / pixels == (first_token + tokens - 1) / pixels;
    // Panels are contiguous only for pieces that begin at their first lane.
    for (int64_t t = 0; t < tokens;) {
      int64_t image = (first_token + t) / pixels, pixel = (first_token + t) % pixels;
      int64_t count = one_image ? tokens : std::min({pixels - pixel, tokens - t, kPanelLanes - t % kPanelLanes});
      Epilogue image_epilogue = epilogue;
      image_epilogue.residual_stride = pixels;
      if (epilogue.residual) image_epilogue.residual = epilogue.residual + image * out_channels * pixels;
      store_channel_major({.sums = sums + t / kPanelLanes * panel_pitch + t % kPanelLanes,
                           .sums_stride = kPanelLanes,
                           .first_row = first_out_channel + first_row,
                           .rows = rows,
                           .first_token = pixel,
                           .tokens = count,
                           .panel_pitch = panel_pitch},
                          y + image * out_channels * pixels, pixels, image_epilogue);
      t += count;
    }
  }

  bool streams() const override { return layout.identity && layout.tap_offsets.size() == 1; }
};

class SpmmConv final : public PackedConv {
 public:
  SpmmConv(std::string_view name, const SpmmF32Isa& isa, PackPixels pack_pixels, const ConvProblem& problem, const WeightMatrix& weight,
           SpmmMatrix::Store store)
      : name_(name), problem_(problem), isa_(isa), pack_pixels_(pack_pixels) {
    int64_t rows = weight.rows / problem.groups;
    std::vector<float> values = channel_outermost(weight, problem.kernel_h * problem.kernel_w);
    for (int64_t g = 0; g < problem.groups; g++) groups_.emplace_back(isa, rows, weight.cols, values.data() + g * rows * weight.cols, store);
  }

  std::string_view kernel() const override { return name_; }
  int64_t size_bytes() const override {
    int64_t bytes = 0;
    for (const SpmmMatrix& group : groups_) bytes += group.size_bytes();
    return bytes;
  }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    PlaneLayout layout(problem_, in_h, in_w);
    const float* planes = x;
    if (!layout.identity) {
      float* filled = thread_scratch_of<float>(ScratchSlot::kShared, layout.size(batch));
      fill_planes(problem_, layout, x, batch, filled);
      planes = filled;
    }
    for (size_t g = 0; g < groups_.size(); g++) {
      GroupSource source(isa_, pack_pixels_, layout, y, epilogue);
      source.planes = planes + int64_t(g) * (problem_.in_channels / problem_.groups) * layout.channel_pitch;
      source.first_out_channel = int64_t(g) * groups_[g].rows();
      source.out_channels = problem_.out_channels;
      multiply(groups_[g], source, batch * layout.out_h * layout.out_w);
    }
  }

 private:
  // Columns (channel, tap) instead of (tap, channel): a column tile then reads few channels, whose rows stay in L1 for all taps.
  static std::vector<float> channel_outermost(const WeightMatrix& weight, int64_t taps) {
    std::vector<float> out(size_t(weight.rows * weight.cols));
    int64_t channels = weight.cols / taps;
    for (int64_t r = 0; r < weight.rows; r++)
      for (int64_t c = 0; c < weight.cols; c++)
        out[size_t(r * weight.cols + c % channels * taps + c / channels)] = weight.values[r * weight.cols + c];
    return out;
  }

  std::string_view name_;
  ConvProblem problem_;
  const SpmmF32Isa& isa_;
  PackPixels pack_pixels_;
  std::vector<SpmmMatrix> groups_;
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
      return std::make_unique<SpmmConv>(kAvx512Sparse, kSpmmF32Avx512, avx512::pack_pixels, problem, weight, store_of(problem));
    }};

extern const ConvKernel avx2_conv_f32 = {
    .name = kAvx2Sparse,
    .help = "sparse f32, output pixels in lanes, panels gathered per column tile",
    .sparse = true,
    .break_even = 0.45,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts("avx2", true, problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<SpmmConv>(kAvx2Sparse, kSpmmF32Avx2, avx2::pack_pixels, problem, weight, store_of(problem));
    }};

extern const ConvKernel avx512_conv_dense_f32 = {
    .name = kAvx512Dense,
    .help = "dense f32 in blocks of four output channels",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts("avx512", false, problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<SpmmConv>(kAvx512Dense, kSpmmF32Avx512, avx512::pack_pixels, problem, weight, SpmmMatrix::Store::kDense);
    }};

extern const ConvKernel avx2_conv_dense_f32 = {
    .name = kAvx2Dense,
    .help = "dense f32 in blocks of four output channels",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts("avx2", false, problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<SpmmConv>(kAvx2Dense, kSpmmF32Avx2, avx2::pack_pixels, problem, weight, SpmmMatrix::Store::kDense);
    }};

}  // namespace lacuna::kernels
