// score(w) = w^2 / S(w), S(w) the sum of v^2 over all v of the tensor with |v| >= |w|: what is left of the layer if everything smaller goes first.
// Scores of different layers compare, so a global allocation needs no tuning. Within a tensor the order is that of |w|.
//
// Up to 2^22 weights are sorted, and S is exact. Beyond, S is summed in buckets of magnitudes that agree in the upper 22 of their 31 bits (0.01 %
// wide) and taken at the lower end of the bucket: the order stays that of |w|, S differs by less than the share of one bucket, and nothing is sorted
// or looked up outside the cache. A full sort of 100 M weights with a binary search for each takes 30 times as long.
#include "prune/criteria/scores.h"
#include "prune/criterion.h"

namespace lacuna {
Criterion lamp_criterion();
namespace {

constexpr int64_t kLargestSorted = int64_t(1) << 22;
constexpr int kDroppedBits = 9;

uint32_t bits_of_magnitude(float w) { return std::bit_cast<uint32_t>(magnitude_of(w)); }
double square_of(uint32_t bits) { return double(std::bit_cast<float>(bits)) * double(std::bit_cast<float>(bits)); }

template <class Sum>
Tensor scores_with(ConstMatrixRef weight, Sum&& sum_not_smaller) {
  return score_rows(weight, [&](int64_t, std::span<const float> w, std::span<float> s) {
    for (size_t i = 0; i < w.size(); i++) {
      uint32_t bits = bits_of_magnitude(w[i]);
      s[i] = bits == 0 ? 0 : float(square_of(bits) / sum_not_smaller(bits));
    }
  });
}

Tensor score_sorted(ConstMatrixRef weight) {
  std::vector<uint32_t> sorted;
  sorted.reserve(size_t(weight.rows * weight.cols));
  for (int64_t r = 0; r < weight.rows; r++) std::transform(weight.row(r).begin(), weight.row(r).end(), std::back_inserter(sorted), bits_of_magnitude);
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> sums(sorted.size());
  double sum = 0;
  for (size_t i = sorted.size(); i-- > 0;) sums[i] = sum += square_of(sorted[i]);
  return scores_with(weight, [&](uint32_t bits) { return sums[size_t(std::lower_bound(sorted.begin(), sorted.end(), bits) - sorted.begin())]; });
}

Tensor score_bucketed(ConstMatrixRef weight) {
  std::vector<double> sums(size_t(1) << (31 - kDroppedBits), 0);
  for (int64_t r = 0; r < weight.rows; r++)
    for (float w : weight.row(r)) sums[bits_of_magnitude(w) >> kDroppedBits] += square_of(bits_of_magnitude(w));
  for (size_t b = sums.size() - 1; b-- > 0;) sums[b] += sums[b + 1];
  return scores_with(weight, [&](uint32_t bits) { return sums[bits >> kDroppedBits]; });
}

Tensor score(ConstMatrixRef weight, const CriterionContext&) {
  return weight.rows * weight.cols <= kLargestSorted ? score_sorted(weight) : score_bucketed(weight);
}

}  // namespace

Criterion lamp_criterion() {
  return {"lamp", "w^2 over the sum of the squares not smaller, per tensor; made for a global allocation", "Lee et al. 2021, arXiv:2010.07611",
          Needs::kNone, score};
}

}  // namespace lacuna
