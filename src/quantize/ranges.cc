#include "quantize/ranges.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

constexpr double kCodes = 127;

// Squared error of rounding magnitudes, given as counts of equal bins of [0, largest], with 127 codes up to `limit`.
double squared_error(std::span<const int64_t> counts, double largest, double limit) {
  double step = limit / kCodes, width = largest / double(counts.size()), sum = 0;
  for (size_t b = 0; b < counts.size(); b++) {
    double value = (double(b) + 0.5) * width, off = value - std::min(kCodes, std::nearbyint(value / step)) * step;
    sum += double(counts[b]) * off * off;
  }
  return sum;
}

double smallest_error_limit(std::span<const int64_t> counts, double largest) {
  constexpr int kTrials = 100;
  double best = largest, best_error = std::numeric_limits<double>::infinity();
  for (int trial = kTrials; trial >= kTrials / 5; trial--) {
    double limit = largest * trial / kTrials, error = squared_error(counts, largest, limit);
    if (error < best_error) best = limit, best_error = error;
  }
  return best;
}

double percentile_limit(std::span<const int64_t> counts, double largest, double percentile) {
  int64_t total = 0, below = 0;
  for (int64_t c : counts) total += c;
  for (size_t b = 0; b < counts.size(); b++) {
    below += counts[b];
    if (double(below) >= double(total) * percentile / 100) return largest * double(b + 1) / double(counts.size());
  }
  return largest;
}

}  // namespace

RangeMethod range_method_named(const std::string& name) {
  if (name == "minmax") return RangeMethod::kMinMax;
  if (name == "percentile") return RangeMethod::kPercentile;
  if (name == "mse") return RangeMethod::kMse;
  throw InvalidArgument(cat("method '", name, "' is unknown; known: minmax, percentile, mse"));
}

void Ranges::observe_largest(ValueId value, const Tensor& tensor) {
  auto it = values_.find(value);
  if (it == values_.end()) return;
  it->second.seen = true;
  for (float v : tensor.data<float>()) it->second.largest = std::isnan(v) ? v : std::max(it->second.largest, std::abs(v));
}

void Ranges::observe_counts(ValueId value, const Tensor& tensor) {
  auto it = values_.find(value);
  if (it == values_.end() || !(it->second.largest > 0) || !std::isfinite(it->second.largest)) return;
  Range& range = it->second;
  range.counts.resize(size_t(kBins));
  float per_bin = float(kBins) / range.largest;
  for (float v : tensor.data<float>()) range.counts[size_t(std::min(int64_t(std::abs(v) * per_bin), kBins - 1))]++;
}

float Ranges::scale_of(ValueId value, RangeMethod method, double percentile, const std::string& name) const {
  const Range& range = values_.at(value);
  if (!range.seen) throw InvalidData(cat("calibration: '", name, "' was not computed on any sample"));
  if (!std::isfinite(range.largest)) throw InvalidData(cat("calibration: '", name, "' is not finite on some sample"));
  if (range.largest == 0) return 1;  // always zero: any scale is exact
  double limit = method == RangeMethod::kMinMax       ? range.largest
                 : method == RangeMethod::kPercentile ? percentile_limit(range.counts, range.largest, percentile)
                                                      : smallest_error_limit(range.counts, range.largest);
  return float(limit / kCodes);
}

}  // namespace lacuna
