#include "runtime/measure.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace lacuna {
namespace {

TEST(Planner, BytesPayWhereTheyAreManyAndLittleIsLost) {
  EXPECT_TRUE(bytes_pay(100, 100, 20, kWorthwhile, 1.1));
  EXPECT_TRUE(bytes_pay(100, 109, 20, kWorthwhile, 1.1));
  EXPECT_FALSE(bytes_pay(100, 111, 200, kWorthwhile, 1.1));  // a tenth at most
  EXPECT_FALSE(bytes_pay(100, 100, 2, kWorthwhile, 1.1));
  EXPECT_TRUE(bytes_pay(100, 100, 6, kWorthwhile, 1.1));
  EXPECT_FALSE(bytes_pay(100, 100, 6, kWorthwhileConv, 1.1));
  EXPECT_FALSE(bytes_pay(100, 90, 0, kWorthwhileConv, 1.1));  // from a run's own caches
  EXPECT_FALSE(bytes_pay(100, 101, 20, kWorthwhile, 1.0));
  EXPECT_TRUE(bytes_pay(100, 100, 20, kWorthwhile, 1.0));
  EXPECT_FALSE(bytes_pay(100, 100, -20, kWorthwhile, 1.1));
}

TEST(Planner, ConvolutionsOfCodesTakeKernelsOfCodesAndDenseOnesStayDense) {
  kernels::ConvProblem problem{.in_channels = 64,
                               .out_channels = 32,
                               .kernel_h = 3,
                               .kernel_w = 3,
                               .weights = DType::kS8,
                               .activations = DType::kS8,
                               .input_scale = 0.1f,
                               .pattern = "unstructured",
                               .sparsity = 0.9};
  auto kernels = kernels::conv_kernels();
  auto sparse_of_codes = [&](const kernels::ConvKernel& k) { return k.codes && k.sparse && !k.accepts(problem, cpu_features()); };
  if (std::none_of(kernels.begin(), kernels.end(), sparse_of_codes)) GTEST_SKIP() << "skipped: this CPU has no sparse kernel that takes codes";
  std::vector<int8_t> codes(32 * 64 * 9);
  for (size_t i = 0; i < codes.size(); i += 10) codes[i] = 7;
  std::vector<float> scales(32, 0.01f);
  kernels::WeightMatrix weight{.rows = 32, .cols = 64 * 9, .codes = codes.data(), .scales = scales.data(), .inner = 64};
  auto sparse = measured_choice(problem, weight, 1, 8, 8, 0, ConvValues::kCodes);
  EXPECT_FALSE(sparse.sparse_kernel.empty());
  EXPECT_TRUE(sparse.kernel->codes);
  // Without measuring it is the first one, of the sparse ones only such as are said to pay at 90 %: on AMX none.
  auto taken = [&](const kernels::ConvKernel& k) { return k.codes && !k.accepts(problem, cpu_features()) && k.break_even <= 0.9; };
  EXPECT_EQ(static_choice(problem, true).kernel->name, std::find_if(kernels.begin(), kernels.end(), taken)->name);
  if (cpu_features().amx_int8) {
    EXPECT_FALSE(static_choice(problem, true).kernel->sparse);
  }
  // Zeros or not: who asks for dense weights gets them.
  problem.pattern = "dense", problem.sparsity = 0;
  EXPECT_FALSE(measured_choice(problem, weight, 1, 8, 8, 0, ConvValues::kCodes).kernel->sparse);
}

}  // namespace
}  // namespace lacuna
