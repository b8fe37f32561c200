// Which of many scores are the best, exactly and without sorting or holding them all.
#pragma once

#include <cstdint>
#include <vector>

#include "sparse/mask.h"
#include "tensor/tensor.h"

namespace lacuna {

// Unsigned numbers in the order of the scores; -0 equals 0, a NaN is the lowest of all.
inline uint32_t order_key(float score) {
  // In integers: where denormals are flushed to zero, comparisons of floats would depend on the thread's mode. Without branches, so that
  // loops over scores are vectorised.
  constexpr uint32_t kSign = 0x80000000u, kInfinity = 0x7f800000u;
  auto bits = std::bit_cast<uint32_t>(score);
  uint32_t magnitude = bits & ~kSign, negative = 0u - (bits >> 31);
  uint32_t key = magnitude ^ kSign ^ negative;  // sign and magnitude: magnitude | sign, or ~(magnitude | sign) of a negative one
  key += uint32_t(magnitude == 0) & negative;   // -0: one below 0
  return key & (0u - uint32_t(magnitude <= kInfinity));
}

// Keeps the scores above `key`, and the first `ties` of those equal to it.
struct Cut {
  uint32_t key = 0xffffffff;
  int64_t ties = 0;
};

// Finds the cut that keeps exactly `kept` scores by two histograms, of the upper and the lower half of the keys.
// Show it all scores kPasses times, in any order and any pieces, with end_pass() after each:
//   for (int pass = 0; pass < CutFinder::kPasses; pass++) { for (...) finder.add(scores); finder.end_pass(); }
class CutFinder {
 public:
  static constexpr int kPasses = 2;
  explicit CutFinder(int64_t kept) : left_(kept) {}
  void add(ConstMatrixRef scores);
  void end_pass();
  // After the last pass; requires 0 <= kept <= the number of scores.
  Cut cut() const { return cut_; }

 private:
  static constexpr size_t kBins = 65536;
  int pass_ = 0;
  int64_t left_;
  uint32_t upper_ = 0;
  std::vector<int64_t> bins_ = std::vector<int64_t>(kBins);
  Cut cut_;
};

// Scores above the cut, and equal to it.
struct CutCount {
  int64_t above = 0, equal = 0;
};
CutCount count_at(Cut cut, ConstMatrixRef scores);

// The mask that keeps the best `kept` scores; ties keep the lower index, row-major. Requires 0 <= kept <= rows * cols.
Mask keep_best(ConstMatrixRef scores, int64_t kept);

}  // namespace lacuna
