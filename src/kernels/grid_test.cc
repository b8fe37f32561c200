// Every candidate of linear_kernels() and conv_kernels() against the reference, on a grid of odd shapes, under the ISA in force.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/cat.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "kernels/cases.h"

namespace lacuna::kernels {
namespace {

std::string test_name(std::string_view kernel) {
  std::string out(kernel);
  for (char& c : out)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return out;
}

// ---------------------------------------------------------------------------------------------- linear

struct Arithmetic {
  DType weights, activations;
  int64_t group;
  bool minima;
  float input_scale;
  int32_t input_zero = 0;
};
const Arithmetic kArithmetics[] = {
    {DType::kF32, DType::kF32, 0, false, 0},   {DType::kBF16, DType::kF32, 0, false, 0},        {DType::kF16, DType::kF32, 0, false, 0},
    {DType::kBF16, DType::kBF16, 0, false, 0}, {DType::kF32, DType::kBF16, 0, false, 0},        {DType::kS8, DType::kS8, 0, false, 0},
    {DType::kS8, DType::kS8, 0, false, 0.03f}, {DType::kS8, DType::kS8, 0, false, 0.01f, -128}, {DType::kS8, DType::kS8, 0, false, 0.02f, 17},
    {DType::kS8, DType::kS8, 32, false, 0},    {DType::kS8, DType::kF32, 0, false, 0},          {DType::kS4, DType::kS8, 32, false, 0},
    {DType::kS4, DType::kS8, 32, true, 0},     {DType::kS4, DType::kS8, 0, false, 0},           {DType::kS4, DType::kS8, 64, true, 0},
    {DType::kS4, DType::kF32, 32, false, 0},   {DType::kS4, DType::kF32, 64, true, 0},          {DType::kS8, DType::kF32, 32, true, 0}};
const char* const kPatterns[] = {"dense", "unstructured", "2:4",   "4:8",   "8:16", "4:16", "2:16",      "4:32",      "3:4",       "15:16",
                                 "2:32",  "6:64",         "32:64", "16:64", "8:64", "4:64", "block:1x4", "block:4x1", "block:4x4", "block:1x8"};
const double kSparsities[] = {0.0, 0.5, 0.9, 1.0};
const int64_t kRows[] = {0, 1, 3, 4, 15, 16, 17, 33, 64, 131};
const int64_t kCols[] = {1, 2, 15, 16, 63, 64, 65, 130, 200, 449};
const int64_t kTokens[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 15, 16, 17, 31, 33, 63, 64, 65, 100, 130};
const Activation kActivations[] = {Activation::kNone,      Activation::kRelu,      Activation::kGelu,        Activation::kSilu,
                                   Activation::kRelu6,     Activation::kGeluTanh,  Activation::kTanh,        Activation::kSigmoid,
                                   Activation::kHardSwish, Activation::kLeakyRelu, Activation::kHardSigmoid, Activation::kClip};

constexpr float kGuard = 12345.0f;

// Runs `kernel` and the reference on one problem and compares; the seed picks strides, epilogue and the order of the operands.
void check_linear(const LinearKernel& kernel, const LinearProblem& problem, int64_t tokens, uint64_t seed) {
  SCOPED_TRACE(cat(kernel.name, ": ", problem.to_string(tokens), " seed=", seed));
  Rng rng(seed);
  WeightCase weight, absolute;
  fill_weight(weight, problem, seed);
  auto remove = [&](int64_t row, int64_t col) {
    weight.mask.set(row, col, false);
    (weight.codes.empty() ? weight.values[size_t(row * problem.cols + col)] = 0 : weight.codes[size_t(row * problem.cols + col)] = 0);
  };
  bool scattered = !weight.dense && !problem.pattern.starts_with("block:");
  if (scattered && problem.rows > 2 && rng.below(2)) {  // an empty row, or sixteen
    int64_t first = rng.below(problem.rows), last = std::min(first + (rng.below(2) ? 1 : 16), problem.rows);
    for (int64_t row = first; row < last; row++)
      for (int64_t c = 0; c < problem.cols; c++) remove(row, c);
  }
  if (scattered && rng.below(3) == 0)  // N:M with fewer than N
    for (int64_t row = 0; row < problem.rows; row++)
      for (int64_t c = 0; c < problem.cols; c++)
        if (rng.below(3) == 0) remove(row, c);
  fill_absolute(absolute, weight);
  bool channel_major = rng.below(3) == 0;
  int64_t out_outer = channel_major ? problem.rows : tokens, out_inner = channel_major ? tokens : problem.rows;
  int64_t in_outer = channel_major ? problem.cols : tokens, in_inner = channel_major ? tokens : problem.cols;
  int64_t x_stride = in_inner + (rng.below(2) ? 3 : 0), y_stride = out_inner + (rng.below(2) ? 5 : 0), offset = rng.below(2);
  if (rng.below(4) == 0) y_stride = (out_inner + 1023) / 1024 * 1024;  // where outputs meet in one set of the L1 cache
  std::vector<float> x = random_floats(in_outer * x_stride + offset, seed), bias = random_floats(problem.rows, seed + 1);
  std::vector<float> residual = random_floats(out_outer * y_stride, seed + 2), expected(size_t(out_outer * y_stride), kGuard), bound = expected;
  std::vector<float> y(size_t(out_outer * y_stride + offset), kGuard);

  Epilogue epilogue;
  if (rng.below(2)) epilogue.bias = bias.data();
  bool in_place = false;
  if (rng.below(2)) {
    epilogue.residual = residual.data(), epilogue.residual_stride = y_stride;
    in_place = rng.below(2);
  }
  epilogue.activation = kActivations[rng.below(int64_t(std::size(kActivations)))];
  epilogue.alpha = epilogue.activation == Activation::kClip ? -0.5f : 0.2f, epilogue.beta = 0.5f;

  auto run = [&](const PackedLinear& packed, const float* in, float* out, const Epilogue& e) {
    if (channel_major)
      packed.run_channel_major(in, x_stride, tokens, out, y_stride, e);
    else
      packed.run(in, x_stride, tokens, out, y_stride, e);
  };
  const LinearKernel& reference = linear_kernel_named("reference::linear");
  run(*reference.pack(problem, weight.matrix()), x.data() + offset, expected.data(), epilogue);
  LinearProblem bound_problem = {.rows = problem.rows, .cols = problem.cols};
  std::vector<float> absolute_x = x;
  for (float& v : absolute_x) v = std::fabs(v);
  run(*reference.pack(bound_problem, absolute.matrix()), absolute_x.data() + offset, bound.data(), {});

  std::unique_ptr<PackedLinear> packed = kernel.pack(problem, weight.matrix());
  EXPECT_EQ(packed->kernel(), kernel.name);
  EXPECT_GE(packed->size_bytes(), 0);
  if (in_place) {
    for (int64_t i = 0; i < out_outer; i++) std::copy_n(residual.data() + i * y_stride, out_inner, y.data() + offset + i * y_stride);
    epilogue.residual = y.data() + offset;
  }
  run(*packed, x.data() + offset, y.data() + offset, epilogue);

  bool smooth = epilogue.activation != Activation::kNone && epilogue.activation != Activation::kRelu && epilogue.activation != Activation::kClip &&
                epilogue.activation != Activation::kRelu6;
  bool exact = problem.activations == DType::kS8 && problem.group == 0 && !problem.minima && !smooth;
  for (int64_t i = 0; i < out_outer; i++)
    for (int64_t j = 0; j < y_stride; j++) {
      float wanted = expected[size_t(i * y_stride + j)], found = y[size_t(offset + i * y_stride + j)];
      if (j >= out_inner) {
        ASSERT_EQ(found, kGuard) << "wrote beyond its output at [" << i << ", " << j << "]";
        continue;
      }
      double tolerance = exact ? 0 : 4 * 0x1p-23 * std::sqrt(double(problem.cols)) * bound[size_t(i * y_stride + j)];
      if (!exact) tolerance += 8 * 0x1p-23 * (1 + std::fabs(wanted));
      ASSERT_NEAR(found, wanted, tolerance) << "at [" << i << ", " << j << "]" << (channel_major ? ", channel-major" : "");
    }
}

// Compared with themselves, the references need no more than a few cases for their strides and guards.
constexpr std::string_view kReference = "reference::linear", kConvReference = "reference::conv";

class EveryLinearKernel : public testing::TestWithParam<LinearKernel> {};

TEST_P(EveryLinearKernel, EqualsTheReferenceOnTheGrid) {
  const LinearKernel& kernel = GetParam();
  int64_t checked = 0;
  std::string refusal;
  uint64_t seed = 1;
  for (const Arithmetic& a : kArithmetics)
    for (const char* pattern : kPatterns)
      for (double sparsity : kSparsities) {
        bool fixed = std::string_view(pattern) == "dense" || std::isdigit(static_cast<unsigned char>(pattern[0]));
        if (fixed && sparsity != 0.5) continue;
        LinearProblem problem = {.rows = 64, .cols = 64, .weights = a.weights, .activations = a.activations, .group = a.group, .minima = a.minima};
        problem.input_scale = a.input_scale, problem.input_zero = a.input_zero, problem.pattern = pattern, problem.sparsity = sparsity;
        auto check = [&](int64_t rows, int64_t cols, int64_t tokens) {
          problem.rows = rows, problem.cols = cols;
          if (auto reason = kernel.accepts(problem, tokens, cpu_features())) {
            refusal = *reason;
            return;
          }
          checked++, seed++;
          if (kernel.name != kReference || seed % 16 == 0) check_linear(kernel, problem, tokens, seed);
        };
        Rng rng(seed);
        for (int64_t rows : kRows) check(rows, kCols[rng.below(std::size(kCols))], kTokens[rng.below(std::size(kTokens))]);
        for (int64_t cols : kCols) check(kRows[rng.below(std::size(kRows))], cols, kTokens[rng.below(std::size(kTokens))]);
        for (int64_t tokens : kTokens) check(kRows[rng.below(std::size(kRows))], kCols[rng.below(std::size(kCols))], tokens);
        if (HasFatalFailure()) return;
      }
  if (checked == 0) GTEST_SKIP() << kernel.name << " accepts nothing here: " << refusal;
}

TEST_P(EveryLinearKernel, GivesTheSameBitsForAnyThreadCount) {
  const LinearKernel& kernel = GetParam();
  std::string refusal;
  int compared = 0;
  for (const Arithmetic& a : kArithmetics)
    for (const char* pattern : kPatterns)
      for (int64_t tokens : {1, 70}) {
        LinearProblem problem = {.rows = 100, .cols = 192, .weights = a.weights, .activations = a.activations, .group = a.group, .minima = a.minima};
        problem.input_scale = a.input_scale, problem.input_zero = a.input_zero, problem.pattern = pattern, problem.sparsity = 0.7;
        if (auto reason = kernel.accepts(problem, tokens, cpu_features())) {
          refusal = *reason;
          continue;
        }
        WeightCase weight;
        fill_weight(weight, problem, 3);
        std::vector<float> x = random_floats(tokens * problem.cols, 4), first(size_t(tokens * problem.rows)), second = first;
        std::unique_ptr<PackedLinear> packed = kernel.pack(problem, weight.matrix());
        int threads = thread_count();
        set_thread_count(1);
        packed->run(x.data(), problem.cols, tokens, first.data(), problem.rows, {});
        set_thread_count(3);
        packed->run(x.data(), problem.cols, tokens, second.data(), problem.rows, {});
        set_thread_count(threads);
        ASSERT_EQ(std::memcmp(first.data(), second.data(), first.size() * sizeof(float)), 0) << kernel.name << ": " << problem.to_string(tokens);
        compared++;
      }
  if (compared == 0) GTEST_SKIP() << kernel.name << " accepts nothing here: " << refusal;
}

INSTANTIATE_TEST_SUITE_P(Linear, EveryLinearKernel, testing::ValuesIn(linear_kernels().begin(), linear_kernels().end()),
                         [](const auto& info) { return test_name(info.param.name); });

// ---------------------------------------------------------------------------------------------- convolution

ConvCase random_conv(const ConvProblem& arithmetic, Rng& rng) {
  ConvCase c;
  ConvProblem& p = c.problem;
  p = arithmetic;
  auto one_of = [&](std::initializer_list<int64_t> values) { return values.begin()[rng.below(int64_t(values.size()))]; };
  p.in_channels = one_of({1, 3, 4, 16, 20, 33}), p.out_channels = one_of({1, 3, 8, 16, 17, 40});
  switch (rng.below(5)) {
    case 0: p.groups = p.in_channels, p.out_channels = p.in_channels * one_of({1, 2}); break;  // depthwise
    case 1: p.groups = 2, p.in_channels *= 2, p.out_channels *= 2; break;
    default: p.groups = 1;
  }
  p.kernel_h = one_of({1, 3, 3, 3, 5, 7}), p.kernel_w = rng.below(4) ? p.kernel_h : one_of({1, 2, 3});
  p.stride_h = one_of({1, 1, 2, 3}), p.stride_w = rng.below(4) ? p.stride_h : one_of({1, 2});
  p.dilation_h = one_of({1, 1, 1, 2}), p.dilation_w = rng.below(4) ? p.dilation_h : 1;
  p.pad_top = one_of({0, 1, 1, 2}), p.pad_left = rng.below(4) ? p.pad_top : one_of({0, 1, 3});
  p.pad_bottom = rng.below(4) ? p.pad_top : one_of({0, 1}), p.pad_right = rng.below(4) ? p.pad_left : one_of({0, 2});
  do c.in_h = one_of({1, 2, 5, 7, 8, 14, 19, 40});
  while (p.out_h(c.in_h) < 1 || c.in_h + p.pad_top + p.pad_bottom < p.dilation_h * (p.kernel_h - 1) + 1);
  do c.in_w = one_of({1, 3, 7, 8, 16, 17, 35, 48, 70, 112, 127});
  while (p.out_w(c.in_w) < 1 || c.in_w + p.pad_left + p.pad_right < p.dilation_w * (p.kernel_w - 1) + 1);
  c.batch = one_of({0, 1, 1, 1, 2, 5});
  return c;
}

// Any rows of the last image, with channels further apart, have the bits of `whole`.
void check_rows(const PackedConv& packed, const ConvCase& c, const std::vector<float>& x, Epilogue epilogue, const std::vector<float>& whole,
                const std::vector<float>& residual, Rng& rng) {
  const ConvProblem& p = c.problem;
  int64_t out_h = p.out_h(c.in_h), out_w = p.out_w(c.in_w), first = rng.below(out_h), rows = 1 + rng.below(out_h - first);
  int64_t pitch = rows * out_w + rng.below(3), image = (c.batch - 1) * p.out_channels * out_h * out_w;
  std::vector<float> y(size_t(p.out_channels * pitch + 16), kGuard), added = y;
  auto place = [&](int64_t channel, int64_t i) { return size_t(channel * pitch + i); };
  auto origin = [&](int64_t channel, int64_t i) { return size_t(image + (channel * out_h + first) * out_w + i); };
  for (int64_t channel = 0; channel < p.out_channels; channel++)
    for (int64_t i = 0; i < rows * out_w; i++) added[place(channel, i)] = residual[origin(channel, i)];
  if (epilogue.residual) epilogue.residual = added.data();
  packed.run_rows(x.data() + (c.batch - 1) * p.in_channels * c.in_h * c.in_w, c.in_h, c.in_w, first, rows, y.data(), pitch, epilogue);
  for (int64_t channel = 0; channel < p.out_channels; channel++) {
    for (int64_t i = 0; i < rows * out_w; i++)
      ASSERT_EQ(y[place(channel, i)], whole[origin(channel, i)]) << "rows " << first << " + " << rows << ", channel " << channel << " at " << i;
    for (int64_t i = rows * out_w; i < pitch; i++) ASSERT_EQ(y[place(channel, i)], kGuard) << "wrote between its channels";
  }
  for (size_t i = place(p.out_channels, 0); i < y.size(); i++) ASSERT_EQ(y[i], kGuard) << "wrote beyond its rows";
}

void check_conv(const ConvKernel& kernel, const ConvCase& c, uint64_t seed) {
  const ConvProblem& problem = c.problem;
  SCOPED_TRACE(cat(kernel.name, ": ", problem.to_string(c.batch, c.in_h, c.in_w), " seed=", seed));
  Rng rng(seed);
  WeightCase weight, absolute;
  fill_weight(weight, problem, seed);
  fill_absolute(absolute, weight);
  int64_t pixels = problem.out_h(c.in_h) * problem.out_w(c.in_w), out_size = c.batch * problem.out_channels * pixels;
  std::vector<float> x = random_floats(c.batch * problem.in_channels * c.in_h * c.in_w, seed), bias = random_floats(problem.out_channels, seed + 1);
  std::vector<float> residual = random_floats(out_size, seed + 2), expected(static_cast<size_t>(out_size)), bound = expected;
  std::vector<float> y(size_t(out_size + 16), kGuard);
  Epilogue epilogue;
  if (rng.below(2)) epilogue.bias = bias.data();
  bool in_place = false;
  if (rng.below(2)) epilogue.residual = residual.data(), epilogue.residual_stride = pixels, in_place = rng.below(2);
  Activation activations[] = {Activation::kNone, Activation::kRelu, Activation::kRelu6, Activation::kSilu, Activation::kLeakyRelu};
  epilogue.activation = activations[rng.below(5)], epilogue.alpha = 0.1f;

  const ConvKernel& reference = conv_kernel_named("reference::conv");
  reference.pack(problem, weight.matrix())->run(x.data(), c.batch, c.in_h, c.in_w, expected.data(), epilogue);
  ConvProblem bound_problem = problem;
  bound_problem.weights = bound_problem.activations = DType::kF32;
  std::vector<float> absolute_x = x;
  for (float& v : absolute_x) v = std::fabs(v);
  reference.pack(bound_problem, absolute.matrix())->run(absolute_x.data(), c.batch, c.in_h, c.in_w, bound.data(), {});

  std::unique_ptr<PackedConv> packed = kernel.pack(problem, weight.matrix());
  EXPECT_EQ(packed->kernel(), kernel.name);
  if (in_place && out_size > 0) {
    std::memcpy(y.data(), residual.data(), size_t(out_size) * 4);
    epilogue.residual = y.data();
  }
  packed->run(x.data(), c.batch, c.in_h, c.in_w, y.data(), epilogue);
  bool exact = problem.activations == DType::kS8 && (epilogue.activation == Activation::kNone || epilogue.activation == Activation::kRelu);
  for (int64_t i = 0; i < out_size; i++) {
    double tolerance = exact ? 0 : 4 * 0x1p-23 * (std::sqrt(double(weight.cols)) * bound[size_t(i)] + 1 + std::fabs(expected[size_t(i)]));
    ASSERT_NEAR(y[size_t(i)], expected[size_t(i)], tolerance) << "at " << i;
  }
  for (int64_t i = out_size; i < int64_t(y.size()); i++) ASSERT_EQ(y[size_t(i)], kGuard) << "wrote beyond its output";
  if (c.batch > 0 && out_size > 0 && packed->runs_rows(c.in_h, c.in_w, epilogue)) check_rows(*packed, c, x, epilogue, y, residual, rng);
}

class EveryConvKernel : public testing::TestWithParam<ConvKernel> {};

TEST_P(EveryConvKernel, EqualsTheReferenceOnTheGrid) {
  const ConvKernel& kernel = GetParam();
  int64_t checked = 0;
  std::string refusal;
  uint64_t seed = 1;
  for (int arithmetic_kind = 0; arithmetic_kind < 3; arithmetic_kind++)
    for (const char* pattern : kPatterns)
      for (double sparsity : kSparsities)
        for (int i = 0; i < 8; i++) {
          ConvProblem arithmetic;
          if (arithmetic_kind > 0) arithmetic.weights = arithmetic.activations = DType::kS8, arithmetic.input_scale = 0.03f;
          if (arithmetic_kind == 2) arithmetic.input_scale = 0.01f, arithmetic.input_zero = i % 2 ? -128 : 9;
          arithmetic.pattern = pattern, arithmetic.sparsity = sparsity;
          Rng rng(++seed);
          ConvCase c = random_conv(arithmetic, rng);
          if (auto reason = kernel.accepts(c.problem, cpu_features())) {
            refusal = *reason;
            continue;
          }
          checked++;
          if (kernel.name != kConvReference || seed % 16 == 0) check_conv(kernel, c, seed);
          if (HasFatalFailure()) return;
        }
  if (checked == 0) GTEST_SKIP() << kernel.name << " accepts nothing here: " << refusal;
}

INSTANTIATE_TEST_SUITE_P(Convolution, EveryConvKernel, testing::ValuesIn(conv_kernels().begin(), conv_kernels().end()),
                         [](const auto& info) { return test_name(info.param.name); });

}  // namespace
}  // namespace lacuna::kernels
