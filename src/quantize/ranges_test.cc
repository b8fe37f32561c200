#include "quantize/ranges.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

// 100,000 values of a bell shape and one outlier, in ten batches.
Ranges observed(std::vector<float>& all) {
  Rng rng(1);
  for (int i = 0; i < 100000; i++) all.push_back(float(rng.normal()));
  all[777] = -50;
  Ranges ranges({3});
  auto batch = [&](int i) { return Tensor::of<float>({10000}, std::span<const float>(all).subspan(size_t(i) * 10000, 10000)); };
  for (int i = 0; i < 10; i++) ranges.observe_largest(3, batch(i)), ranges.observe_largest(4, batch(i));
  for (int i = 0; i < 10; i++) ranges.observe_counts(3, batch(i));
  return ranges;
}

double squared_error(const std::vector<float>& values, double scale) {
  double sum = 0;
  for (double v : values) {
    double off = v - std::clamp(std::nearbyint(v / scale), -127.0, 127.0) * scale;
    sum += off * off;
  }
  return sum;
}

TEST(Ranges, EachMethodFindsItsScale) {
  std::vector<float> all;
  Ranges ranges = observed(all);
  EXPECT_FLOAT_EQ(ranges.scale_of(3, RangeMethod::kMinMax, 0, "x"), 50.0f / 127);
  // 99.73 % of a normal distribution lie within three deviations; a bin is 50 / 4096 wide.
  EXPECT_NEAR(ranges.scale_of(3, RangeMethod::kPercentile, 99.73, "x") * 127, 3.0, 0.1);
}

TEST(Ranges, TheSmallestSquaredErrorIsSmallerThanThatOfTheLargestMagnitude) {
  std::vector<float> all;
  Ranges ranges = observed(all);
  double best = squared_error(all, ranges.scale_of(3, RangeMethod::kMse, 0, "x"));
  for (double share : {1.0, 0.9, 0.7, 0.5, 0.3, 0.2}) EXPECT_LE(best, squared_error(all, 50.0 / 127 * share) * 1.01) << share;
}

TEST(Ranges, WhatWasNeverSeenOrIsNotFiniteIsAnErrorWithItsName) {
  Ranges ranges({1, 2});
  float bad = INFINITY;
  ranges.observe_largest(1, Tensor::of<float>({1}, std::span<const float>(&bad, 1)));
  EXPECT_THROW(ranges.scale_of(1, RangeMethod::kMinMax, 0, "x"), InvalidData);
  EXPECT_THROW(ranges.scale_of(2, RangeMethod::kMinMax, 0, "y"), InvalidData);
  EXPECT_THROW(range_method_named("best"), InvalidArgument);
}

}  // namespace
}  // namespace lacuna
