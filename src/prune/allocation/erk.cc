// Density of a layer in proportion to sum(shape) / product(shape), (in + out + kw + kh) / (in * out * kw * kh) of a convolution: small layers stay
// denser. Layers whose density would pass 1 stay dense, and the others share what is left.
#include <algorithm>
#include <numeric>

#include "prune/allocation.h"

namespace lacuna {
Allocation erk_allocation();
namespace {

double raw_density(const LayerInfo& layer) {
  double sum = double(std::accumulate(layer.shape.begin(), layer.shape.end(), int64_t(0)));
  return sum / double(std::max<int64_t>(1, element_count(layer.shape)));
}

std::vector<int64_t> kept_units(const AllocationRequest& request) {
  size_t n = request.layers.size();
  std::vector<double> raw(n), shares(n);
  std::vector<int64_t> limits(n);
  for (size_t i = 0; i < n; i++) raw[i] = raw_density(request.layers[i]), limits[i] = request.layers[i].units;
  std::vector<bool> dense(n, false);
  for (bool again = true; again;) {
    again = false;
    double left = (1 - request.sparsity) * double(request.total_units()), weighted = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
      if (dense[i])
        left -= double(limits[i]);
      else
        weighted += raw[i] * double(limits[i]), largest = std::max(largest, raw[i]);
    }
    double scale = weighted > 0 ? left / weighted : 0;
    for (size_t i = 0; i < n; i++) {
      if (!dense[i] && scale * largest > 1 && raw[i] == largest) dense[i] = again = true;
      shares[i] = dense[i] ? double(limits[i]) : scale * raw[i] * double(limits[i]);
    }
  }
  return round_to_sum(shares, limits, request.kept_units());
}

}  // namespace

Allocation erk_allocation() {
  return {"erk", "Erdos-Renyi-Kernel: small layers stay denser", "Evci et al. 2020, arXiv:1911.11134", false, kept_units};
}

}  // namespace lacuna
