// score = |w|. Groups of weights combine scores by L1 or L2, so a block is ranked by its norm.
#include "prune/criteria/scores.h"
#include "prune/criterion.h"

namespace lacuna {
Criterion magnitude_criterion();
namespace {

Tensor score(ConstMatrixRef weight, const CriterionContext&) {
  return score_rows(weight,
                    [](int64_t, std::span<const float> w, std::span<float> s) { std::transform(w.begin(), w.end(), s.begin(), magnitude_of); });
}

}  // namespace

Criterion magnitude_criterion() {
  return {"magnitude", "|w|; the mean or root mean square of a block", "Han et al. 2015, arXiv:1506.02626", Needs::kNone, score};
}

}  // namespace lacuna
