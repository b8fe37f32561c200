// The best units of all layers together are kept: one threshold for the model, found exactly by two histograms over the bits of the scores and one
// counting pass, a layer in memory at a time. Ties at the threshold go to the earlier layer.
#include <algorithm>

#include "prune/allocation.h"
#include "sparse/select.h"

namespace lacuna {
Allocation global_allocation();
namespace {

std::vector<int64_t> kept_units(const AllocationRequest& request) {
  auto for_each_layer = [&](auto&& f) {
    for (size_t i = 0; i < request.layers.size(); i++) {
      Tensor scores = request.unit_scores(i);
      LACUNA_ASSERT(scores.size() == request.layers[i].units);
      f(i, ConstMatrixRef{scores.data<float>().data(), scores.dim(0), scores.dim(1), scores.dim(1)});
    }
  };
  CutFinder finder(request.kept_units());
  for (int pass = 0; pass < CutFinder::kPasses; pass++) {
    for_each_layer([&](size_t, ConstMatrixRef scores) { finder.add(scores); });
    finder.end_pass();
  }
  Cut cut = finder.cut();
  std::vector<int64_t> kept(request.layers.size());
  for_each_layer([&](size_t i, ConstMatrixRef scores) {
    CutCount count = count_at(cut, scores);
    int64_t ties = std::min(cut.ties, count.equal);
    cut.ties -= ties;
    kept[i] = count.above + ties;
  });
  return kept;
}

}  // namespace

Allocation global_allocation() { return {"global", "one threshold over all layers", "Han et al. 2015, arXiv:1506.02626", true, kept_units}; }

}  // namespace lacuna
