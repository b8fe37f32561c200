#include "kernels/coded_tokens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/buffer.h"
#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/cases.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

class CodedTokensOn : public testing::Test {
 protected:
  void SetUp() override {
    if (!cpu_features().amx_int8) GTEST_SKIP() << "this CPU has no amx_int8";
  }
};

struct RestoreThreads {
  int threads = thread_count();
  ~RestoreThreads() { set_thread_count(threads); }
};

TEST_F(CodedTokensOn, AreThoseOfEachTokenWhoeverMakesThem) {
  RestoreThreads restore;
  for (int64_t tokens : {1, 15, 16, 33, 130})
    for (int64_t cols : {1, 63, 64, 200, 1024}) {
      int64_t x_stride = cols + 3;
      std::vector<float> x = random_floats(tokens * x_stride, 11);
      if (tokens > 15) std::fill_n(x.begin() + 15 * x_stride, cols, 0.0f);  // no largest magnitude to divide by
      for (Rounding rounding : {Rounding{}, Rounding{.scale = 0.01f, .zero = -7}})
        for (int threads : {1, 2, 3})
          for (bool by_columns : {false, true}) {
            set_thread_count(threads);
            auto memory = allocate(size_t(coded_tokens_bytes(tokens, cols)));
            std::memset(memory.get(), 0x55, size_t(coded_tokens_bytes(tokens, cols)));
            CodedTokens coded = coded_tokens(memory.get(), tokens, cols);
            code_tokens(x.data(), x_stride, rounding, by_columns, coded);
            std::string what =
                cat(tokens, " tokens of ", cols, " columns, ", threads, " threads, scale ", rounding.scale, by_columns ? ", by columns" : "");
            ASSERT_GE(coded.stride, (cols + 63) / 64 * 64) << what;
            std::vector<int8_t> wanted(static_cast<size_t>(cols));
            for (int64_t t = 0; t < (tokens + 15) / 16 * 16; t++) {
              float scale = rounding.scale;
              std::fill(wanted.begin(), wanted.end(), int8_t(0));
              if (t < tokens && scale > 0) reference::quantize_static_s8(x.data() + t * x_stride, cols, scale, rounding.zero, wanted.data());
              if (t < tokens && scale == 0) scale = reference::quantize_token_s8(x.data() + t * x_stride, cols, wanted.data());
              const auto* found = reinterpret_cast<const int8_t*>(coded.codes) + t * coded.stride;
              for (int64_t c = 0; c < coded.stride; c++)
                ASSERT_EQ(found[c], c < cols ? wanted[size_t(c)] : 0) << what << ", token " << t << ", column " << c;
              ASSERT_TRUE(t >= tokens || coded.scales[t] == scale) << what << ", token " << t;
            }
          }
    }
}

TEST_F(CodedTokensOn, GiveALinearLayerTheOutputsOfItsFloats) {
  int64_t kernels_seen = 0;
  for (const LinearKernel& kernel : linear_kernels())
    for (float input_scale : {0.0f, 0.02f})
      for (int64_t rows : {16, 48, 100})
        for (int64_t tokens : {2, 17, 96}) {
          LinearProblem problem{.rows = rows,
                                .cols = 200,
                                .weights = DType::kS8,
                                .activations = DType::kS8,
                                .input_scale = input_scale,
                                .input_zero = input_scale > 0 ? 5 : 0,
                                .pattern = "unstructured",
                                .sparsity = 0.7};
          if (kernel.accepts(problem, tokens, cpu_features())) continue;
          WeightCase weight;
          fill_weight(weight, problem, 3);
          auto packed = kernel.pack(problem, weight.matrix());
          if (!packed->reads_codes()) continue;
          kernels_seen++;
          std::vector<float> x = random_floats(tokens * problem.cols, 5), bias = random_floats(rows, 6), residual = random_floats(tokens * rows, 7);
          Epilogue epilogue{.bias = bias.data(), .residual = residual.data(), .residual_stride = rows, .activation = Activation::kGelu};
          std::vector<float> of_floats(size_t(tokens * rows)), of_codes(of_floats.size());
          packed->run(x.data(), problem.cols, tokens, of_floats.data(), rows, epilogue);
          auto memory = allocate(size_t(coded_tokens_bytes(tokens, problem.cols)));
          CodedTokens coded = coded_tokens(memory.get(), tokens, problem.cols);
          code_tokens(x.data(), problem.cols, {.scale = input_scale, .zero = problem.input_zero}, true, coded);
          packed->run_codes(coded, of_codes.data(), rows, epilogue);
          EXPECT_EQ(of_codes, of_floats) << kernel.name << " " << problem.to_string(tokens);
        }
  EXPECT_GT(kernels_seen, 0);
}

}  // namespace
}  // namespace lacuna::kernels
