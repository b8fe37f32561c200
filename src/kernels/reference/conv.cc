// The reference for convolution: plain loops over outputs.
// f32: sums in double. s8: input codes by quantize_static_s8 with the problem's input_scale, exact integer sums, then in f32
// y = dot * scale[out channel] * input_scale. The epilogue is f32.
#include "kernels/conv.h"

#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "kernels/epilogue.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

class Reference : public PackedConv {
 public:
  Reference(const ConvProblem& problem, const WeightMatrix& weight) : problem_(problem), cols_(weight.cols) {
    weights_.resize(size_t(weight.rows * weight.cols));
    for (int64_t r = 0; r < weight.rows; r++)
      for (int64_t c = 0; c < weight.cols; c++) {
        if (weight.mask && !weight.mask->kept(r, c)) continue;
        size_t i = size_t(r * weight.cols + c);
        weights_[i] = weight.values ? double(weight.values[i]) : double(weight.codes[i]);
      }
    if (weight.scales) scales_.assign(weight.scales, weight.scales + weight.rows);
  }

  std::string_view kernel() const override { return "reference::conv"; }
  int64_t size_bytes() const override { return int64_t(weights_.size() * sizeof(double)); }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    const ConvProblem& p = problem_;
    int64_t in_size = p.in_channels * in_h * in_w, pixels = p.out_h(in_h) * p.out_w(in_w);
    std::vector<float> input(x, x + batch * in_size);
    if (integer()) quantize(input);
    Epilogue image_epilogue = epilogue;
    for (int64_t b = 0; b < batch; b++) {
      int64_t out_offset = b * p.out_channels * pixels;
      if (epilogue.residual) image_epilogue.residual = epilogue.residual + out_offset;
      image_epilogue.residual_stride = pixels;
      parallel_for(p.out_channels, [&](int64_t channel) {
        std::vector<float> sums(static_cast<size_t>(pixels));
        channel_sums(input.data() + b * in_size, in_h, in_w, channel, sums.data());
        reference::store_channel_major(
            {.sums = sums.data(), .sums_stride = pixels, .first_row = channel, .rows = 1, .first_token = 0, .tokens = pixels}, y + out_offset, pixels,
            image_epilogue);
      });
    }
  }

 private:
  bool integer() const { return problem_.activations == DType::kS8; }

  void quantize(std::vector<float>& input) const {
    std::vector<int8_t> codes(input.size());
    reference::quantize_static_s8(input.data(), int64_t(input.size()), problem_.input_scale, problem_.input_zero, codes.data());
    std::transform(codes.begin(), codes.end(), input.begin(), [&](int8_t code) { return float(code - problem_.input_zero); });
  }

  void channel_sums(const float* x, int64_t in_h, int64_t in_w, int64_t channel, float* sums) const {
    const ConvProblem& p = problem_;
    int64_t out_h = p.out_h(in_h), out_w = p.out_w(in_w), inner = p.in_channels / p.groups;
    const float* group = x + channel / (p.out_channels / p.groups) * inner * in_h * in_w;
    for (int64_t oh = 0; oh < out_h; oh++)
      for (int64_t ow = 0; ow < out_w; ow++) {
        double sum = 0;
        for (int64_t c = 0; c < cols_; c++) {
          int64_t ih = oh * p.stride_h - p.pad_top + c / inner / p.kernel_w * p.dilation_h;
          int64_t iw = ow * p.stride_w - p.pad_left + c / inner % p.kernel_w * p.dilation_w;
          if (ih < 0 || ih >= in_h || iw < 0 || iw >= in_w) continue;
          sum += weights_[size_t(channel * cols_ + c)] * group[(c % inner * in_h + ih) * in_w + iw];
        }
        float out = float(sum);
        if (!scales_.empty()) out *= scales_[size_t(channel)];
        if (integer()) out *= p.input_scale;
        sums[oh * out_w + ow] = out;
      }
  }

  ConvProblem problem_;
  int64_t cols_;
  std::vector<double> weights_;
  std::vector<float> scales_;
};

std::optional<std::string> accepts(const ConvProblem&, const CpuFeatures&) { return std::nullopt; }

std::unique_ptr<PackedConv> pack(const ConvProblem& problem, const WeightMatrix& weight) {
  LACUNA_ASSERT(weight.values || (weight.codes && weight.scales && weight.group == 0));
  LACUNA_ASSERT(problem.activations == DType::kF32 || problem.input_scale > 0);
  return std::make_unique<Reference>(problem, weight);
}

}  // namespace

extern const ConvKernel reference_conv = {
    .name = "reference::conv", .help = "plain loops; defines the result", .sparse = false, .break_even = 0, .accepts = accepts, .pack = pack};

}  // namespace lacuna::kernels
