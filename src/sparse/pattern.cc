#include "sparse/pattern.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "sparse/bits.h"
#include "sparse/format.h"

namespace lacuna {

#define PATTERN(name) PatternKind name##_pattern();
#include "sparse/patterns.def"
#undef PATTERN

std::span<const PatternKind> pattern_kinds() {
#define PATTERN(name) name##_pattern(),
  static const PatternKind table[] = {
#include "sparse/patterns.def"
  };
#undef PATTERN
  return table;
}

Tensor Pattern::unit_scores(ConstMatrixRef scores, int64_t, bool) const {
  Tensor out(DType::kF32, {scores.rows, scores.cols}, false);
  float* to = out.mutable_data<float>().data();
  if (scores.cols > 0)
    parallel_for(scores.rows, [&](int64_t r) { std::memcpy(to + r * scores.cols, scores.row(r).data(), size_t(scores.cols) * sizeof(float)); });
  return out;
}

FormatParameters Pattern::format_parameters(int64_t inner) const { return {.inner = inner}; }

std::unique_ptr<Pattern> parse_pattern(std::string_view text) {
  std::vector<std::string> known;
  for (const PatternKind& kind : pattern_kinds()) {
    if (auto pattern = kind.parse(text)) return pattern;
    known.push_back(cat(kind.examples, " (", kind.help, ")"));
  }
  throw InvalidArgument(cat("unknown pattern '", text, "'; known are ", join(known, "; ")));
}

namespace {

double log_binomial(int64_t n, int64_t k) { return std::lgamma(double(n + 1)) - std::lgamma(double(k + 1)) - std::lgamma(double(n - k + 1)); }

// Whether every whole group of M keeps just N.
bool all_groups_keep(const Mask& mask, int64_t n, int64_t m, int64_t inner) {
  for (int64_t r = 0; r < mask.rows(); r++)
    for (int64_t start = 0; start < mask.cols(); start += inner)
      for (int64_t c = start; c + m <= start + inner; c += m)
        if (count_bits(mask.row(r), c, m) != n) return false;
  return true;
}

// Whether a mask with so many kept weights that fall anywhere would obey N:M with a probability above 1e-4. Where every whole group keeps just
// N, as pruning to N:M leaves it, the probability of that counts instead.
bool chance_explains(const Mask& mask, int64_t n, int64_t m, int64_t inner) {
  double density = double(mask.count_kept()) / double(mask.rows() * mask.cols());
  int64_t groups = mask.rows() * (mask.cols() / inner) * (inner / m);
  double one = 0;  // group
  for (int64_t k = all_groups_keep(mask, n, m, inner) ? n : 0; k <= n; k++)
    one += std::exp(log_binomial(m, k) + double(k) * std::log(density) + double(m - k) * std::log1p(-density));
  return double(groups) * std::log(one) > std::log(1e-4);
}

}  // namespace

std::string recognise_pattern(const Mask& mask, int64_t inner) {
  // Blocks first: no unstructured mask obeys them by chance. Then the larger block, the lower density, the smaller M.
  static const auto candidates = [] {
    std::vector<std::unique_ptr<Pattern>> list;
    for (const char* name : {"block:16x16", "block:8x8", "block:4x4", "block:1x16", "block:16x1", "block:1x8", "block:8x1",
                             "block:1x4",   "block:4x1", "block:2x2", "block:1x2",  "block:2x1",  "2:16",      "4:32",
                             "1:4",         "4:16",      "16:64",     "2:4",        "4:8",        "8:16",      "32:64"})
      list.push_back(parse_pattern(name));
    return list;
  }();
  int64_t kept = mask.count_kept();
  if (kept == mask.rows() * mask.cols()) return "dense";
  if (kept == 0) return "unstructured";
  for (const auto& pattern : candidates) {
    if (pattern->refuses(mask.rows(), mask.cols(), inner) || !pattern->obeyed_by(mask, inner)) continue;
    FormatParameters p = pattern->format_parameters(inner);
    if (!p.m || !chance_explains(mask, p.n, p.m, inner)) return pattern->name();
  }
  return "unstructured";
}

}  // namespace lacuna
