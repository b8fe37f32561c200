#include "prune/allocation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {

#define ALLOCATION(name) Allocation name##_allocation();
#include "prune/allocations.def"
#undef ALLOCATION

std::span<const Allocation> allocations() {
#define ALLOCATION(name) name##_allocation(),
  static const Allocation table[] = {
#include "prune/allocations.def"
  };
#undef ALLOCATION
  return table;
}

const Allocation& allocation_named(std::string_view name) {
  std::vector<std::string> known;
  for (const Allocation& allocation : allocations()) {
    if (allocation.name == name) return allocation;
    known.emplace_back(allocation.name);
  }
  throw InvalidArgument(cat("unknown allocation '", name, "'; known are ", join(known)));
}

int64_t AllocationRequest::total_units() const {
  int64_t total = 0;
  for (const LayerInfo& layer : layers) total += layer.units;
  return total;
}

int64_t AllocationRequest::kept_units() const { return std::llround((1 - sparsity) * double(total_units())); }

std::vector<int64_t> allocate(std::string_view allocation, const AllocationRequest& request) {
  if (!(request.sparsity >= 0 && request.sparsity < 1)) throw InvalidArgument(cat("sparsity is ", request.sparsity, ", 0 <= sparsity < 1 expected"));
  return allocation_named(allocation).kept_units(request);
}

std::vector<int64_t> round_to_sum(std::span<const double> shares, std::span<const int64_t> limits, int64_t sum) {
  std::vector<int64_t> out(shares.size());
  std::vector<double> remainder(shares.size());
  for (size_t i = 0; i < shares.size(); i++) {
    out[i] = std::clamp(int64_t(std::floor(shares[i])), int64_t(0), limits[i]);
    remainder[i] = shares[i] - double(out[i]);
  }
  std::vector<size_t> order(shares.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return remainder[a] > remainder[b]; });
  int64_t left = sum - std::accumulate(out.begin(), out.end(), int64_t(0));
  while (left > 0)
    for (size_t i : order)
      if (left > 0 && out[i] < limits[i]) out[i]++, left--;
  while (left < 0)
    for (size_t i = order.size(); i-- > 0;)
      if (left < 0 && out[order[i]] > 0) out[order[i]]--, left++;
  return out;
}

}  // namespace lacuna
