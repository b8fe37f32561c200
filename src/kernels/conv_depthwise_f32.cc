// Depthwise f32 convolution (one input channel per group). The usual kernels read the input as it is; for the others each channel is padded into a
// plane of its own (planes.h), over which one pass goes with its taps. The pass runs over the plane's full width, so that vectors cross row ends; the
// few sums between the rows are dropped at the store.
#include <limits>
#include <utility>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/conv.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/inner/conv_f32.h"
#include "kernels/planes.h"
#include "kernels/support.h"
#include "kernels/transformer.h"

namespace lacuna::kernels {
namespace {

struct DepthwiseIsa {
  std::string_view name, isa;
  void (*fill)(const PlaneRows&) noexcept;
  void (*channel)(const DepthwiseTask&) noexcept;
  void (*rows)(const DepthwiseRows&) noexcept;
  int64_t most_straight;  // the largest kernel read straight: the weights of larger ones do not fit the registers
};
constexpr int64_t kSpare = 32;  // floats that the inner loops may touch beyond their ends

class Depthwise final : public PackedConv {
 public:
  Depthwise(const DepthwiseIsa& isa, const ConvProblem& problem, const WeightMatrix& weight)
      : isa_(isa), problem_(problem), weights_(weight.values, weight.values + weight.rows * weight.cols) {}

  std::string_view kernel() const override { return isa_.name; }
  int64_t size_bytes() const override { return int64_t(weights_.size() * sizeof(float)); }
  bool residual_in_place() const override { return true; }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    ConvProblem one = problem_;
    one.in_channels = one.out_channels = one.groups = 1;
    PlaneLayout layout(one, in_h, in_w);
    constexpr int64_t kChannelsPerTask = 8;
    const bool straight = reads_straight();
    int64_t bands = image_bands(batch, layout.out_h, layout.out_w);
    int64_t chunks = (problem_.out_channels + kChannelsPerTask - 1) / kChannelsPerTask;
    parallel_for(batch * bands * chunks, [&](int64_t task) {
      int64_t image = task / chunks / bands, band = task / chunks % bands, first = task % chunks * kChannelsPerTask;
      Rows rows = {band * layout.out_h / bands, (band + 1) * layout.out_h / bands};
      float* planes = straight ? nullptr : thread_scratch_of<float>(ScratchSlot::kTile, layout.image_pitch + kSpare);
      int64_t padded = -1;
      for (int64_t o = first; o < std::min(first + kChannelsPerTask, problem_.out_channels); o++) {
        int64_t in_channel = o / (problem_.out_channels / problem_.groups);
        if (straight) {
          run_straight(layout, x + (image * problem_.in_channels + in_channel) * in_h * in_w, image, o, rows, y, epilogue);
          continue;
        }
        if (std::exchange(padded, in_channel) != in_channel)
          fill_planes(layout, x + (image * problem_.in_channels + in_channel) * in_h * in_w, rows, planes);
        run_channel(layout, planes, image, o, rows, y, epilogue);
      }
    });
  }

 private:
  struct Rows {
    int64_t first, end;
  };

  void fill_planes(const PlaneLayout& layout, const float* channel, const Rows& rows, float* planes) const {
    for (size_t i = 0; i < layout.phases.size(); i++) fill_phase(layout, channel, layout.phases[i], rows, planes + int64_t(i) * layout.phase_pitch);
  }

  bool reads_straight() const {
    const ConvProblem& p = problem_;
    return p.kernel_h == p.kernel_w && (p.kernel_h == 3 || p.kernel_h == 5) && p.kernel_h <= isa_.most_straight && p.stride_h == p.stride_w &&
           p.stride_h <= 2 && p.dilation_h == 1 && p.dilation_w == 1;
  }

  void run_straight(const PlaneLayout& layout, const float* channel, int64_t image, int64_t out_channel, const Rows& rows, float* y,
                    const Epilogue& epilogue) const {
    const ConvProblem& p = problem_;
    int64_t at = (image * p.out_channels + out_channel) * layout.out_h * layout.out_w + rows.first * layout.out_w;
    Bounds bounds = bounds_or_all(epilogue);
    isa_.rows({.x = channel,
               .in_h = layout.in_h,
               .in_w = layout.in_w,
               .pad_top = p.pad_top,
               .pad_left = p.pad_left,
               .kernel = p.kernel_h,
               .stride = p.stride_h,
               .first_row = rows.first,
               .end_row = rows.end,
               .out_w = layout.out_w,
               .weights = weights_.data() + out_channel * p.kernel_h * p.kernel_w,
               .start = epilogue.bias ? epilogue.bias[out_channel] : 0,
               .low = bounds.low,
               .high = bounds.high,
               .residual = epilogue.residual ? epilogue.residual + at : nullptr,
               .y = y + at});
    activate_unbounded(y + at, (rows.end - rows.first) * layout.out_w, epilogue);
  }

  // What the inner loops do of an activation, and the rest.
  static Bounds bounds_or_all(const Epilogue& epilogue) {
    constexpr float kAll = std::numeric_limits<float>::infinity();
    return bounds_of(epilogue).value_or(Bounds{-kAll, kAll});
  }
  static void activate_unbounded(float* y, int64_t count, const Epilogue& e) {
    if (!bounds_of(e)) activate_array(y, count, e.activation, e.alpha, e.beta, y);
  }

  void run_channel(const PlaneLayout& layout, const float* planes, int64_t image, int64_t out_channel, const Rows& rows, float* y,
                   const Epilogue& epilogue) const {
    const ConvProblem& p = problem_;
    int64_t taps = p.kernel_h * p.kernel_w, pixels = layout.out_h * layout.out_w;
    float* sums = thread_scratch_of<float>(ScratchSlot::kTileSecond, (rows.end - rows.first) * layout.width + kSpare);
    int64_t at = (image * p.out_channels + out_channel) * pixels + rows.first * layout.out_w;
    Bounds bounds = bounds_or_all(epilogue);
    isa_.channel({.plane = planes + rows.first * layout.width,
                  .offsets = layout.tap_offsets.data(),
                  .weights = weights_.data() + out_channel * taps,
                  .taps = taps,
                  .rows = rows.end - rows.first,
                  .width = layout.width,
                  .out_w = layout.out_w,
                  .start = epilogue.bias ? epilogue.bias[out_channel] : 0,
                  .low = bounds.low,
                  .high = bounds.high,
                  .residual = epilogue.residual ? epilogue.residual + at : nullptr,
                  .sums = sums,
                  .y = y + at});
    activate_unbounded(y + at, (rows.end - rows.first) * layout.out_w, epilogue);
  }

  // What output rows read of a phase, at its place in the plane.
  void fill_phase(const PlaneLayout& layout, const float* channel, const PlaneLayout::Phase& phase, const Rows& rows, float* plane) const {
    const ConvProblem& p = problem_;
    int64_t shift_h = phase.row - p.pad_top, shift_w = phase.col - p.pad_left;
    int64_t begin = rows.first, end = std::min(rows.end + layout.height - layout.out_h, layout.height);
    // Rows [top, bottom) and columns [first, last) of the plane lie inside the input.
    int64_t top = std::clamp<int64_t>((-shift_h + p.stride_h - 1) / p.stride_h, begin, end);
    int64_t bottom = std::clamp<int64_t>((layout.in_h - shift_h + p.stride_h - 1) / p.stride_h, top, end);
    int64_t first = std::clamp<int64_t>((-shift_w + p.stride_w - 1) / p.stride_w, 0, layout.width);
    int64_t last = std::clamp<int64_t>((layout.in_w - shift_w + p.stride_w - 1) / p.stride_w, first, layout.width);
    std::fill_n(plane + begin * layout.width, (top - begin) * layout.width, 0.0f);
    if (bottom > top && last > first)
      isa_.fill({.in = channel + (top * p.stride_h + shift_h) * layout.in_w + first * p.stride_w + shift_w,
                 .in_pitch = p.stride_h * layout.in_w,
                 .step = p.stride_w,
                 .rows = bottom - top,
                 .first = first,
                 .count = last - first,
                 .width = layout.width,
                 .out = plane + top * layout.width});
    else
      std::fill_n(plane + top * layout.width, (bottom - top) * layout.width, 0.0f);
    std::fill_n(plane + bottom * layout.width, (end - bottom) * layout.width, 0.0f);
  }

  const DepthwiseIsa& isa_;
  ConvProblem problem_;
  std::vector<float> weights_;
};

std::optional<std::string> accepts(std::string_view isa, const ConvProblem& problem, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, isa)) return lacking;
  if (problem.weights != DType::kF32 || problem.activations != DType::kF32) return "multiplies f32 only";
  if (problem.in_channels != problem.groups) return cat("wants one input channel per group, not ", problem.in_channels / problem.groups);
  return std::nullopt;
}

constexpr DepthwiseIsa kAvx512 = {"avx512::conv_depthwise_f32", "avx512", avx512::fill_plane_rows, avx512::depthwise_channel,
                                  avx512::depthwise_rows,       5};
constexpr DepthwiseIsa kAvx2 = {"avx2::conv_depthwise_f32", "avx2", avx2::fill_plane_rows, avx2::depthwise_channel, avx2::depthwise_rows, 3};

template <const DepthwiseIsa* isa>
constexpr ConvKernel kernel() {
  return {.name = isa->name,
          .help = "dense depthwise f32",
          .sparse = false,
          .break_even = 0,
          .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts(isa->isa, problem, cpu); },
          .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
            return std::make_unique<Depthwise>(*isa, problem, weight);
          }};
}

}  // namespace

extern const ConvKernel avx512_conv_depthwise_f32 = kernel<&kAvx512>();
extern const ConvKernel avx2_conv_depthwise_f32 = kernel<&kAvx2>();

}  // namespace lacuna::kernels
