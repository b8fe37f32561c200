// Allocations: how a sparsity is shared out among layers. One file each in allocation/; the list is allocations.def.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace lacuna {

struct LayerInfo {
  std::string name;
  Shape shape;  // as in the source
  int64_t rows = 0, cols = 0, inner = 0;
  int64_t units = 0;  // weights, or blocks, of its pattern
};

struct AllocationRequest {
  std::span<const LayerInfo> layers;
  double sparsity = 0;  // share of all units to remove, in [0, 1)
  // Scores of the units of a layer, [unit_rows, unit_cols]; called several times per layer, one layer in memory at a time.
  std::function<Tensor(size_t layer)> unit_scores;

  int64_t total_units() const;
  int64_t kept_units() const;  // the nearest whole number to (1 - sparsity) * total_units()
};

struct Allocation {
  std::string_view name;
  std::string_view help;    // one line
  std::string_view source;  // paper
  bool needs_scores;        // uses unit_scores
  std::vector<int64_t> (*kept_units)(const AllocationRequest& request);
};

std::span<const Allocation> allocations();
const Allocation& allocation_named(std::string_view name);  // throws InvalidArgument listing the known ones

// Units to keep of each layer; their sum is request.kept_units(). Throws InvalidArgument if the sparsity is not in [0, 1).
std::vector<int64_t> allocate(std::string_view allocation, const AllocationRequest& request);

// Rounds shares to whole numbers in [0, limit] of the given sum, each by less than one where limits allow: the largest remainders are
// rounded up, ties at the lower index. Requires 0 <= sum <= the sum of limits.
std::vector<int64_t> round_to_sum(std::span<const double> shares, std::span<const int64_t> limits, int64_t sum);

}  // namespace lacuna
