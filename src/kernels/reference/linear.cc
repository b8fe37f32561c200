// The reference for linear: plain loops that define what every candidate computes.
//
// Float activations (f32, or x rounded to bf16): y = sum of w x in double, rounded to f32; weights rounded to the problem's type first,
// codes decoded as code * scale + minimum where kept.
// s8 activations: codes by quantize_token_s8 (quantize_static_s8 if input_scale is set); per scale group an exact integer dot; then in f32
//   y = (sum over groups, in order, of dot * scale + (sum of the kept codes of x) * minimum) * x_scale.
// The epilogue is f32.
#include "kernels/linear.h"

#include <algorithm>

#include "base/parallel.h"
#include "kernels/epilogue.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

bool kept(const WeightMatrix& weight, int64_t row, int64_t col) { return !weight.mask || weight.mask->kept(row, col); }

float rounded_to(DType type, float v) {
  if (type == DType::kBF16) return bf16_to_f32(f32_to_bf16(v));
  if (type == DType::kF16) return f16_to_f32(f32_to_f16(v));
  return v;
}

class Reference : public PackedLinear {
 public:
  Reference(const LinearProblem& problem, const WeightMatrix& weight)
      : problem_(problem), rows_(weight.rows), cols_(weight.cols), group_(weight.group ? weight.group : std::max<int64_t>(weight.cols, 1)) {
    groups_ = std::max<int64_t>((cols_ + group_ - 1) / group_, 1);
    kept_.resize(size_t(rows_ * cols_));
    for (int64_t r = 0; r < rows_; r++)
      for (int64_t c = 0; c < cols_; c++) kept_[size_t(r * cols_ + c)] = kept(weight, r, c);
    if (weight.codes) {
      codes_.assign(weight.codes, weight.codes + rows_ * cols_);
      scales_.assign(weight.scales, weight.scales + rows_ * groups_);
      minima_.assign(size_t(rows_ * groups_), 0.0f);
      if (weight.minima) minima_.assign(weight.minima, weight.minima + rows_ * groups_);
    }
    if (problem.activations != DType::kS8) decode(weight);
  }

  std::string_view kernel() const override { return "reference::linear"; }
  int64_t size_bytes() const override { return int64_t(values_.size() * 4 + codes_.size() + scales_.size() * 4); }
  Shape shape() const override { return {rows_, cols_}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    parallel_for(tokens, [&](int64_t t) {
      std::vector<float> sums(static_cast<size_t>(rows_));
      if (problem_.activations == DType::kS8)
        integer_row(x + t * x_stride, sums.data());
      else
        float_row(x + t * x_stride, sums.data());
      reference::store_token_major({.sums = sums.data(), .sums_stride = rows_, .first_row = 0, .rows = rows_, .first_token = t, .tokens = 1}, y,
                                   y_stride, epilogue);
    });
  }

 private:
  void decode(const WeightMatrix& weight) {
    values_.resize(size_t(rows_ * cols_));
    for (int64_t r = 0; r < rows_; r++)
      for (int64_t c = 0; c < cols_; c++) {
        size_t i = size_t(r * cols_ + c), g = size_t(r * groups_ + c / group_);
        if (!kept_[i]) continue;
        values_[i] = weight.values ? rounded_to(problem_.weights, weight.values[i]) : float(codes_[i]) * scales_[g] + minima_[g];
      }
  }

  void float_row(const float* x, float* sums) const {
    for (int64_t r = 0; r < rows_; r++) {
      double sum = 0;
      for (int64_t c = 0; c < cols_; c++) {
        float value = problem_.activations == DType::kBF16 ? rounded_to(DType::kBF16, x[c]) : x[c];
        sum += double(values_[size_t(r * cols_ + c)]) * value;
      }
      sums[r] = float(sum);
    }
  }

  void integer_row(const float* x, float* sums) const {
    std::vector<int8_t> x_codes(static_cast<size_t>(cols_));
    float x_scale = problem_.input_scale;
    if (x_scale > 0)
      reference::quantize_static_s8(x, cols_, x_scale, problem_.input_zero, x_codes.data());
    else
      x_scale = reference::quantize_token_s8(x, cols_, x_codes.data());
    for (int64_t r = 0; r < rows_; r++) {
      float sum = 0;
      for (int64_t g = 0; g < groups_; g++) {
        int64_t dot = 0, x_sum = 0;
        for (int64_t c = g * group_; c < std::min((g + 1) * group_, cols_); c++) {
          size_t i = size_t(r * cols_ + c);
          if (!kept_[i]) continue;
          dot += int64_t(codes_[i]) * (x_codes[size_t(c)] - problem_.input_zero);
          x_sum += x_codes[size_t(c)] - problem_.input_zero;
        }
        sum += float(dot) * scales_[size_t(r * groups_ + g)] + float(x_sum) * minima_[size_t(r * groups_ + g)];
      }
      sums[r] = sum * x_scale;
    }
  }

  LinearProblem problem_;
  int64_t rows_, cols_, group_, groups_;
  std::vector<uint8_t> kept_;
  std::vector<float> values_, scales_, minima_;
  std::vector<int8_t> codes_;
};

std::optional<std::string> accepts(const LinearProblem&, int64_t, const CpuFeatures&) { return std::nullopt; }

std::unique_ptr<PackedLinear> pack(const LinearProblem& problem, const WeightMatrix& weight) {
  LACUNA_ASSERT(weight.rows * weight.cols == 0 || weight.values || (weight.codes && weight.scales));
  return std::make_unique<Reference>(problem, weight);
}

}  // namespace

extern const LinearKernel reference_linear = {
    .name = "reference::linear", .help = "plain loops; defines the result", .sparse = false, .break_even = 0, .accepts = accepts, .pack = pack};

}  // namespace lacuna::kernels
