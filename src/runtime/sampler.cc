// Repetition penalty on the logits, temperature, top-k, softmax, top-p over the sorted rest, one draw.
#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "base/assert.h"
#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {

Sampler::Sampler(const SamplerOptions& options) : options_(options), rng_(options.seed) {
  if (!(options.temperature >= 0)) throw InvalidArgument(cat("temperature is ", options.temperature, ", wanted at least 0"));
  if (options.top_k < 0) throw InvalidArgument(cat("top_k is ", options.top_k, ", wanted at least 0"));
  if (!(options.top_p > 0 && options.top_p <= 1)) throw InvalidArgument(cat("top_p is ", options.top_p, ", wanted in (0, 1]"));
  if (!(options.repetition_penalty > 0)) throw InvalidArgument(cat("repetition_penalty is ", options.repetition_penalty, ", wanted above 0"));
}

int32_t Sampler::next(std::span<const float> logits, std::span<const int32_t> previous) {
  LACUNA_ASSERT(!logits.empty());
  std::vector<float> scores;
  if (options_.repetition_penalty != 1) {
    scores.assign(logits.begin(), logits.end());
    float penalty = float(options_.repetition_penalty);
    for (int32_t id : std::set<int32_t>(previous.begin(), previous.end()))
      if (id >= 0 && size_t(id) < scores.size())
        scores[size_t(id)] = scores[size_t(id)] > 0 ? scores[size_t(id)] / penalty : scores[size_t(id)] * penalty;
    logits = scores;
  }
  if (options_.temperature == 0) return int32_t(std::max_element(logits.begin(), logits.end()) - logits.begin());

  // Candidates in descending order; ties keep the lower id first, so that the draw is the same everywhere.
  std::vector<int32_t> ids(logits.size());
  for (size_t i = 0; i < ids.size(); i++) ids[i] = int32_t(i);
  auto before = [&](int32_t a, int32_t b) { return logits[size_t(a)] != logits[size_t(b)] ? logits[size_t(a)] > logits[size_t(b)] : a < b; };
  size_t kept = options_.top_k > 0 ? std::min(size_t(options_.top_k), ids.size()) : ids.size();
  std::partial_sort(ids.begin(), ids.begin() + long(kept), ids.end(), before);
  ids.resize(kept);
  std::vector<double> weights;
  double total = 0;
  for (int32_t id : ids) {
    weights.push_back(std::exp((double(logits[size_t(id)]) - logits[size_t(ids[0])]) / options_.temperature));
    total += weights.back();
  }
  // The smallest prefix that holds top_p of the mass, the crossing token included.
  double mass = 0;
  size_t count = 0;
  while (count < ids.size() && (count == 0 || mass < options_.top_p * total)) mass += weights[count++];
  double target = rng_.uniform() * mass;
  for (size_t i = 0; i + 1 < count; i++)
    if ((target -= weights[i]) < 0) return ids[i];
  return ids[count - 1];
}

}  // namespace lacuna
