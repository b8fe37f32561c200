// Depthwise f32 convolution (one input channel per group): per output channel one pass over the plane (planes.h) with its taps. The pass
// runs over the plane's full width, so that vectors cross row ends; the few sums between the rows are dropped at the store.
#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/conv.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/inner/conv_f32.h"
#include "kernels/planes.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

using DepthwiseChannel = void (*)(const DepthwiseTask&) noexcept;
constexpr int64_t kSpare = 16;  // floats that the inner loop may touch beyond its end

class Depthwise final : public PackedConv {
 public:
  Depthwise(std::string_view name, DepthwiseChannel channel, const ConvProblem& problem, const WeightMatrix& weight)
      : name_(name), channel_(channel), problem_(problem), weights_(weight.values, weight.values + weight.rows * weight.cols) {}

  std::string_view kernel() const override { return name_; }
  int64_t size_bytes() const override { return int64_t(weights_.size() * sizeof(float)); }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    PlaneLayout layout(problem_, in_h, in_w);
    float* planes = thread_scratch_of<float>(ScratchSlot::kShared, layout.size(batch) + kSpare);
    fill_planes(problem_, layout, x, batch, planes);
    constexpr int64_t kChannelsPerTask = 8;
    int64_t chunks = (problem_.out_channels + kChannelsPerTask - 1) / kChannelsPerTask;
    parallel_for(batch * chunks, [&](int64_t task) {
      int64_t image = task / chunks, first = task % chunks * kChannelsPerTask;
      for (int64_t o = first; o < std::min(first + kChannelsPerTask, problem_.out_channels); o++) run_channel(layout, planes, image, o, y, epilogue);
    });
  }

 private:
  void run_channel(const PlaneLayout& layout, const float* planes, int64_t image, int64_t out_channel, float* y, const Epilogue& epilogue) const {
    int64_t taps = problem_.kernel_h * problem_.kernel_w, length = (layout.out_h - 1) * layout.width + layout.out_w,
            pixels = layout.out_h * layout.out_w;
    float* sums = thread_scratch_of<float>(ScratchSlot::kTile, length + kSpare);
    channel_({.plane = planes + image * layout.image_pitch + out_channel / (problem_.out_channels / problem_.groups) * layout.channel_pitch,
              .offsets = layout.tap_offsets.data(),
              .weights = weights_.data() + out_channel * taps,
              .taps = taps,
              .length = length,
              .sums = sums});
    Epilogue row_epilogue = epilogue;
    if (epilogue.bias) row_epilogue.bias = epilogue.bias + out_channel;
    for (int64_t h = 0; h < layout.out_h; h++) {
      int64_t offset = (image * problem_.out_channels + out_channel) * pixels + h * layout.out_w;
      if (epilogue.residual) row_epilogue.residual = epilogue.residual + offset;
      store_channel_major({.sums = sums + h * layout.width, .sums_stride = 0, .first_row = 0, .rows = 1, .first_token = 0, .tokens = layout.out_w},
                          y + offset, 0, row_epilogue);
    }
  }

  std::string_view name_;
  DepthwiseChannel channel_;
  ConvProblem problem_;
  std::vector<float> weights_;
};

std::optional<std::string> accepts(std::string_view isa, const ConvProblem& problem, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, isa)) return lacking;
  if (problem.weights != DType::kF32 || problem.activations != DType::kF32) return "multiplies f32 only";
  if (problem.in_channels != problem.groups) return cat("wants one input channel per group, not ", problem.in_channels / problem.groups);
  return std::nullopt;
}

constexpr std::string_view kAvx512 = "avx512::conv_depthwise_f32", kAvx2 = "avx2::conv_depthwise_f32";

}  // namespace

extern const ConvKernel avx512_conv_depthwise_f32 = {
    .name = kAvx512,
    .help = "dense depthwise f32",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts("avx512", problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<Depthwise>(kAvx512, avx512::depthwise_channel, problem, weight);
    }};

extern const ConvKernel avx2_conv_depthwise_f32 = {
    .name = kAvx2,
    .help = "dense depthwise f32",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts("avx2", problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<Depthwise>(kAvx2, avx2::depthwise_channel, problem, weight);
    }};

}  // namespace lacuna::kernels
