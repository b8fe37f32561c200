// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <span>

#include "base/rng.h"

namespace lacuna {

struct SamplerOptions {
  double temperature = 0;           // 0: greedy
  int64_t top_k = 0;                // 0: all
  double top_p = 1.0;               // nucleus (Holtzman et al. 2020); 1: all
  double repetition_penalty = 1.0;  // Keskar et al. 2019; 1: none
  uint64_t seed = 0;
};

class Sampler {
 public:
  // Throws InvalidArgument on a temperature < 0, top_k < 0, top_p outside (0, 1] or penalty <= 0.
  explicit Sampler(const SamplerOptions& options);
  // logits [vocab]; previous: tokens so far, for the penalty. Greedy ties take the lowest id.
  int32_t next(std::span<const float> logits, std::span<const int32_t> previous);

 private:
  SamplerOptions options_;
  Rng rng_;
};

}  // namespace lacuna
