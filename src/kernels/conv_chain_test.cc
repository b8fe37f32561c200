// Chains of convolutions against the same convolutions one by one, which the grid test compares with the reference.
#include <gtest/gtest.h>

#include "base/cat.h"
#include "kernels/cases.h"
#include "kernels/conv.h"

namespace lacuna::kernels {
namespace {

struct Start {
  int64_t kernel, stride, pad, size, batch;
};

struct Layer {
  ConvProblem problem;
  WeightCase weight;
  std::unique_ptr<PackedConv> packed;
  std::vector<float> bias, residual, y;
  Epilogue epilogue;
};

ConvProblem problem_of(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad, const std::string& pattern, double sparsity) {
  return {.in_channels = in,
          .out_channels = out,
          .kernel_h = kernel,
          .kernel_w = kernel,
          .stride_h = stride,
          .stride_w = stride,
          .pad_top = pad,
          .pad_left = pad,
          .pad_bottom = pad,
          .pad_right = pad,
          .pattern = pattern,
          .sparsity = sparsity};
}

bool follows_itself(const ConvKernel& kernel) {
  ConvProblem problem = problem_of(16, 16, 1, 1, 0, kernel.sparse ? "unstructured" : "dense", kernel.sparse ? 0.8 : 0);
  if (refusal(kernel, problem, false)) return false;
  WeightCase weight;
  fill_weight(weight, problem, 1);
  auto packed = kernel.pack(problem, weight.matrix());
  return packed->follows(*packed, 1, 1);
}

// Three links. The middle one has a residual, whose place it takes, and is read by others too if `shared`.
void expect_chain_equals_steps(const ConvKernel& kernel, const std::string& pattern, const Start& s, bool shared) {
  SCOPED_TRACE(cat(kernel.name, " ", pattern, " k=", s.kernel, " stride=", s.stride, " size=", s.size, " batch=", s.batch, " shared=", shared));
  double sparsity = pattern == "dense" ? 0 : 0.8;
  Layer layers[3];
  layers[0].problem = problem_of(24, 40, s.kernel, s.stride, s.pad, pattern, sparsity);
  layers[1].problem = problem_of(40, 300, 1, 1, 0, pattern, sparsity);
  layers[2].problem = problem_of(300, 33, 1, 1, 0, pattern, sparsity);
  int64_t size = layers[0].problem.out_h(s.size), pixels = s.batch * size * size;
  std::vector<float> x = random_floats(s.batch * 24 * s.size * s.size, 3);
  uint64_t seed = 10;
  for (Layer& layer : layers) {
    fill_weight(layer.weight, layer.problem, seed++);
    layer.packed = kernel.pack(layer.problem, layer.weight.matrix());
    layer.bias = random_floats(layer.problem.out_channels, seed++);
    layer.y.resize(size_t(pixels * layer.problem.out_channels));
    layer.epilogue = {.bias = layer.bias.data(), .activation = Activation::kRelu};
  }
  layers[2].epilogue.activation = Activation::kSilu;
  const std::vector<float> residual = random_floats(int64_t(layers[1].y.size()), seed);
  layers[1].epilogue.residual = layers[1].y.data();

  layers[1].y = residual;
  const float* input = x.data();
  int64_t in = s.size;
  for (Layer& layer : layers) {
    layer.packed->run(input, s.batch, in, in, layer.y.data(), layer.epilogue);
    input = layer.y.data(), in = size;
  }
  std::vector<float> middle = layers[1].y, last = layers[2].y;

  ASSERT_TRUE(layers[1].packed->follows(*layers[0].packed, pixels, 1));
  ASSERT_TRUE(layers[2].packed->follows(*layers[1].packed, pixels, 1));
  layers[1].y = residual;
  std::fill(layers[2].y.begin(), layers[2].y.end(), -1.0f);
  std::vector<ConvLink> links;
  for (Layer& layer : layers) links.push_back({layer.packed.get(), layer.y.data(), layer.epilogue});
  links[0].y = nullptr;
  if (!shared) links[1].y = nullptr;
  std::vector<double> seconds(3);
  layers[0].packed->run_chain(x.data(), s.batch, s.size, s.size, links, seconds);
  EXPECT_EQ(layers[1].y, shared ? middle : residual);
  EXPECT_EQ(layers[2].y, last);
  for (double each : seconds) EXPECT_GT(each, 0);
}

TEST(ConvChain, EqualsItsConvolutionsOneByOne) {
  int64_t tried = 0;
  for (const ConvKernel& kernel : conv_kernels()) {
    if (kernel.codes || !follows_itself(kernel)) continue;
    std::vector<std::string> patterns = {"dense"};
    if (kernel.sparse) patterns = {"unstructured", "block:4x1"};
    for (const std::string& pattern : patterns)
      for (const Start& start :
           {Start{1, 1, 0, 7, 1}, Start{1, 1, 0, 14, 3}, Start{3, 1, 1, 14, 1}, Start{3, 2, 1, 15, 2}, Start{1, 2, 0, 9, 5}, Start{1, 1, 0, 56, 2}})
        for (bool shared : {false, true}) expect_chain_equals_steps(kernel, pattern, start, shared), tried++;
  }
  if (tried == 0) GTEST_SKIP() << "no kernel of this CPU, or of LACUNA_ISA, runs in chains";
}

TEST(ConvChain, IsRefusedWhereTheNextOneIsNotPixelwise) {
  for (const ConvKernel& kernel : conv_kernels()) {
    if (kernel.codes || !follows_itself(kernel)) continue;
    std::string pattern = kernel.sparse ? "unstructured" : "dense";
    auto packed = [&](const ConvProblem& problem) {
      WeightCase weight;
      fill_weight(weight, problem, 1);
      return kernel.pack(problem, weight.matrix());
    };
    auto of = [&](int64_t in, int64_t k, int64_t stride, int64_t pad) {
      return packed(problem_of(in, 16, k, stride, pad, pattern, kernel.sparse ? 0.8 : 0));
    };
    auto before = of(16, 3, 1, 1);
    EXPECT_TRUE(of(16, 1, 1, 0)->follows(*before, 64, 1)) << kernel.name;
    EXPECT_FALSE(of(16, 3, 1, 1)->follows(*before, 64, 1)) << kernel.name;
    EXPECT_FALSE(of(16, 1, 2, 0)->follows(*before, 64, 1)) << kernel.name;
    EXPECT_FALSE(of(16, 1, 1, 1)->follows(*before, 64, 1)) << kernel.name;
    EXPECT_FALSE(of(8, 1, 1, 0)->follows(*before, 64, 1)) << kernel.name;
    ConvProblem other = problem_of(16, 16, 3, 1, 1, "dense", 0);
    WeightCase weight;
    fill_weight(weight, other, 1);
    EXPECT_FALSE(of(16, 1, 1, 0)->follows(*conv_kernel_named("reference::conv").pack(other, weight.matrix()), 64, 1)) << kernel.name;
  }
}

}  // namespace
}  // namespace lacuna::kernels
