// Every layer the same sparsity, to within one unit; the total is exact.
#include "prune/allocation.h"

namespace lacuna {
Allocation uniform_allocation();
namespace {

std::vector<int64_t> kept_units(const AllocationRequest& request) {
  std::vector<double> shares;
  std::vector<int64_t> limits;
  for (const LayerInfo& layer : request.layers) {
    shares.push_back((1 - request.sparsity) * double(layer.units));
    limits.push_back(layer.units);
  }
  return round_to_sum(shares, limits, request.kept_units());
}

}  // namespace

Allocation uniform_allocation() { return {"uniform", "the same sparsity in every layer", "Zhu and Gupta 2017, arXiv:1710.01878", false, kept_units}; }

}  // namespace lacuna
