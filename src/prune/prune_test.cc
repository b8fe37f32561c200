#include "prune/prune.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "base/cat.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "lacuna/error.h"
#include "sparse/format.h"

namespace lacuna {
namespace {

ConstMatrixRef ref(const Tensor& t) { return {t.data<float>().data(), t.dim(0), t.dim(1), t.dim(1)}; }

// `levels` distinct magnitudes, both signs; many ties where they are few.
Tensor random_values(Shape shape, int64_t levels, uint64_t seed) {
  Tensor t(DType::kF32, std::move(shape), false);
  Rng rng(seed);
  for (float& v : t.mutable_data<float>()) v = float(rng.below(2 * levels + 1) - levels) / float(levels);
  return t;
}

Weight weight_of(std::string name, MatrixLayout layout, Tensor values, std::optional<Mask> mask = {}) {
  Weight weight{std::move(name), values.shape(), layout, {}, "", nullptr};
  weight.source = in_memory({.values = values, .mask = std::move(mask)});
  return weight;
}

std::vector<Weight> small_model(int64_t levels = 1 << 20) {
  std::vector<Weight> weights;
  weights.push_back(weight_of("conv", MatrixLayout::kConv, random_values({16, 8, 3, 3}, levels, 1)));
  weights.push_back(weight_of("up", MatrixLayout::kOutIn, random_values({33, 40}, levels, 2)));
  weights.push_back(weight_of("down", MatrixLayout::kInOut, random_values({64, 24}, levels, 3)));
  return weights;
}

std::vector<PruneTarget> targets_of(const std::vector<Weight>& weights) {
  std::vector<PruneTarget> targets;
  for (const Weight& w : weights) targets.push_back({&w});
  return targets;
}

TEST(Criteria, AreFiniteAndTheSameForAnyThreadCount) {
  Tensor weight = random_values({37, 91}, 50, 1);
  auto values = weight.mutable_data<float>();
  values[3] = INFINITY, values[4] = -INFINITY, values[5] = NAN, values[6] = -0.0f, values[7] = 3e38f, values[8] = 1e-45f;
  int threads = thread_count();
  for (const Criterion& criterion : criteria()) {
    set_thread_count(1);
    Tensor once = criterion.score(ref(weight), {.weight_name = "w", .seed = 3});
    set_thread_count(5);
    Tensor again = criterion.score(ref(weight), {.weight_name = "w", .seed = 3});
    EXPECT_EQ(0, std::memcmp(once.raw(), again.raw(), once.size_bytes())) << criterion.name;
    EXPECT_EQ(once.shape(), weight.shape());
    for (float s : once.data<float>()) ASSERT_TRUE(std::isfinite(s) && s >= 0) << criterion.name << " " << s;
    Tensor empty(DType::kF32, {0, 5});
    EXPECT_EQ(criterion.score(ref(empty), {}).size(), 0);
    Tensor zeros(DType::kF32, {2, 3});
    Tensor of_zeros = criterion.score(ref(zeros), {});
    for (float s : of_zeros.data<float>()) ASSERT_TRUE(std::isfinite(s));
  }
  set_thread_count(threads);
}

TEST(Prune, RefusesAWeightWithValuesThatAreNotFinite) {
  for (float broken : {NAN, INFINITY, -INFINITY}) {
    Tensor values = random_values({8, 16}, 1 << 20, 1);
    values.mutable_data<float>()[5] = broken;
    Weight weight = weight_of("w", MatrixLayout::kOutIn, values);
    EXPECT_THROW(score_weight(weight, weight.load(), criteria()[0], 0), InvalidData) << broken;
  }
}

TEST(Criteria, LampIsItsFormula) {
  for (int64_t levels : {int64_t(4), int64_t(1) << 24}) {
    Tensor weight = random_values({13, 17}, levels, 2);
    Tensor scores = criterion_named("lamp").score(ref(weight), {});
    auto w = weight.data<float>();
    for (size_t i = 0; i < w.size(); i++) {
      double not_smaller = 0;
      for (float v : w)
        if (std::abs(v) >= std::abs(w[i])) not_smaller += double(v) * double(v);
      double expected = not_smaller > 0 ? double(w[i]) * double(w[i]) / not_smaller : 0;
      ASSERT_NEAR(scores.data<float>()[i], expected, 1e-6 * expected) << i;
    }
  }
}

TEST(Criteria, LampOfALargeTensorKeepsTheOrderAndNearlyTheValue) {
  constexpr int64_t kCount = (int64_t(1) << 22) + 4096;
  Tensor weight = random_values({kCount / 4096, 4096}, int64_t(1) << 23, 3);
  Tensor scores = criterion_named("lamp").score(ref(weight), {});
  std::vector<size_t> order(size_t(kCount), 0);
  std::iota(order.begin(), order.end(), size_t(0));
  auto w = weight.data<float>(), s = scores.data<float>();
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return std::abs(w[a]) > std::abs(w[b]); });
  double sum = 0;
  for (size_t k = 0; k < order.size(); k++) {
    double square = double(w[order[k]]) * double(w[order[k]]);
    sum += square;
    if (k == 0) continue;
    ASSERT_GE(s[order[k - 1]], s[order[k]]);
    // A bucket holds about 512 of these weights: where k are larger, it is at most that share of their sum.
    ASSERT_NEAR(s[order[k]], square / sum, square / sum * (1e-6 + 600.0 / double(k))) << k;
  }
}

TEST(Criteria, RandomDrawsFromAStreamPerWeight) {
  Tensor weight(DType::kF32, {40, 50});
  auto draw = [&](std::string_view name, uint64_t seed) { return criterion_named("random").score(ref(weight), {.weight_name = name, .seed = seed}); };
  auto same = [](const Tensor& a, const Tensor& b) { return std::memcmp(a.raw(), b.raw(), a.size_bytes()) == 0; };
  EXPECT_TRUE(same(draw("a", 1), draw("a", 1)));
  EXPECT_FALSE(same(draw("a", 1), draw("b", 1)));
  EXPECT_FALSE(same(draw("a", 1), draw("a", 2)));
  Tensor scores = draw("a", 1);
  double mean = std::accumulate(scores.data<float>().begin(), scores.data<float>().end(), 0.0) / 2000;
  EXPECT_NEAR(mean, 0.5, 0.02);
}

TEST(Criteria, AnUnknownNameListsTheKnownOnes) {
  try {
    criterion_named("wonder");
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(error.what(), "unknown criterion 'wonder'; known are magnitude, lamp, random");
  }
  EXPECT_THROW(allocation_named("evenly"), InvalidArgument);
}

TEST(Pruning, EveryCriterionPatternAndAllocationKeepsWhatWasAsked) {
  for (const Criterion& criterion : criteria())
    for (const char* spelling : {"unstructured", "2:4", "4:8", "block:4x1", "block:1x4", "block:3x5"})
      for (const Allocation& allocation : allocations())
        for (double sparsity : {0.0, 0.3, 0.5, 0.97}) {
          SCOPED_TRACE(cat(criterion.name, " ", spelling, " ", allocation.name, " ", sparsity));
          auto pattern = parse_pattern(spelling);
          auto weights = small_model();
          PruneSettings settings{.criterion = &criterion, .pattern = pattern.get(), .allocation = std::string(allocation.name), .l2 = true};
          if (!pattern->fixed_sparsity()) settings.sparsity = sparsity;
          auto targets = targets_of(weights);
          auto kept = plan_units(targets, settings);
          ASSERT_EQ(kept, plan_units(targets, settings));
          int64_t kept_units = 0, units = 0;
          for (size_t i = 0; i < weights.size(); i++) {
            MatrixView view(weights[i].layout, weights[i].shape);
            WeightData before = weights[i].load();
            WeightData after = prune_weight(weights[i], before, choose_mask(weights[i], before, settings, kept[i]));
            EXPECT_EQ(pattern->violations(*after.mask, view.inner), 0);
            int64_t own = pattern->unit_rows(view.rows) * pattern->unit_cols(view.cols, view.inner);
            if (!pattern->fixed_sparsity()) {
              Tensor ones(DType::kF32, {view.rows, view.cols});
              for (int64_t r = 0; r < view.rows; r++)
                for (int64_t c = 0; c < view.cols; c++) ones.mutable_data<float>()[size_t(r * view.cols + c)] = after.mask->kept(r, c) ? 1.0f : -1.0f;
              int64_t found = 0;
              Tensor left = pattern->unit_scores(ref(ones), view.inner, false);
              for (float s : left.data<float>()) found += s > 0;
              EXPECT_EQ(found, kept[i]) << weights[i].name;
              if (allocation.name == "uniform") {
                EXPECT_LE(std::abs(double(found) - (1 - sparsity) * double(own)), 1) << weights[i].name;
              }
              kept_units += found;
            } else {
              EXPECT_EQ(after.mask->count_kept(), kept[i]);  // all inputs are multiples of M here
            }
            units += own;
          }
          if (pattern->fixed_sparsity()) continue;
          EXPECT_EQ(kept_units, std::llround((1 - sparsity) * double(units)));
        }
}

TEST(Pruning, ZeroesCodesWhereNotKeptAndLeavesTheRest) {
  auto pattern = parse_pattern("unstructured");
  PruneSettings settings{.criterion = &criterion_named("magnitude"), .pattern = pattern.get(), .sparsity = 0.4};
  for (const Weight& weight : small_model()) {
    MatrixView view(weight.layout, weight.shape);
    WeightData before = weight.load();
    Mask mask = choose_mask(weight, before, settings, view.rows * view.cols / 2);
    WeightData after = prune_weight(weight, before, mask);
    EXPECT_EQ(after.values.shape(), weight.shape);
    // [16, 8, 3, 3] as 16 rows of (kh, kw, in), input channel fastest; [33, 40]; [64, 24] as 24 rows of 64.
    auto position = [&](int64_t r, int64_t c) {
      if (weight.name == "conv") return ((r * 8 + c % 8) * 3 + c / 24) * 3 + c / 8 % 3;
      return weight.name == "up" ? r * 40 + c : c * 24 + r;
    };
    for (int64_t r = 0; r < view.rows; r++)
      for (int64_t c = 0; c < view.cols; c++) {
        auto at = size_t(position(r, c));
        EXPECT_EQ(after.values.data<float>()[at], mask.kept(r, c) ? before.values.data<float>()[at] : 0.0f);
      }
  }
}

TEST(Pruning, KeepsTheEncodingOfQuantizedWeights) {
  Weight weight{"q", {3, 5}, MatrixLayout::kOutIn, {.values = DType::kU4, .granularity = Encoding::Granularity::kRow, .has_minima = true},
                "",  nullptr};
  Tensor codes(DType::kU4, {3, 5});
  for (size_t i = 0; i < codes.size_bytes(); i++) codes.mutable_raw()[i] = std::byte(i % 3 == 2 ? 0x03 : 0xa9);
  float scales[] = {1, 2, 3}, minima[] = {-8, -16, -24};
  WeightData data{.values = codes, .scales = Tensor::of<float>({3}, scales), .minima = Tensor::of<float>({3}, minima)};
  Mask mask(3, 5, true);
  mask.set(1, 2, false), mask.set(2, 1, false);
  WeightData pruned = prune_weight(weight, data, mask);
  EXPECT_EQ(pruned.values.dtype(), DType::kU4);
  EXPECT_EQ(uint8_t(pruned.values.raw()[4]), 0xa0);  // row 1: columns 2 and 3 share a byte
  EXPECT_EQ(uint8_t(pruned.values.raw()[6]), 0x09);  // row 2: columns 0 and 1
  Tensor values = decode_f32(weight, pruned);
  EXPECT_EQ(values.data<float>()[5 + 2], 0);  // not its code's value, -16
  EXPECT_EQ(values.data<float>()[5 + 3], 10 * 2 - 16);
}

TEST(Pruning, WhatWasRemovedStaysRemoved) {
  for (const char* spelling : {"unstructured", "2:4", "block:1x4"})
    for (const Criterion& criterion : criteria())
      for (const Allocation& allocation : allocations()) {
        SCOPED_TRACE(cat(spelling, " ", criterion.name, " ", allocation.name));
        // All kept weights are 0: only the mask tells them from the removed ones.
        Mask old(8, 16, false);
        for (int64_t r = 0; r < 8; r++)
          for (int64_t c = 0; c < 16; c++) old.set(r, c, c % 4 == 1 || c % 4 == 2);
        std::vector<Weight> weights = {weight_of("w", MatrixLayout::kOutIn, Tensor(DType::kF32, {8, 16}), old)};
        auto pattern = parse_pattern(spelling);
        PruneSettings settings{.criterion = &criterion, .pattern = pattern.get(), .allocation = std::string(allocation.name), .l2 = false};
        if (!pattern->fixed_sparsity()) settings.sparsity = 0.5;
        auto kept = plan_units(targets_of(weights), settings);
        Mask mask = choose_mask(weights[0], weights[0].load(), settings, kept[0]);
        for (int64_t r = 0; r < 8; r++)
          for (int64_t c = 0; c < 16; c++) EXPECT_TRUE(old.kept(r, c) || !mask.kept(r, c));
        EXPECT_EQ(mask.count_kept(), std::string(spelling) == "block:1x4" ? 32 : 64);
      }
}

TEST(Pruning, RefusesWhatCannotBeDone) {
  auto weights = small_model();
  auto targets = targets_of(weights);
  auto n_m = parse_pattern("2:4"), wide = parse_pattern("8:16"), free = parse_pattern("unstructured");
  const Criterion* magnitude = &criterion_named("magnitude");
  auto message = [&](PruneSettings settings) -> std::string {
    try {
      plan_units(targets, settings);
      return "accepted";
    } catch (const InvalidArgument& error) {
      return error.what();
    }
  };
  EXPECT_EQ(message({.criterion = magnitude, .pattern = n_m.get()}), "accepted");
  EXPECT_EQ(message({.criterion = magnitude, .pattern = n_m.get(), .sparsity = 0.5}), "accepted");
  EXPECT_EQ(message({.criterion = magnitude, .pattern = n_m.get(), .sparsity = 0.6}),
            "prune: sparsity 0.6 conflicts with pattern 2:4, which fixes it at 0.5");
  EXPECT_EQ(message({.criterion = magnitude, .pattern = wide.get()}),
            "weight 'conv' cannot be 8:16: its input dimension of 8 is narrower than M = 16 of 8:16");
  EXPECT_EQ(message({.criterion = magnitude, .pattern = free.get()}), "pattern unstructured needs a sparsity");
  EXPECT_EQ(message({.criterion = magnitude, .pattern = free.get(), .sparsity = 1.0}), "prune: sparsity is 1, 0 <= sparsity < 1 expected");
  EXPECT_EQ(message({.criterion = magnitude, .pattern = free.get(), .sparsity = NAN}), "prune: sparsity is nan, 0 <= sparsity < 1 expected");
  targets[1].sparsity = -0.5;
  EXPECT_EQ(message({.criterion = magnitude, .pattern = free.get(), .sparsity = 0.5}), "up: sparsity is -0.5, 0 <= sparsity < 1 expected");
}

TEST(Pruning, OverridesTakeTheirWeightOutOfTheAllocation) {
  auto weights = small_model();
  auto targets = targets_of(weights);
  targets[1].sparsity = 0.25;
  auto pattern = parse_pattern("unstructured");
  auto kept = plan_units(targets, {.criterion = &criterion_named("magnitude"), .pattern = pattern.get(), .allocation = "global", .sparsity = 0.8});
  EXPECT_EQ(kept[1], 33 * 40 * 3 / 4);
  EXPECT_EQ(kept[0] + kept[2], std::llround(0.2 * (16 * 72 + 64 * 24)));
}

TEST(GlobalAllocation, EqualsAFullSort) {
  for (int64_t levels : {int64_t(3), int64_t(1) << 22}) {
    auto weights = small_model(levels);
    auto targets = targets_of(weights);
    auto pattern = parse_pattern("unstructured");
    struct Entry {
      float score;
      size_t layer;
    };
    std::vector<Entry> all;
    for (size_t i = 0; i < weights.size(); i++) {
      Tensor values = weights[i].load().values;
      for (float v : values.data<float>()) all.push_back({std::abs(v), i});
    }
    std::stable_sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) { return a.score > b.score; });
    for (double sparsity : {0.0, 0.1, 0.5, 0.9, 0.999}) {
      std::vector<int64_t> expected(weights.size(), 0);
      for (int64_t i = 0; i < std::llround((1 - sparsity) * double(all.size())); i++) expected[all[size_t(i)].layer]++;
      EXPECT_EQ(
          plan_units(targets, {.criterion = &criterion_named("magnitude"), .pattern = pattern.get(), .allocation = "global", .sparsity = sparsity}),
          expected)
          << levels << " " << sparsity;
    }
  }
}

std::vector<int64_t> allocated(std::string_view name, std::vector<Shape> shapes, double sparsity) {
  std::vector<LayerInfo> layers;
  for (const Shape& s : shapes) layers.push_back({"", s, s[0], element_count(s) / s[0], s[1], element_count(s)});
  return allocate(name, {.layers = layers, .sparsity = sparsity});
}

TEST(ErkAllocation, IsItsFormula) {
  // raw = sum / product: 200/10000 = 0.02 and 300/20000 = 0.015; sum of raw * size = 500; kept 3000, scale 6: densities 0.12 and 0.09.
  EXPECT_EQ(allocated("erk", {{100, 100}, {200, 100}}, 0.9), (std::vector<int64_t>{1200, 1800}));
  // A convolution counts its kernel: (8 + 4 + 3 + 3) / 288 = 0.0625, and 128 / 4096 = 0.03125; 18 + 128 = 146 in all, kept 438.4: scale 3.0027.
  EXPECT_EQ(allocated("erk", {{8, 4, 3, 3}, {64, 64}}, 0.9), (std::vector<int64_t>{54, 384}));
}

TEST(ErkAllocation, LeavesSmallLayersDense) {
  // At 0.5 the first layer would need more than it has: it stays dense and the second takes the rest.
  EXPECT_EQ(allocated("erk", {{8, 8}, {100, 100}}, 0.5), (std::vector<int64_t>{64, 5032 - 64}));
  EXPECT_EQ(allocated("erk", {{8, 8}, {100, 100}}, 0.0), (std::vector<int64_t>{64, 10000}));
}

TEST(UniformAllocation, RoundsSoThatTheTotalIsRight) {
  EXPECT_EQ(allocated("uniform", {{1, 5}, {1, 5}, {1, 5}, {1, 5}}, 0.5), (std::vector<int64_t>{3, 3, 2, 2}));
  EXPECT_EQ(allocated("uniform", {{1, 1}, {1, 1}, {1, 1}}, 0.5), (std::vector<int64_t>{1, 1, 0}));
  EXPECT_EQ(allocated("uniform", {{10, 100}}, 0.9), (std::vector<int64_t>{100}));
  EXPECT_EQ(allocated("uniform", {}, 0.9), (std::vector<int64_t>{}));
}

}  // namespace
}  // namespace lacuna
