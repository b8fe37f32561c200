// How large the values of a Graph become on calibration inputs, and the scale that rounds each best.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace lacuna {

enum class RangeMethod { kMinMax, kPercentile, kMse };
// "minmax", "percentile", "mse"; throws InvalidArgument listing them.
RangeMethod range_method_named(const std::string& name);

// Magnitudes of some values, in two passes over the same inputs: the first finds the largest, the second counts in equal bins up to it.
// Sums are counts, so the result depends neither on threads nor on how inputs are cut into batches.
class Ranges {
 public:
  explicit Ranges(std::set<ValueId> values) {
    for (ValueId v : values) values_[v];
  }
  void observe_largest(ValueId value, const Tensor& tensor);  // f32; values that are not watched are passed over
  void observe_counts(ValueId value, const Tensor& tensor);

  // The scale of s8 codes: 127 codes cover the largest magnitude (minmax), the magnitude that `percentile` of the values stay within, or
  // the one whose rounding and clipping together have the smallest squared error (mse). Throws InvalidData if a value was never seen or is not
  // finite.
  float scale_of(ValueId value, RangeMethod method, double percentile, const std::string& name) const;

 private:
  static constexpr int64_t kBins = 4096;
  struct Range {
    float largest = 0;
    bool seen = false;
    std::vector<int64_t> counts;
  };
  std::map<ValueId, Range> values_;
};

}  // namespace lacuna
