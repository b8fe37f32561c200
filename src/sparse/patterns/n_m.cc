// N:M: at most N kept of every M consecutive inputs of a row. A last group of `length` < M columns keeps at most ceil(N * length / M).
#include <algorithm>
#include <atomic>
#include <charconv>
#include <numeric>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "sparse/bits.h"
#include "sparse/format.h"
#include "sparse/pattern.h"
#include "sparse/select.h"

namespace lacuna {
PatternKind n_m_pattern();
namespace {

class NOfM : public Pattern {
 public:
  NOfM(int64_t n, int64_t m) : n_(n), m_(m) {}
  std::string name() const override { return cat(n_, ":", m_); }
  std::optional<double> fixed_sparsity() const override { return 1 - double(n_) / double(m_); }
  FormatParameters format_parameters(int64_t inner) const override { return {.n = n_, .m = m_, .inner = inner}; }

  std::optional<std::string> refuses(int64_t, int64_t, int64_t inner) const override {
    if (inner >= m_) return std::nullopt;
    return cat("its input dimension of ", inner, " is narrower than M = ", m_, " of ", name());
  }

  Mask select(ConstMatrixRef scores, int64_t inner, int64_t, bool) const override {
    Mask mask(scores.rows, scores.cols, false);
    parallel_for(scores.rows, [&](int64_t r) {
      std::vector<uint32_t> keys(size_t(std::min(m_, inner))), scratch(keys.size());
      for_each_group(scores.cols, inner, [&](int64_t col, int64_t length) {
        keep_group(scores.row(r).subspan(size_t(col), size_t(length)), col, keys, scratch, mask.mutable_row(r));
      });
    });
    return mask;
  }

  int64_t violations(const Mask& mask, int64_t inner) const override {
    std::vector<int64_t> broken(size_t(mask.rows()), 0);
    parallel_for(int64_t(broken.size()), [&](int64_t i) { broken[size_t(i)] = broken_in(mask, inner, i); });
    return std::accumulate(broken.begin(), broken.end(), int64_t(0));
  }

  bool obeyed_by(const Mask& mask, int64_t inner) const override {
    std::atomic<bool> broken = false;
    parallel_for(mask.rows(), [&](int64_t i) {
      if (!broken.load(std::memory_order_relaxed) && broken_in(mask, inner, i)) broken = true;
    });
    return !broken;
  }

 private:
  int64_t broken_in(const Mask& mask, int64_t inner, int64_t row) const {
    int64_t broken = 0;
    for_each_group(mask.cols(), inner, [&](int64_t col, int64_t length) { broken += count_bits(mask.row(row), col, length) > most_kept(length); });
    return broken;
  }
  int64_t most_kept(int64_t length) const { return (n_ * length + m_ - 1) / m_; }

  template <class F>
  void for_each_group(int64_t cols, int64_t inner, F&& f) const {
    for (int64_t col = 0; col < cols;) {
      int64_t length = std::min(m_, inner - col % inner);
      f(col, length);
      col += length;
    }
  }

  void keep_group(std::span<const float> scores, int64_t col, std::vector<uint32_t>& keys, std::vector<uint32_t>& scratch,
                  std::span<uint64_t> mask) const {
    size_t length = scores.size(), kept = size_t(most_kept(int64_t(length)));
    for (size_t i = 0; i < length; i++) scratch[i] = keys[i] = order_key(scores[i]);
    std::nth_element(scratch.begin(), scratch.begin() + int64_t(kept - 1), scratch.begin() + int64_t(length), std::greater<>());
    uint32_t least = scratch[kept - 1];
    size_t above = 0;
    for (size_t i = 0; i < length; i++) above += keys[i] > least;
    size_t ties = kept - above;
    for (size_t i = 0; i < length; i++) {
      bool keep = keys[i] > least || (keys[i] == least && ties > 0);
      ties -= keep && keys[i] == least;
      size_t at = size_t(col) + i;
      mask[at / 64] |= uint64_t(keep) << (at % 64);
    }
  }

  int64_t n_, m_;
};

std::unique_ptr<Pattern> parse(std::string_view text) {
  int64_t n = 0, m = 0;
  const char *begin = text.data(), *end = begin + text.size();
  auto first = std::from_chars(begin, end, n);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != ':') return nullptr;
  auto second = std::from_chars(first.ptr + 1, end, m);
  if (second.ec != std::errc() || second.ptr != end) return nullptr;
  if (n < 1 || n >= m || m > kLargestM)
    throw InvalidArgument(cat("pattern '", text, "' keeps ", n, " of every ", m, " weights; N:M with 1 <= N < M <= ", kLargestM, " expected"));
  return std::make_unique<NOfM>(n, m);
}

}  // namespace

PatternKind n_m_pattern() {
  return {"n_m", "at most N kept of every M inputs", "'2:4', '8:16', '16:64'", "Mishra et al. 2021, arXiv:2104.08378", parse};
}

}  // namespace lacuna
