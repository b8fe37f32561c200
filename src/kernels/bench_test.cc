#include "kernels/bench.h"

#include <gtest/gtest.h>

#include "kernels/machine.h"
#include "kernels/problem.h"
#include "lacuna/error.h"

namespace lacuna::kernels {
namespace {

TEST(Problem, SurvivesTheWayToTextAndBack) {
  for (const char* text : {"spmm s8 unstructured m=768 k=3072 n=128 sparsity=0.9", "spmm bf16 8:16 m=7 k=64 n=1 sparsity=0.5 act=bf16",
                           "spmm s4 dense m=8 k=64 n=2 sparsity=0 group=32 minima=1"})
    EXPECT_EQ(std::get<LinearCase>(parse_problem(text)).problem.to_string(std::get<LinearCase>(parse_problem(text)).tokens), text);
  for (const char* text : {"conv f32 unstructured ic=64 oc=32 k=3 stride=2 pad=1 h=14 w=15 n=2 sparsity=0.9",
                           "conv s8 dense ic=4 oc=8 kh=3 kw=1 stride_h=2 stride_w=1 dilation=2 pad_top=1 pad_left=0 pad_bottom=2 pad_right=0 "
                           "groups=2 h=9 w=9 n=1 sparsity=0"}) {
    ConvCase c = std::get<ConvCase>(parse_problem(text));
    EXPECT_EQ(c.problem.to_string(c.batch, c.in_h, c.in_w), text);
  }
}

TEST(Problem, NamesTheWordThatItDoesNotUnderstand) {
  auto message = [](const char* text) {
    try {
      parse_problem(text);
      return std::string("no error");
    } catch (const InvalidArgument& e) {
      return std::string(e.what());
    }
  };
  EXPECT_NE(message("spmm f31 dense m=1").find("unknown type 'f31'"), std::string::npos);
  EXPECT_NE(message("spmm f32 dense rows=1").find("unknown key 'rows'"), std::string::npos);
  EXPECT_NE(message("spmm f32 dense m=-1").find("m=-1"), std::string::npos);
  EXPECT_NE(message("gemm f32 dense").find("wanted 'spmm"), std::string::npos);
  EXPECT_NE(message("conv f32 dense ic=3 oc=4 groups=2 k=1 h=4 w=4").find("groups=2"), std::string::npos);
  EXPECT_NE(message("conv f32 dense ic=3 oc=4 k=5 pad=0 h=4 w=4").find("larger"), std::string::npos);
}

TEST(Bench, ChecksAndTimesALinearProblemAgainstDense) {
  KernelBenchResult result = bench_kernel("spmm f32 unstructured m=64 k=96 n=20 sparsity=0.9", {.runs = 3, .threads = 1});
  EXPECT_GT(result.median_us, 0);
  EXPECT_EQ(result.threads, 1);
  EXPECT_NEAR(result.sparsity, 0.9, 0.02);
  if (!cpu_features().avx2) GTEST_SKIP() << "this CPU has no avx2";
  EXPECT_LT(result.max_error, 1e-5);
  EXPECT_GT(result.floor_share, 0);
  EXPECT_FALSE(result.dense_library.empty());
  EXPECT_GT(result.speedup, 0);
}

TEST(Bench, ChecksAndTimesAConvolution) {
  KernelBenchResult result = bench_kernel("conv f32 unstructured ic=16 oc=16 k=3 h=8 w=8 n=1 sparsity=0.8", {.runs = 2, .threads = 2});
  EXPECT_GT(result.median_us, 0);
  EXPECT_EQ(result.threads, 2);
}

TEST(Bench, RefusesAKernelThatDoesNotApply) {
  EXPECT_THROW(bench_kernel("spmm f32 dense m=8 k=8 n=1", {.runs = 1, .kernel = "avx512::spmm_csr_f32_n64"}), InvalidArgument);
  EXPECT_THROW(bench_kernel("spmm f32 dense m=8 k=8 n=1", {.runs = 1, .kernel = "nonsense"}), InvalidArgument);
}

TEST(Machine, MeasuresItsPeaks) {
  EXPECT_GT(measure_peak_gop_s(PeakKind::kF32, 1), 0);
  EXPECT_GT(measure_read_gb_s(1 << 20, 1), 0);
}

}  // namespace
}  // namespace lacuna::kernels
