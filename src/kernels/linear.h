// The linear problem, y = act(x W^T + bias + residual), its candidates and how one is chosen.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "sparse/mask.h"
#include "tensor/tensor.h"

namespace lacuna::kernels {

enum class Activation : uint8_t { kNone, kRelu, kRelu6, kGelu, kGeluTanh, kSilu, kTanh, kSigmoid, kHardSwish, kHardSigmoid, kLeakyRelu, kClip };

// Rounding to codes of eight bits and back, as a quantize and a dequantize node do it: v becomes
// clip(round(v / scale), -128 - zero, 127 - zero) * scale, ties to even. scale 0: v stays.
struct Rounding {
  float scale = 0;
  int32_t zero = 0;
  bool operator==(const Rounding&) const = default;
};

// What is fused at the store: y = act(sum + bias[row] + residual[token, row]).
struct Epilogue {
  const float* bias = nullptr;      // [rows]
  const float* residual = nullptr;  // [tokens, rows], stride residual_stride
  int64_t residual_stride = 0;
  Activation activation = Activation::kNone;
  float alpha = 0, beta = 0;  // kLeakyRelu slope in alpha; kClip bounds [alpha, beta]
  // Of the sum before the bias, and of y. Kernels of linear problems do them, those of convolutions need not.
  Rounding sum_rounding = {}, rounding = {};
  bool rounds() const { return sum_rounding.scale > 0 || rounding.scale > 0; }
};

// A weight as handed to a kernel for packing. Either `values` (float weights) or `codes` (+ scales), in matrix order.
struct WeightMatrix {
  int64_t rows = 0, cols = 0;
  const float* values = nullptr;  // [rows, cols] f32, zeros where not kept
  const int8_t* codes = nullptr;  // [rows, cols] in [-127, 127], or in [-8, 7] for 4-bit; zeros where not kept
  const float* scales = nullptr;  // [rows] or [rows, ceil(cols / group)]
  const float* minima = nullptr;  // same shape as scales (asymmetric 4-bit), nullptr if none
  int64_t group = 0;              // 0: per row
  const Mask* mask = nullptr;     // nullptr: dense
  int64_t inner = 0;              // matrix view of a convolution: input channels per kernel position; 0 = cols
};

// What is to be multiplied, from which a kernel says whether it applies.
struct LinearProblem {
  int64_t rows = 0, cols = 0;
  DType weights = DType::kF32;      // stored values: f32, bf16, f16, s8, s4
  DType activations = DType::kF32;  // arithmetic: f32, bf16, or s8 (dynamic per-token quantization inside the kernel)
  int64_t group = 0;                // scale group, 0: per row
  bool minima = false;
  // s8 activations, calibrated: x stands for input_scale * (code - input_zero), code = round(x / input_scale) + input_zero, ties to even, in
  // [-128, 127]. input_scale 0: dynamic, per token, codes in [-127, 127].
  float input_scale = 0;
  int32_t input_zero = 0;
  std::string pattern = "dense";  // "dense", "unstructured", "2:4", "8:16", "block:1x4", ...
  double sparsity = 0;
  // "spmm s8 unstructured m=768 k=768 sparsity=0.9": the problem language of tests, benchmarks and bug reports.
  std::string to_string(int64_t tokens) const;
};

struct CodedTokens;

// A weight packed for one kernel. Immutable and shared by all Programs; run may be called from one thread at a time per
// output, and parallelises itself over row groups with parallel_for. Results do not depend on the thread count.
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;
  virtual std::string_view kernel() const = 0;
  virtual int64_t size_bytes() const = 0;
  struct Shape {
    int64_t rows, cols;
  };
  virtual Shape shape() const = 0;
  // x [tokens, cols] with x_stride, y [tokens, rows] with y_stride (elements). y must not overlap x; it may equal the residual.
  virtual void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const = 0;
  // Channel-major variant for 1x1 convolutions: x [cols, n], y [rows, n], residual [rows, n]. Kernels whose activations are
  // channel-major anyway override it; the default transposes.
  virtual void run_channel_major(const float* x, int64_t x_stride, int64_t n, float* y, int64_t y_stride, const Epilogue& epilogue) const;
  // Of s8 activations: whether x may come as codes of the problem's rounding (coded_tokens.h); then run_codes is there.
  virtual bool reads_codes() const { return false; }
  virtual void run_codes(const CodedTokens& x, float* y, int64_t y_stride, const Epilogue& epilogue) const;
};

// One candidate. `accepts` says yes (nullopt) or returns a sentence; `tokens` 1..8 is decode, more is batched. A kernel refuses
// token counts that it is not meant for, yet once packed it runs any number of them.
struct LinearKernel {
  std::string_view name;  // "avx512::spmm_csr_f32_n64"
  std::string_view help;
  bool sparse;        // skips zeros
  double break_even;  // first_accepting passes over it at a sparsity below this; measured plans ignore it
  std::optional<std::string> (*accepts)(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu);
  std::unique_ptr<PackedLinear> (*pack)(const LinearProblem& problem, const WeightMatrix& weight);
};

// All candidates, best first by static rank; the reference is last and accepts everything.
std::span<const LinearKernel> linear_kernels();
const LinearKernel& linear_kernel_named(std::string_view name);  // throws InvalidArgument listing the known ones

// The first candidate that accepts (the fixed plan of pruning and calibration). LACUNA_TRACE=dispatch reports refusals (dispatch.h).
const LinearKernel& first_accepting(const LinearProblem& problem, int64_t tokens);

}  // namespace lacuna::kernels
