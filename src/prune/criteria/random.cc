// Uniform scores in [0, 1): the control that every other criterion must beat. Weight i of a tensor draws number i of a stream seeded by the
// tensor's name, so neither the order of tensors nor the threads matter.
#include "base/rng.h"
#include "prune/criteria/scores.h"
#include "prune/criterion.h"

namespace lacuna {
Criterion random_criterion();
namespace {

// FNV-1a.
uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : text) hash = (hash ^ uint8_t(c)) * 0x100000001b3u;
  return hash;
}

Tensor score(ConstMatrixRef weight, const CriterionContext& context) {
  uint64_t stream = Rng(context.seed ^ hash_of(context.weight_name)).next();
  return score_rows(weight, [&](int64_t r, std::span<const float>, std::span<float> s) {
    Rng rng(stream + uint64_t(r * weight.cols) * 0x9e3779b97f4a7c15u);  // the state after r * cols draws
    for (float& v : s) v = float(rng.next() >> 40) * 0x1p-24f;
  });
}

}  // namespace

Criterion random_criterion() { return {"random", "uniform random numbers, the control", "", Needs::kNone, score}; }

}  // namespace lacuna
