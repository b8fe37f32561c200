// Criteria: the scores that rank what to remove. One file each in criteria/; the list is criteria.def.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tensor/tensor.h"

namespace lacuna {

// What a criterion must be handed besides the weight.
enum class Needs { kNone, kCalibration, kGradients };

struct CriterionContext {
  std::string_view weight_name;  // random draws come from a stream of its own
  uint64_t seed = 0;
};

struct Criterion {
  std::string_view name;
  std::string_view help;    // one line
  std::string_view source;  // paper
  Needs needs;
  // Scores [rows, cols] f32, finite and not negative; the higher, the rather a weight is kept. The same for any thread count.
  Tensor (*score)(ConstMatrixRef weight, const CriterionContext& context);
};

std::span<const Criterion> criteria();
const Criterion& criterion_named(std::string_view name);  // throws InvalidArgument listing the known ones

}  // namespace lacuna
