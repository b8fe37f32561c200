#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lacuna/error.h"

namespace lacuna {
namespace {

// The distribution that the options ask for, computed from its definition.
std::vector<double> naive(std::vector<double> logits, const std::vector<int32_t>& previous, const SamplerOptions& o) {
  std::vector<bool> seen(logits.size());
  for (int32_t id : previous) seen[size_t(id)] = true;
  for (size_t i = 0; i < logits.size(); i++)
    if (seen[i]) logits[i] = logits[i] > 0 ? logits[i] / o.repetition_penalty : logits[i] * o.repetition_penalty;
  std::vector<size_t> order(logits.size());
  for (size_t i = 0; i < order.size(); i++) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  std::vector<double> p(logits.size(), 0);
  double total = 0, mass = 0;
  size_t kept = o.top_k ? std::min(size_t(o.top_k), order.size()) : order.size();
  for (size_t i = 0; i < kept; i++) total += p[order[i]] = std::exp(logits[order[i]] / o.temperature);
  for (size_t i = 0; i < kept; i++) {
    if (i > 0 && mass >= o.top_p * total)
      p[order[i]] = 0;
    else
      mass += p[order[i]];
  }
  for (double& v : p) v /= mass;
  return p;
}

TEST(Sampler, DrawsFollowTheDistributionOfTheOptions) {
  std::vector<float> logits = {1.5f, -0.5f, 0.25f, 2.0f, 0.0f, -3.0f, 1.0f};
  std::vector<int32_t> previous = {3, 1, 3};
  for (SamplerOptions o :
       {SamplerOptions{.temperature = 1}, SamplerOptions{.temperature = 0.7, .top_k = 3}, SamplerOptions{.temperature = 1.5, .top_p = 0.8},
        SamplerOptions{.temperature = 1, .top_k = 5, .top_p = 0.9, .repetition_penalty = 1.7}}) {
    std::vector<double> expected = naive({logits.begin(), logits.end()}, previous, o);
    Sampler sampler(o);
    std::vector<double> counts(logits.size(), 0);
    constexpr int kDraws = 20000;
    for (int i = 0; i < kDraws; i++) counts[size_t(sampler.next(logits, previous))] += 1.0 / kDraws;
    for (size_t i = 0; i < counts.size(); i++) {
      EXPECT_NEAR(counts[i], expected[i], 5 * std::sqrt(0.25 / kDraws)) << i;
      EXPECT_TRUE(expected[i] > 0 || counts[i] == 0) << i;
    }
  }
}

TEST(Sampler, GreedyTakesTheLowestOfEqualIds) {
  std::vector<float> logits = {0, 3, 1, 3};
  EXPECT_EQ(Sampler({}).next(logits, {}), 1);
}

TEST(Sampler, GreedyHonoursTheRepetitionPenalty) {
  std::vector<float> logits = {0, 3, 2.9f, 1};
  std::vector<int32_t> previous = {1};
  EXPECT_EQ(Sampler({.repetition_penalty = 1.2}).next(logits, previous), 2);
}

TEST(Sampler, EqualSeedsGiveEqualDraws) {
  std::vector<float> logits(100, 0.5f);
  Sampler a({.temperature = 1, .seed = 9}), b({.temperature = 1, .seed = 9}), c({.temperature = 1, .seed = 10});
  bool differs = false;
  for (int i = 0; i < 20; i++) {
    int32_t id = a.next(logits, {});
    EXPECT_EQ(id, b.next(logits, {}));
    differs = differs || id != c.next(logits, {});
  }
  EXPECT_TRUE(differs);
}

TEST(Sampler, OptionsOutsideTheirRangeAreRefused) {
  EXPECT_THROW(Sampler({.temperature = -1}), InvalidArgument);
  EXPECT_THROW(Sampler({.top_k = -1}), InvalidArgument);
  EXPECT_THROW(Sampler({.top_p = 0}), InvalidArgument);
  EXPECT_THROW(Sampler({.top_p = 1.5}), InvalidArgument);
  EXPECT_THROW(Sampler({.repetition_penalty = 0}), InvalidArgument);
}

}  // namespace
}  // namespace lacuna
