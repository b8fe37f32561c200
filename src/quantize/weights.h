// Rounding weights to integer codes. Symmetric: zero is code 0, so what was removed stays removed; masks are kept bit for bit.
#pragma once

#include <cstdint>

#include "sparse/weight.h"

namespace lacuna {

// One scale per row (f32), or per group of columns (f16).
struct WeightScheme {
  DType type = DType::kS8;  // s8: codes in [-127, 127]; s4: in [-8, 7]
  int64_t group = 0;        // columns per scale; 0: one per row
  bool operator==(const WeightScheme&) const = default;
};
Encoding encoding_of(const WeightScheme& scheme);

struct QuantizedWeight {
  WeightData data;            // in encoding_of(scheme)
  double relative_error = 0;  // sqrt(sum (w - q)^2 / sum w^2)
};

// Rounds a weight of any encoding to nearest. Scales of s8 map the largest magnitude to 127; those of s4 are searched for the smallest
// squared error. A float weight without a mask of which a tenth or more is exactly zero gets those zeros as its mask: they were removed
// by a tool that wrote none. A kept weight may round to code 0 and stays kept.
// Requires a matrix layout. Throws InvalidData if a weight is not finite or its scale does not fit f16, naming it.
// Cost: O(rows * cols), about twenty roundings per weight for s4. Parallel over rows; results do not depend on the thread count.
QuantizedWeight quantize_weight(const Weight& weight, const WeightData& data, const WeightScheme& scheme);

}  // namespace lacuna
