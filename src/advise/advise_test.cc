#include "advise/advise.h"

#include <gtest/gtest.h>

#include "lacuna/error.h"

namespace lacuna {
namespace {

std::vector<AdvicePoint> points(std::initializer_list<std::pair<double, double>> list) {
  std::vector<AdvicePoint> out;
  for (auto [sparsity, speedup] : list)
    out.push_back({.sparsity = sparsity, .microseconds = 100 / speedup, .dense_microseconds = 100, .speedup = speedup});
  return out;
}

TEST(StartOfGain, LiesWhereTheLineReachesFivePercent) {
  EXPECT_NEAR(*start_of_gain(points({{0.5, 0.55}, {0.7, 1.55}, {0.9, 5}}), 1.05), 0.6, 1e-12);
  EXPECT_EQ(start_of_gain(points({{0.5, 1.2}, {0.7, 2}}), 1.05), 0.5);
  EXPECT_EQ(start_of_gain(points({{0.5, 0.5}, {0.9, 1.04}}), 1.05), std::nullopt);
  EXPECT_EQ(start_of_gain({}, 1.05), std::nullopt);
}

TEST(StartOfGain, IsNotBelowASparsityThatLoses) {
  EXPECT_NEAR(*start_of_gain(points({{0.5, 1.2}, {0.7, 0.8}, {0.8, 1.3}, {0.9, 2}}), 1.05), 0.75, 1e-12);
  EXPECT_EQ(start_of_gain(points({{0.5, 1.2}, {0.7, 1.3}, {0.9, 1}}), 1.05), std::nullopt);
  EXPECT_EQ(start_of_gain(points({{0.5, 1}, {0.9, 1.1}}), 1.15), std::nullopt);
}

TEST(Totals, TakeDenseWhereSparseDoesNotPay) {
  std::vector<LayerAdvice> layers = {
      {.node = "a", .phase = "run", .dense_microseconds = 400, .curves = {{"unstructured", "int8", points({{0.9, 4}})}}},
      {.node = "b", .phase = "run", .dense_microseconds = 200, .curves = {{"unstructured", "int8", points({{0.9, 0.8}})}}},
      {.node = "c", .phase = "decode", .dense_microseconds = 1000}};
  auto totals = totals_of(layers);
  ASSERT_EQ(totals.size(), 1u);
  EXPECT_DOUBLE_EQ(totals[0].milliseconds, 0.125);  // 25 sparse and 100 dense
  EXPECT_DOUBLE_EQ(totals[0].speedup, 200.0 / 125);
  EXPECT_DOUBLE_EQ(totals[0].speedup_now, 600.0 / 125);
}

TEST(MeasureCurve, HasAPointForEachSparsityAndOneForFixedPatterns) {
  std::vector<double> sparsities = {0.9, 0.5};
  AdviceCurve curve = measure_curve("spmm f32 dense m=32 k=64 n=16 sparsity=0", "unstructured", "int8", sparsities, 0);
  if (curve.points.empty()) GTEST_SKIP() << "no sparse kernel on this CPU";
  ASSERT_EQ(curve.points.size(), 2u);
  EXPECT_EQ(curve.points[0].sparsity, 0.5);
  for (auto& p : curve.points) {
    EXPECT_GT(p.microseconds, 0);
    EXPECT_GT(p.dense_microseconds, 0);
    EXPECT_NE(p.kernel, p.dense_kernel);
  }
  EXPECT_EQ(measure_curve("spmm f32 dense m=32 k=64 n=1 sparsity=0", "4:16", "int8", sparsities, 0).points.at(0).sparsity, 0.75);
  EXPECT_TRUE(measure_curve("spmm f32 dense m=32 k=8 n=1 sparsity=0", "4:16", "f32", sparsities, 0).points.empty());  // narrower than 16
  AdviceCurve conv = measure_curve("conv f32 dense ic=16 oc=16 k=3 h=8 w=8 n=1 sparsity=0", "unstructured", "f32", sparsities, 0);
  EXPECT_FALSE(conv.points.empty());
  EXPECT_EQ(conv.worthwhile, 1.15);
}

TEST(MeasureCurve, NamesWhatItDoesNotKnow) {
  std::vector<double> sparsities = {0.9};
  EXPECT_THROW(measure_curve("spmm f32 dense m=8 k=8 n=1", "stripes", "f32", sparsities, 0), InvalidArgument);
  EXPECT_THROW(measure_curve("spmm f32 dense m=8 k=8 n=1", "unstructured", "f64", sparsities, 0), InvalidArgument);
}

}  // namespace
}  // namespace lacuna
