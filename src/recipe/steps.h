// What the lines of a recipe do to one weight, in order. Steps are applied to a weight whenever it is loaded.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lacuna/prune.h"
#include "prune/prune.h"
#include "quantize/weights.h"

namespace lacuna {

// A line of a recipe, read against the tables of names. Either `prune` or `quantize` is set.
struct Line {
  std::string where;  // "stage 1, line 2"
  const PruneLine* prune = nullptr;
  const QuantizeLine* quantize = nullptr;
  std::unique_ptr<Pattern> pattern;  // of prune
  PruneSettings settings;
};
// Throw InvalidArgument, naming the line, on names that are unknown and settings that are out of range or in conflict.
Line read_prune_line(const PruneLine& text, std::string where);
Line read_quantize_line(const QuantizeLine& text, std::string where);

struct Step {
  const Line* line;
  int64_t kept_units = 0;       // prune
  std::optional<double> asked;  // prune: the sparsity that the weight was to get; nullopt where an allocation shares it out
  WeightScheme scheme;          // quantize
};

// A weight on its way through the steps.
struct StagedWeight {
  Weight weight;  // pattern and encoding as the steps so far leave them
  WeightData data;
  double rounding_error = 0;  // of the last quantization
};
StagedWeight after_steps(const Weight& weight, WeightData data, std::span<const Step> steps);

// The weight as the steps leave it; bytes are made when it is loaded.
Weight staged(const Weight& weight, std::span<const Step> steps);

}  // namespace lacuna
