// Convolutions from codes to codes, against loops of the test's own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/cat.h"
#include "base/rng.h"
#include "kernels/conv.h"

namespace lacuna::kernels {
namespace {

struct Case {
  int64_t in, out, kernel, stride, pad, dilation, groups, size, batch;
};

// Doubles of what the codes stand for, summed in the order of the definition.
struct Expected {
  std::vector<double> values;  // [batch, h, w, out]
  int64_t h, w;
};

class Data {
 public:
  Data(const Case& c, int32_t zero, uint64_t seed) : c_(c), zero_(zero), rng_(seed), cols_(c.in / c.groups * c.kernel * c.kernel) {
    problem = {.in_channels = c.in,
               .out_channels = c.out,
               .groups = c.groups,
               .kernel_h = c.kernel,
               .kernel_w = c.kernel,
               .stride_h = c.stride,
               .stride_w = c.stride,
               .dilation_h = c.dilation,
               .dilation_w = c.dilation,
               .pad_top = c.pad,
               .pad_left = c.pad,
               .pad_bottom = c.pad,
               .pad_right = c.pad,
               .weights = DType::kS8,
               .activations = DType::kS8,
               .input_scale = 0.03f,
               .input_zero = zero};
    weights = codes(c.out * cols_, -127), x = codes(c.batch * c.size * c.size * c.in, -128);
    x.resize(x.size() + size_t(kCodesSpare));
    for (int64_t r = 0; r < c.out; r++) {
      scales.push_back(float(0.001 + 0.01 * rng_.uniform())), bias.push_back(float(rng_.uniform() * 2 - 1));
    }
    residual = codes(c.batch * problem.out_h(c.size) * problem.out_w(c.size) * c.out, -128);
  }

  Expected expected() const {
    const Case& c = c_;
    Expected e{{}, problem.out_h(c.size), problem.out_w(c.size)};
    int64_t inner = c.in / c.groups;
    for (int64_t b = 0; b < c.batch; b++)
      for (int64_t oh = 0; oh < e.h; oh++)
        for (int64_t ow = 0; ow < e.w; ow++)
          for (int64_t o = 0; o < c.out; o++) {
            int64_t sum = 0;
            for (int64_t k = 0; k < cols_; k++) {
              int64_t tap = k / inner, h = oh * c.stride - c.pad + tap / c.kernel * c.dilation,
                      w = ow * c.stride - c.pad + tap % c.kernel * c.dilation;
              if (h < 0 || h >= c.size || w < 0 || w >= c.size) continue;
              sum += (x[size_t(((b * c.size + h) * c.size + w) * c.in + o / (c.out / c.groups) * inner + k % inner)] - zero_) *
                     int64_t(weights[size_t(o * cols_ + k)]);
            }
            e.values.push_back(double(sum) * scales[size_t(o)] * problem.input_scale + bias[size_t(o)]);
          }
    return e;
  }

  ConvProblem problem;
  std::vector<int8_t> weights, x, residual;
  std::vector<float> scales, bias;
  int64_t cols() const { return cols_; }

 private:
  std::vector<int8_t> codes(int64_t n, int lowest) {
    std::vector<int8_t> out(static_cast<size_t>(n));
    for (auto& v : out) v = int8_t(lowest + int(rng_.below(127 - lowest + 1)));
    return out;
  }
  Case c_;
  int32_t zero_;
  Rng rng_;
  int64_t cols_;
};

const Case kCases[] = {
    {3, 16, 7, 2, 3, 1, 1, 15, 2},   {16, 16, 3, 1, 1, 1, 1, 9, 1},   {64, 48, 1, 1, 0, 1, 1, 8, 2},     {32, 64, 1, 2, 0, 1, 1, 9, 1},
    {65, 17, 3, 2, 1, 1, 1, 8, 1},   {16, 8, 3, 1, 2, 2, 1, 7, 1},    {32, 32, 3, 1, 1, 1, 2, 6, 2},     {8, 5, 1, 1, 0, 1, 1, 1, 1},
    {128, 40, 3, 1, 0, 1, 1, 5, 1},  {24, 24, 5, 3, 2, 1, 3, 11, 1},  {33, 129, 1, 1, 0, 1, 1, 7, 3},    {96, 200, 3, 2, 1, 1, 1, 9, 3},
    {40, 150, 3, 1, 1, 1, 2, 10, 3}, {600, 520, 3, 1, 1, 1, 1, 4, 3}, {64, 80, 3, 1, 1, 1, 1, 21, 1},    {64, 64, 3, 1, 1, 1, 64, 9, 2},
    {70, 70, 5, 2, 2, 1, 70, 12, 1}, {16, 16, 3, 1, 2, 2, 16, 7, 3},  {130, 130, 3, 2, 0, 1, 130, 8, 1}, {3, 3, 7, 1, 3, 1, 3, 10, 2}};

TEST(CodesConv, GivesTheCodesOfTheDefinition) {
  int tried = 0;
  for (auto& kernel : conv_kernels())
    for (auto& c : kCases)
      for (int32_t zero : {0, -128, 5, 127}) {
        Data data(c, zero, uint64_t(c.in * 1000 + c.kernel));
        if (kernel.sparse) data.problem.pattern = "unstructured", data.problem.sparsity = 0.7;
        if (!kernel.codes || kernel.accepts(data.problem, cpu_features())) continue;
        tried++;
        for (size_t i = 0; kernel.sparse && i < data.weights.size(); i++)
          if (i * 2654435761u % 97 < 70) data.weights[i] = 0;
        WeightMatrix weight{.rows = c.out, .cols = data.cols(), .codes = data.weights.data(), .scales = data.scales.data(), .inner = c.in / c.groups};
        auto packed = kernel.pack(data.problem, weight);
        Expected want = data.expected();
        std::string what = cat(kernel.name, " ", data.problem.to_string(c.batch, c.size, c.size), " zero ", zero);
        CodesConv call{.x = data.x.data(), .bias = data.bias.data()};

        // Codes, with a residual and relu.
        std::vector<int8_t> y(want.values.size());
        call.y = y.data(), call.y_scale = 0.05f, call.y_zero = -3;
        call.residual = data.residual.data(), call.residual_scale = 0.02f, call.residual_zero = 4, call.activation = Activation::kRelu;
        packed->run_codes(call, c.batch, c.size, c.size);
        int64_t off_by_one = 0;
        for (size_t i = 0; i < y.size(); i++) {
          double v = std::max(0.0, want.values[i] + (data.residual[i] - 4) * double(0.02f));
          int code = int(std::clamp(std::nearbyint(v / double(0.05f)) - 3, -128.0, 127.0));
          ASSERT_LE(std::abs(code - y[i]), 1) << what << " at " << i;
          off_by_one += code != y[i];
          // Only beside the middle of two codes, by a few last bits of what was added.
          double parts = std::abs(want.values[i]) + 2 * std::abs(data.bias[i % size_t(c.out)]) + std::abs((data.residual[i] - 4) * 0.02);
          double quotient = v / double(0.05f), from_middle = std::abs(std::abs(quotient - std::nearbyint(quotient)) - 0.5);
          if (code != y[i]) EXPECT_LE(from_middle, 4e-7 * parts / 0.05) << what << " at " << i;
        }
        EXPECT_LE(off_by_one, 1 + int64_t(y.size()) / 500) << what;

        // Every result rounded: a residual, a clip, scales so far apart that sums pass the largest code by far.
        for (float scale : {0.05f, 1e-9f}) {
          call.product = {.scale = 0.03f, .zero = 5}, call.sum = {.scale = 0.04f, .zero = -9};
          call.y_scale = scale, call.activation = Activation::kClip, call.alpha = -0.5f, call.beta = 2;
          for (bool residual : {true, false}) {
            call.residual = residual ? data.residual.data() : nullptr;
            packed->run_codes(call, c.batch, c.size, c.size);
            auto rounded = [](double v, const Rounding& r) {
              return (std::clamp(std::nearbyint(v / double(r.scale)) + r.zero, -128.0, 127.0) - r.zero) * double(r.scale);
            };
            int64_t off = 0;
            for (size_t i = 0; i < y.size(); i++) {
              double v = rounded(want.values[i], call.product);
              if (residual) v = rounded(v + (data.residual[i] - 4) * double(0.02f), call.sum);
              off += y[i] != int(std::clamp(std::nearbyint(std::clamp(v, -0.5, 2.0) / double(scale)) - 3, -128.0, 127.0));
            }
            EXPECT_LE(off, 1 + int64_t(y.size()) / 100) << what << (residual ? " residual" : "") << " scale " << scale;
          }
        }
        call.product = call.sum = {}, call.y_scale = 1e-12f, call.activation = Activation::kNone;
        packed->run_codes(call, c.batch, c.size, c.size);
        for (size_t i = 0; i < y.size(); i++) {
          if (std::abs(want.values[i]) < 1e-3) continue;
          ASSERT_EQ(y[i], want.values[i] > 0 ? 127 : -128) << what << " at " << i;
        }

        // Floats in planes.
        std::vector<float> floats(want.values.size());
        CodesConv to_floats{.x = data.x.data(), .y_floats = floats.data(), .epilogue = {.bias = data.bias.data()}};
        packed->run_codes(to_floats, c.batch, c.size, c.size);
        double worst = 0, largest = 0;
        for (int64_t b = 0; b < c.batch; b++)
          for (int64_t p = 0; p < want.h * want.w; p++)
            for (int64_t o = 0; o < c.out; o++) {
              double v = want.values[size_t((b * want.h * want.w + p) * c.out + o)];
              worst = std::max(worst, std::abs(v - floats[size_t((b * c.out + o) * want.h * want.w + p)])), largest = std::max(largest, std::abs(v));
            }
        EXPECT_LE(worst, 1e-6 * largest) << what;
      }
  if (!tried) GTEST_SKIP() << "skipped: this CPU has no kernel that takes codes";
}

// What the zero point adds to each sum is large here, and the picture stands for zeros: left is the bias, close to the middle of two codes.
TEST(CodesConv, AZeroPointCostsNoDigits) {
  int tried = 0;
  for (int zero : {-128, 127}) {
    ConvProblem problem{
        .in_channels = 512, .out_channels = 16, .weights = DType::kS8, .activations = DType::kS8, .input_scale = 1, .input_zero = zero};
    std::vector<int8_t> weights(16 * 512, 127), x(9 * 512 + kCodesSpare, int8_t(zero)), y(9 * 16);
    std::vector<float> scales(16, 0.01f), bias(16);
    for (int i = 0; i < 16; i++) bias[size_t(i)] = 0.5f + (i % 2 ? 1e-4f : -1e-4f) * float(i + 1);
    WeightMatrix weight{.rows = 16, .cols = 512, .codes = weights.data(), .scales = scales.data(), .inner = 512};
    for (auto& kernel : conv_kernels()) {
      problem.pattern = kernel.sparse ? "unstructured" : "dense";
      if (!kernel.codes || kernel.accepts(problem, cpu_features())) continue;
      tried++;
      auto packed = kernel.pack(problem, weight);
      packed->run_codes({.x = x.data(), .bias = bias.data(), .y = y.data(), .y_scale = 1}, 1, 3, 3);
      for (size_t i = 0; i < y.size(); i++) EXPECT_EQ(y[i], i % 2) << kernel.name << " at " << i;
    }
  }
  if (!tried) GTEST_SKIP() << "skipped: this CPU has no kernel that takes codes";
}

// Of a picture so small that what a 1x1 kernel with a stride reads is as high as it, though some of it is padding.
TEST(CodesConv, PadsRowsThatAStrideReads) {
  ConvProblem problem{
      .in_channels = 32, .out_channels = 16, .stride_h = 3, .pad_bottom = 2, .weights = DType::kS8, .activations = DType::kS8, .input_scale = 1};
  std::vector<int8_t> weights(16 * 32, 1);
  std::vector<float> scales(16, 1.0f);
  WeightMatrix weight{.rows = 16, .cols = 32, .codes = weights.data(), .scales = scales.data(), .inner = 32};
  int tried = 0;
  for (auto& kernel : conv_kernels()) {
    problem.pattern = kernel.sparse ? "unstructured" : "dense";
    if (!kernel.codes || kernel.accepts(problem, cpu_features())) continue;
    tried++;
    auto packed = kernel.pack(problem, weight);
    std::vector<float> x(32 * 20 * 20, 100.0f), y(16 * 20 * 20);
    packed->run(x.data(), 1, 20, 20, y.data(), {});  // leaves its codes in scratch memory
    packed->run(x.data(), 1, 2, 4, y.data(), {});
    for (int64_t i = 0; i < 16 * 2 * 4; i++) ASSERT_EQ(y[size_t(i)], i % 8 < 4 ? 3200.0f : 0.0f) << kernel.name << " at " << i;
  }
  if (!tried) GTEST_SKIP() << "skipped: this CPU has no kernel that takes codes";
}

}  // namespace
}  // namespace lacuna::kernels
