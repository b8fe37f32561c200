#include "runtime/measure.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace lacuna {
namespace {

TEST(Planner, BytesPayWhereTheyAreManyAndLittleIsLost) {
  EXPECT_TRUE(bytes_pay(100, 100, 20, kWorthwhile));
  EXPECT_TRUE(bytes_pay(100, 109, 20, kWorthwhile));
  EXPECT_FALSE(bytes_pay(100, 111, 200, kWorthwhile));  // a tenth at most
  EXPECT_FALSE(bytes_pay(100, 100, 2, kWorthwhile));
  EXPECT_TRUE(bytes_pay(100, 100, 6, kWorthwhile));
  EXPECT_FALSE(bytes_pay(100, 100, 6, kWorthwhileConv));
  EXPECT_FALSE(bytes_pay(100, 90, 0, kWorthwhileConv));  // not from memory
  EXPECT_FALSE(bytes_pay(100, 100, -20, kWorthwhile));
}

TEST(Planner, ConvolutionsOfCodesAreSparseInTheFixedPlanWhereTheyAreLarge) {
  kernels::ConvProblem problem{.in_channels = 512,
                               .out_channels = 512,
                               .kernel_h = 3,
                               .kernel_w = 3,
                               .weights = DType::kS8,
                               .activations = DType::kS8,
                               .input_scale = 0.1f,
                               .pattern = "unstructured",
                               .sparsity = 0.9};
  auto kernels = kernels::conv_kernels();
  auto takes_codes = [&](const kernels::ConvKernel& k) { return k.codes && k.sparse && !k.accepts(problem, cpu_features()); };
  if (std::none_of(kernels.begin(), kernels.end(), takes_codes)) GTEST_SKIP() << "skipped: this CPU has no sparse kernel that takes codes";
  EXPECT_TRUE(static_choice(problem, true).kernel->sparse);
  EXPECT_TRUE(static_choice(problem, true).kernel->codes);
  problem.sparsity = 0.5;
  EXPECT_FALSE(static_choice(problem, true).kernel->sparse);
  problem.sparsity = 0.9, problem.out_channels = 50;
  EXPECT_FALSE(static_choice(problem, true).kernel->sparse);
  EXPECT_TRUE(static_choice(problem, true).kernel->codes);
}

}  // namespace
}  // namespace lacuna
