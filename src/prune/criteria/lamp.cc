// score(w) = w^2 / sum of v^2 over all v of the tensor with |v| >= |w|: what is left of the layer if everything smaller goes first.
// Scores of different layers compare, so a global allocation needs no tuning. Within a tensor the order is that of |w|.
//
// The magnitudes are sorted by their bits: dealt into 2^16 buckets by the upper half, then sorted bucket by bucket. Sums run from the largest down in
// f64.
#include <cstring>

#include "prune/criteria/scores.h"
#include "prune/criterion.h"

namespace lacuna {
Criterion lamp_criterion();
namespace {

uint32_t bits_of_magnitude(float w) { return std::bit_cast<uint32_t>(magnitude_of(w)); }

struct Sorted {
  std::vector<uint32_t> bits;                                        // ascending
  std::vector<int64_t> starts = std::vector<int64_t>(65536 + 1, 0);  // of the buckets
};

Sorted sort_magnitudes(ConstMatrixRef weight) {
  Sorted sorted;
  sorted.bits.resize(size_t(weight.rows * weight.cols));
  for (int64_t r = 0; r < weight.rows; r++)
    for (float w : weight.row(r)) sorted.starts[(bits_of_magnitude(w) >> 16) + 1]++;
  for (size_t b = 0; b < 65536; b++) sorted.starts[b + 1] += sorted.starts[b];
  auto next = sorted.starts;
  for (int64_t r = 0; r < weight.rows; r++)
    for (float w : weight.row(r)) {
      uint32_t bits = bits_of_magnitude(w);
      sorted.bits[size_t(next[bits >> 16]++)] = bits;
    }
  parallel_for(256, [&](int64_t tile) {  // 256 neighbouring buckets each
    for (int64_t b = tile * 256; b < tile * 256 + 256; b++)
      std::sort(sorted.bits.begin() + sorted.starts[size_t(b)], sorted.bits.begin() + sorted.starts[size_t(b) + 1]);
  });
  return sorted;
}

// The score of each sorted magnitude; equal magnitudes have equal scores.
std::vector<float> scores_of(const std::vector<uint32_t>& bits) {
  std::vector<float> scores(bits.size());
  double sum = 0;
  for (size_t end = bits.size(); end > 0;) {
    size_t begin = end;
    double square = std::pow(double(std::bit_cast<float>(bits[end - 1])), 2);
    while (begin > 0 && bits[begin - 1] == bits[end - 1]) sum += square, begin--;
    std::fill(scores.begin() + int64_t(begin), scores.begin() + int64_t(end), sum > 0 ? float(square / sum) : 0.0f);
    end = begin;
  }
  return scores;
}

Tensor score(ConstMatrixRef weight, const CriterionContext&) {
  Sorted sorted = sort_magnitudes(weight);
  std::vector<float> scores = scores_of(sorted.bits);
  return score_rows(weight, [&](int64_t, std::span<const float> w, std::span<float> s) {
    for (size_t i = 0; i < w.size(); i++) {
      uint32_t bits = bits_of_magnitude(w[i]);
      auto begin = sorted.bits.begin() + sorted.starts[bits >> 16], end = sorted.bits.begin() + sorted.starts[(bits >> 16) + 1];
      s[i] = scores[size_t(std::lower_bound(begin, end, bits) - sorted.bits.begin())];
    }
  });
}

}  // namespace

Criterion lamp_criterion() {
  return {"lamp", "w^2 over the sum of the squares not smaller, per tensor; made for a global allocation", "Lee et al. 2021, arXiv:2010.07611",
          Needs::kNone, score};
}

}  // namespace lacuna
