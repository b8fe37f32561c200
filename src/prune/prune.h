// One-shot pruning of weights: criterion x pattern x allocation. Weights are loaded one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lacuna/progress.h"
#include "prune/allocation.h"
#include "prune/criterion.h"
#include "sparse/pattern.h"
#include "sparse/weight.h"

namespace lacuna {

struct PruneTarget {
  const Weight* weight = nullptr;       // has a matrix layout
  std::optional<double> sparsity = {};  // of this weight alone, instead of its share of the allocation
};

struct PruneSettings {
  const Criterion* criterion = nullptr;
  const Pattern* pattern = nullptr;
  std::string allocation = "uniform";
  std::optional<double> sparsity = {};  // in [0, 1); needed unless the pattern fixes it
  bool l2 = false;                      // how scores of a block combine: L1 or L2
  uint64_t seed = 0;
};

// Scores [rows, cols] f32 in matrix order; -1 where the weight is already removed, so that what is zero ranks last.
// Throws InvalidData if the weight holds a value that is not finite.
Tensor score_weight(const Weight& weight, const WeightData& data, const Criterion& criterion, uint64_t seed);

// Units to keep of each target. Targets without a sparsity of their own share settings.sparsity by the allocation; their units sum to the nearest
// whole number of it. For a pattern that fixes the sparsity the numbers are what it keeps at most of a weight.
// Throws InvalidArgument if the sparsity is missing, out of range or in conflict with the pattern, or the pattern cannot fit a weight (named).
// Cost: no weight is loaded unless the allocation needs scores (global: three times each).
std::vector<int64_t> plan_units(std::span<const PruneTarget> targets, const PruneSettings& settings, Progress* progress = nullptr);

// The mask of one weight: the best units kept, less what was removed before.
Mask choose_mask(const Weight& weight, const WeightData& data, const PruneSettings& settings, int64_t kept_units);

// Applies a mask in matrix order, keeping the encoding: codes that are not kept become zero bytes. What was removed before stays so.
WeightData prune_weight(const Weight& weight, const WeightData& data, const Mask& mask);

}  // namespace lacuna
