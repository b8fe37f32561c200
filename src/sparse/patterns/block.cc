// block:RxC: blocks of R rows and C columns are kept or removed as one. Blocks restart every `inner` columns; a block that reaches over the last
// rows or the end of a stretch is cut off there and is a unit like any other, ranked by its mean so that its size does not decide.
#include <atomic>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "sparse/bits.h"
#include "sparse/format.h"
#include "sparse/pattern.h"
#include "sparse/select.h"

namespace lacuna {
PatternKind block_pattern();
namespace {

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

class Block : public Pattern {
 public:
  Block(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {}
  std::string name() const override { return cat("block:", rows_, "x", cols_); }
  std::optional<std::string> refuses(int64_t rows, int64_t, int64_t inner) const override {
    if (inner < cols_) return cat("its input dimension of ", inner, " is narrower than the ", cols_, " columns of ", name());
    if (rows < rows_) return cat("its ", rows, " rows are fewer than the ", rows_, " of ", name());
    return std::nullopt;
  }
  int64_t unit_rows(int64_t rows) const override { return ceil_divide(rows, rows_); }
  int64_t unit_cols(int64_t cols, int64_t inner) const override { return cols ? cols / inner * ceil_divide(inner, cols_) : 0; }
  FormatParameters format_parameters(int64_t inner) const override { return {.inner = inner, .block_rows = rows_, .block_cols = cols_}; }

  Tensor unit_scores(ConstMatrixRef scores, int64_t inner, bool l2) const override {
    Tensor out(DType::kF32, {unit_rows(scores.rows), unit_cols(scores.cols, inner)}, false);
    float* units = out.mutable_data<float>().data();
    parallel_for(out.dim(0), [&](int64_t i) {
      for_each_block(scores.cols, inner, [&](int64_t j, int64_t col, int64_t width) {
        double sum = 0;
        bool present = false;
        for (int64_t r = i * rows_; r < std::min(scores.rows, (i + 1) * rows_); r++)
          for (float s : scores.row(r).subspan(size_t(col), size_t(width)))
            if (!(s < 0)) sum += l2 ? double(s) * double(s) : double(s), present = true;
        double mean = sum / double((std::min(scores.rows, (i + 1) * rows_) - i * rows_) * width);
        units[i * out.dim(1) + j] = present ? float(l2 ? std::sqrt(mean) : mean) : -1;
      });
    });
    return out;
  }

  Mask select(ConstMatrixRef scores, int64_t inner, int64_t kept_units, bool l2) const override {
    Tensor units = unit_scores(scores, inner, l2);
    Mask kept = keep_best({units.data<float>().data(), units.dim(0), units.dim(1), units.dim(1)}, kept_units);
    Mask mask(scores.rows, scores.cols, false);
    parallel_for(scores.rows, [&](int64_t r) {
      for_each_block(scores.cols, inner, [&](int64_t j, int64_t col, int64_t width) {
        if (kept.kept(r / rows_, j)) set_bits(mask.mutable_row(r), col, width);
      });
    });
    return mask;
  }

  int64_t violations(const Mask& mask, int64_t inner) const override {
    std::vector<int64_t> broken(size_t(unit_rows(mask.rows())), 0);
    parallel_for(int64_t(broken.size()), [&](int64_t i) { broken[size_t(i)] = broken_in(mask, inner, i); });
    return std::accumulate(broken.begin(), broken.end(), int64_t(0));
  }

  bool obeyed_by(const Mask& mask, int64_t inner) const override {
    std::atomic<bool> broken = false;
    parallel_for(unit_rows(mask.rows()), [&](int64_t i) {
      if (!broken.load(std::memory_order_relaxed) && broken_in(mask, inner, i)) broken = true;
    });
    return !broken;
  }

 private:
  // Blocks of unit row i that are kept in part.
  int64_t broken_in(const Mask& mask, int64_t inner, int64_t i) const {
    int64_t first = i * rows_, height = std::min(rows_, mask.rows() - first), broken = 0;
    for_each_block(mask.cols(), inner, [&](int64_t, int64_t col, int64_t width) {
      int64_t kept = 0;
      for (int64_t r = first; r < first + height; r++) kept += count_bits(mask.row(r), col, width);
      broken += kept != 0 && kept != height * width;
    });
    return broken;
  }

  // Calls f(unit column, first column, width) along a row.
  template <class F>
  void for_each_block(int64_t cols, int64_t inner, F&& f) const {
    int64_t j = 0;
    for (int64_t stretch = 0; stretch < cols; stretch += inner)
      for (int64_t col = 0; col < inner; col += cols_) f(j++, stretch + col, std::min(cols_, inner - col));
  }

  int64_t rows_, cols_;
};

std::unique_ptr<Pattern> parse(std::string_view text) {
  std::string_view rest = text;
  bool prefixed = rest.starts_with("block");
  if (prefixed) rest.remove_prefix(rest.starts_with("block:") ? 6 : 5);
  int64_t rows = 1, cols = 0;
  const char *begin = rest.data(), *end = begin + rest.size();
  auto first = std::from_chars(begin, end, cols);
  if (first.ec != std::errc()) return nullptr;
  if (first.ptr != end) {
    if (*first.ptr != 'x') return nullptr;
    rows = cols;
    auto second = std::from_chars(first.ptr + 1, end, cols);
    if (second.ec != std::errc() || second.ptr != end) return nullptr;
  } else if (!prefixed) {
    return nullptr;
  }
  if (rows < 1 || cols < 1 || rows > kLargestBlockSide || cols > kLargestBlockSide)
    throw InvalidArgument(cat("pattern '", text, "' has blocks of ", rows, "x", cols, "; sides from 1 to ", kLargestBlockSide, " expected"));
  return std::make_unique<Block>(rows, cols);
}

}  // namespace

PatternKind block_pattern() {
  return {"block", "blocks of R rows x C columns removed as one", "'block:4x1', '4x1', 'block4x1', 'block4' = 'block:1x4'",
          "Narang et al. 2017, arXiv:1711.02782", parse};
}

}  // namespace lacuna
