// The convolution problem in 1, 2 or 3 spatial dimensions reduced to 2-D NCHW f32, its candidates and how one is chosen.
#pragma once

#include "base/assert.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

struct ConvProblem {
  int64_t in_channels = 0, out_channels = 0, groups = 1;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  DType weights = DType::kF32;      // f32, s8
  DType activations = DType::kF32;  // f32, or s8 (static per-tensor input scale)
  float input_scale = 0;            // of s8 activations, as in LinearProblem; padding holds the code of 0
  int32_t input_zero = 0;
  std::string pattern = "dense";
  double sparsity = 0;
  int64_t out_h(int64_t in_h) const { return (in_h + pad_top + pad_bottom - dilation_h * (kernel_h - 1) - 1) / stride_h + 1; }
  int64_t out_w(int64_t in_w) const { return (in_w + pad_left + pad_right - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
  std::string to_string(int64_t batch, int64_t in_h, int64_t in_w) const;
};

class PackedConv;

// Int8 activations between convolutions: signed codes with the channels of a pixel together, [batch, h, w, channels], each standing for
// scale * (code - zero).
struct CodesConv {
  const int8_t* x = nullptr;    // of the problem's input_scale and input_zero; kCodesSpare readable bytes follow
  const float* bias = nullptr;  // [out_channels]
  // Either codes, after an activation of none, relu, relu6 or clip:
  int8_t* y = nullptr;
  float y_scale = 0;
  int32_t y_zero = 0;
  const int8_t* residual = nullptr;  // in the order of y
  float residual_scale = 0;
  int32_t residual_zero = 0;
  Activation activation = Activation::kNone;
  float alpha = 0, beta = 0;
  // Roundings on the way: of product + bias, and of that + residual.
  Rounding product = {}, sum = {};
  // [256]: the code of y for each signed code of the last of them, at its unsigned byte; nullptr: that of what the code stands for, activated.
  const int8_t* table = nullptr;
  // or floats, [batch, out_channels, h, w], with the whole epilogue (its bias in place of the one above).
  float* y_floats = nullptr;
  Epilogue epilogue = {};
  const PackedConv* next = nullptr;  // that runs after this one: what it reads first may be fetched meanwhile
};
constexpr int64_t kCodesSpare = 1 << 17;

// One of several convolutions run as a chain: each next one reads, pixel by pixel, what the one before gives.
struct ConvLink {
  const PackedConv* conv;
  float* y;  // as in PackedConv::run; nullptr: only the next link reads the result
  Epilogue epilogue;
};

class PackedConv {
 public:
  virtual ~PackedConv() = default;
  virtual std::string_view kernel() const = 0;
  virtual int64_t size_bytes() const = 0;
  // x [batch, in_channels, in_h, in_w] -> y [batch, out_channels, out_h, out_w], both contiguous.
  // Epilogue: bias [out_channels]; residual in the layout of y, which y may equal if residual_in_place().
  virtual bool residual_in_place() const { return false; }
  virtual void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const = 0;

  // Whether it may come after `before` in a chain, and gains by it on so many threads, where that gives so many pixels, of all images together.
  virtual bool follows(const PackedConv& /*before*/, int64_t /*pixels*/, int /*threads*/) const { return false; }
  // What run() of one link after the other gives; the first is this one, and each other one follows the one before it. `seconds`, if not empty, gets
  // for each link the time that all threads together took.
  virtual void run_chain(const float* /*x*/, int64_t /*batch*/, int64_t /*in_h*/, int64_t /*in_w*/, std::span<const ConvLink> /*links*/,
                         std::span<double> /*seconds*/) const {
    LACUNA_ASSERT(false);  // of those that follow none
  }

  // Whether run_rows() is there for pictures of this size and this epilogue.
  virtual bool runs_rows(int64_t /*in_h*/, int64_t /*in_w*/, const Epilogue& /*epilogue*/) const { return false; }
  // Rows [first_row, first_row + rows) of the output of one image, x [in_channels, in_h, in_w], by the calling thread alone: element (row, col) of a
  // channel to y[channel * y_pitch + (row - first_row) * out_w + col]. The residual lies as y.
  virtual void run_rows(const float* /*x*/, int64_t /*in_h*/, int64_t /*in_w*/, int64_t /*first_row*/, int64_t /*rows*/, float* /*y*/,
                        int64_t /*y_pitch*/, const Epilogue& /*epilogue*/) const {
    LACUNA_ASSERT(false);
  }

  // Kernels that prefer activations in blocks of channels, [batch, ceil(channels / block), h, w, block], say so for each side; 0: plain.
  // Lanes beyond the channels are zero in y and not read as anything else in x.
  virtual int64_t input_block() const { return 0; }
  virtual int64_t output_block() const { return 0; }
  // What the thread with this share of a loop reads of the weights first; empty if that is not known.
  virtual std::span<const uint8_t> first_weights(int64_t /*share*/, int64_t /*shares*/) const { return {}; }
  // For kernels with `codes`.
  virtual void run_codes(const CodesConv&, int64_t /*batch*/, int64_t /*in_h*/, int64_t /*in_w*/) const {}

  // As run, with x, y and the residual (as y) in those layouts.
  virtual void run_blocked(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const {
    run(x, batch, in_h, in_w, y, epilogue);
  }
};

// [batch, channels, pixels] to blocks of `block` channels and back; parallel.
void to_channel_blocks(const float* x, int64_t batch, int64_t channels, int64_t pixels, int64_t block, float* y);
void from_channel_blocks(const float* x, int64_t batch, int64_t channels, int64_t pixels, int64_t block, float* y);
// run() of a convolution that works in blocks of channels: converts to them and back. y may be the residual.
void run_in_blocks(const PackedConv& conv, const ConvProblem& problem, const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y,
                   const Epilogue& epilogue);

// The weight comes as WeightMatrix: rows = out, cols = (kh, kw, in/groups), input channel fastest.
struct ConvKernel {
  std::string_view name, help;
  bool sparse;
  double break_even;  // as in LinearKernel
  std::optional<std::string> (*accepts)(const ConvProblem& problem, const CpuFeatures& cpu);
  std::unique_ptr<PackedConv> (*pack)(const ConvProblem& problem, const WeightMatrix& weight);
  bool codes = false;  // has run_codes
};

std::span<const ConvKernel> conv_kernels();
const ConvKernel& conv_kernel_named(std::string_view name);
// Why the kernel does not take the problem; with `codes`, from codes to codes.
std::optional<std::string> refusal(const ConvKernel& kernel, const ConvProblem& problem, bool codes);
// With `codes`: of the kernels that have run_codes, one of which must accept.
const ConvKernel& first_accepting(const ConvProblem& problem, bool codes = false);

}  // namespace lacuna::kernels
