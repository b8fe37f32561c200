#include "kernels/bench.h"

#include <gtest/gtest.h>

#include <set>

#include "base/cpu.h"
#include "kernels/conv.h"
#include "kernels/dispatch.h"
#include "kernels/floor.h"
#include "kernels/problem.h"
#include "kernels/smtx.h"
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
  EXPECT_NE(message("spmm f32 dense rows=1").find("unknown key 'rows'; known: pattern, m, k"), std::string::npos);
  EXPECT_NE(message("spmm f32 dense m=8 m=9").find("'m' is given twice"), std::string::npos);
  EXPECT_NE(message("spmm f32 dense m=8.5").find("m=8.5, wanted a whole number"), std::string::npos);
  EXPECT_NE(message("spmm f32 dense m=").find("found m=, wanted a number from 0"), std::string::npos);
  EXPECT_NE(message("spmm f32 dense 7").find("found '7', wanted KEY=VALUE"), std::string::npos);
  EXPECT_NE(message("spmm f32 stripes m=8").find("unknown pattern 'stripes'; known are"), std::string::npos);
  EXPECT_NE(message("spmm f32 unstructured m=8 sparsity=90").find("sparsity=90, wanted a number from 0 to 1"), std::string::npos);
  EXPECT_NE(message("spmm f32 unstructured m=16777216 k=16777216").find("weights, at most"), std::string::npos);
  EXPECT_NE(message("spmm f32 unstructured pattern=mask.mtx").find("wanted pattern=FILE.smtx"), std::string::npos);
  EXPECT_NE(message("").find("found nothing"), std::string::npos);
  EXPECT_NE(message("spmm f32 dense m=-1").find("m=-1"), std::string::npos);
  EXPECT_NE(message("gemm f32 dense").find("wanted 'spmm"), std::string::npos);
  EXPECT_NE(message("conv f32 dense ic=3 oc=4 groups=2 k=1 h=4 w=4").find("groups=2"), std::string::npos);
  EXPECT_NE(message("conv f32 dense ic=3 oc=4 k=5 pad=0 h=4 w=4").find("larger"), std::string::npos);
}

TEST(Problem, BracesMultiply) {
  EXPECT_EQ(expand_problems("spmm f32 dense m={1,2} k=3 n={4,5}"),
            (std::vector<std::string>{"spmm f32 dense m=1 k=3 n=4", "spmm f32 dense m=1 k=3 n=5", "spmm f32 dense m=2 k=3 n=4",
                                      "spmm f32 dense m=2 k=3 n=5"}));
  EXPECT_EQ(expand_problems("spmm f32 dense"), std::vector<std::string>{"spmm f32 dense"});
  EXPECT_THROW(expand_problems("m={1,2"), InvalidArgument);
  EXPECT_THROW(expand_problems("m=1}"), InvalidArgument);
}

TEST(Smtx, GivesTheMaskOfTheFile) {
  Mask mask = parse_smtx("3, 4, 4\n0 1 1 4 \n2 0 1 3 \n", "m.smtx");
  ASSERT_EQ(mask.rows(), 3);
  ASSERT_EQ(mask.cols(), 4);
  const char* kept[] = {"..x.", "....", "xx.x"};
  for (int64_t r = 0; r < 3; r++)
    for (int64_t c = 0; c < 4; c++) EXPECT_EQ(mask.kept(r, c), kept[r][c] == 'x') << r << "," << c;
}

TEST(Smtx, SaysWhereAFileIsWrong) {
  auto message = [](const char* text) {
    try {
      parse_smtx(text, "m.smtx");
      return std::string("no error");
    } catch (const InvalidData& e) {
      return std::string(e.what());
    }
  };
  EXPECT_NE(message("").find("m.smtx: rows at byte 0"), std::string::npos);
  EXPECT_NE(message("2 2 5").find("kept weights at byte 4: wanted a number from 0 to 4, found '5'"), std::string::npos);
  EXPECT_NE(message("2 2 2 0 2 1 0 1").find("row offsets must rise"), std::string::npos);
  EXPECT_NE(message("1 2 1 0 1 2").find("column at byte 10"), std::string::npos);
  EXPECT_NE(message("1048576 1048576 1").find("at most"), std::string::npos);
  EXPECT_NE(message("1 2 1 0 1").find("column at byte 9"), std::string::npos);
}

TEST(Bench, ChecksAndTimesALinearProblemAgainstDense) {
  KernelReport result = bench_kernel("spmm f32 unstructured m=64 k=96 n=20 sparsity=0.9", {.runs = 3, .threads = 1});
  EXPECT_GT(result.median_us, 0);
  EXPECT_EQ(result.threads, 1);
  EXPECT_NEAR(result.sparsity, 0.9, 0.02);
  if (!cpu_features().avx2) GTEST_SKIP() << "this CPU has no avx2";
  EXPECT_LT(result.max_error, 1e-5);
  EXPECT_GT(result.floor_share, 0);
  EXPECT_NE(result.dense_library, "");
  EXPECT_EQ(result.dense_library.find("::"), std::string::npos) << "ours: " << result.dense_library;
  EXPECT_GT(result.speedup, 0);
  EXPECT_NE(result.own_dense.find("::"), std::string::npos) << result.own_dense;
  EXPECT_GT(result.speedup_over_own_dense, 0);
}

TEST(Bench, ChecksAndTimesAConvolution) {
  KernelReport result = bench_kernel("conv f32 unstructured ic=16 oc=16 k=3 h=8 w=8 n=1 sparsity=0.8", {.runs = 2, .threads = 2});
  EXPECT_GT(result.median_us, 0);
  EXPECT_EQ(result.threads, 2);
}

TEST(Bench, RefusesAKernelThatDoesNotApply) {
  EXPECT_THROW(bench_kernel("spmm f32 dense m=8 k=8 n=1", {.runs = 1, .candidate = "avx512::spmm_csr_f32_n64"}), InvalidArgument);
  EXPECT_THROW(bench_kernel("spmm f32 dense m=8 k=8 n=1", {.runs = 1, .candidate = "nonsense"}), InvalidArgument);
  EXPECT_THROW(bench_kernel("spmm f32 2:4 m=8 k=8 n=1 sparsity=0.9", {.runs = 1}), InvalidArgument);
  EXPECT_EQ(bench_kernel("spmm f32 2:4 m=8 k=8 n=1 sparsity=0.5", {.runs = 1}).problem,
            bench_kernel("spmm f32 2:4 m=8 k=8 n=1", {.runs = 1}).problem);
}

TEST(Kernels, SayByNameHowAWeightIsPacked) {
  EXPECT_EQ(packed_format("avx512_vbmi2::window128_s8"), "window128");
  EXPECT_EQ(packed_format("avx2::spmm_csr_f32_n64"), "csr");
  EXPECT_EQ(packed_format("avx512::decode_codes_float"), "codes");
  EXPECT_EQ(packed_format("avx512::dense_panels_s8"), "dense panels");
  EXPECT_EQ(packed_format("reference::linear"), "dense");
  EXPECT_EQ(packed_format("onednn::conv_f32_per_thread"), "dense");
  const std::set<std::string> of_sparse = {"bitmask", "blocks", "bsr4", "csr", "n16", "quads", "window64", "window128", "window256"};
  for (auto& kernel : linear_kernels()) EXPECT_EQ(of_sparse.contains(packed_format(kernel.name)), kernel.sparse) << kernel.name;
  for (auto& kernel : conv_kernels()) EXPECT_EQ(of_sparse.contains(packed_format(kernel.name)), kernel.sparse) << kernel.name;
}

TEST(Floor, IsTheLongerOfReadingAndMultiplying) {
  auto c = std::get<LinearCase>(parse_problem("spmm f32 unstructured m=100 k=200 n=10 sparsity=0.75"));
  Demand demand = demand_of(c, "avx512::spmm_csr_f32_n64");
  EXPECT_DOUBLE_EQ(demand.operations, 2.0 * 100 * 200 / 4 * 10);
  EXPECT_EQ(demand.activation_bytes, 10 * 300 * 4);
  EXPECT_DOUBLE_EQ(floor_us(demand, 40000, 10, 20, 1e9), 4.0 + 0.6);  // 40 kB at 10 GB/s and 12 kB at 20
  EXPECT_DOUBLE_EQ(floor_us(demand, 40000, 10, 20, 10), 10.0);        // 10^5 operations at 10^10 a second
  auto conv = std::get<ConvCase>(parse_problem("conv s8 dense ic=4 oc=8 k=3 h=5 w=6 n=2"));
  demand = demand_of(conv, "avx512_vnni::conv_dense_s8");
  EXPECT_DOUBLE_EQ(demand.operations, 2.0 * 8 * 4 * 9 * 30 * 2);
  EXPECT_EQ(demand.activation_bytes, 2 * (4 + 8) * 30 * 4);
  EXPECT_EQ(demand.peak, PeakKind::kInt8);
  EXPECT_EQ(demand_of(conv, "amx_int8::conv_dense_s8").peak, PeakKind::kInt8Tiles);
  EXPECT_EQ(demand_of(c, "amx_bf16::bitmask_float").peak, PeakKind::kBF16Tiles);
  EXPECT_EQ(demand_of(c, "onednn::dense_f32").peak, PeakKind::kF32);
}

TEST(Machine, MeasuresItsPeaks) {
  EXPECT_GT(measure_peak_gop_s(PeakKind::kF32, 1), 0);
  EXPECT_GT(measure_read_gb_s(1 << 20, 1), 0);
}

}  // namespace
}  // namespace lacuna::kernels
