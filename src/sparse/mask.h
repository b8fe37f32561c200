// Masks: which weights of a matrix are kept. One bit per weight, 1 = kept; rows start on a 64-bit word.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lacuna {

// The number of ones. Not std::popcount: without the instruction, which not every x86-64 has, that is a call, and a loop of it is not vectorised.
inline int64_t count_ones(uint64_t word) noexcept {
  word -= (word >> 1) & 0x5555555555555555;
  word = (word & 0x3333333333333333) + ((word >> 2) & 0x3333333333333333);
  word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f;
  word += word >> 8, word += word >> 16, word += word >> 32;
  return int64_t(word & 127);
}

class Mask {
 public:
  Mask() = default;
  Mask(int64_t rows, int64_t cols, bool kept)
      : rows_(rows), cols_(cols), words_per_row_((cols + 63) / 64), words_(size_t(rows * words_per_row_), kept ? ~uint64_t(0) : 0) {
    clear_tails();
  }

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  bool kept(int64_t row, int64_t col) const { return (words_[size_t(row * words_per_row_ + col / 64)] >> (col % 64)) & 1; }
  void set(int64_t row, int64_t col, bool kept) {
    uint64_t& word = words_[size_t(row * words_per_row_ + col / 64)];
    uint64_t bit = uint64_t(1) << (col % 64);
    word = kept ? word | bit : word & ~bit;
  }
  // The words of a row; bits at and beyond cols are zero and must stay so.
  std::span<const uint64_t> row(int64_t r) const { return {words_.data() + r * words_per_row_, size_t(words_per_row_)}; }
  std::span<uint64_t> mutable_row(int64_t r) { return {words_.data() + r * words_per_row_, size_t(words_per_row_)}; }

  int64_t count_kept() const {
    int64_t n = 0;
    for (uint64_t w : words_) n += count_ones(w);
    return n;
  }
  int64_t count_kept(int64_t row_index) const {
    int64_t n = 0;
    for (uint64_t w : row(row_index)) n += count_ones(w);
    return n;
  }
  double sparsity() const { return rows_ > 0 && cols_ > 0 ? 1 - double(count_kept()) / double(rows_ * cols_) : 0; }
  bool operator==(const Mask&) const = default;

 private:
  void clear_tails() {
    if (cols_ % 64 == 0) return;
    for (int64_t r = 0; r < rows_; r++) words_[size_t((r + 1) * words_per_row_ - 1)] &= (uint64_t(1) << (cols_ % 64)) - 1;
  }
  int64_t rows_ = 0, cols_ = 0, words_per_row_ = 0;
  std::vector<uint64_t> words_;
};

}  // namespace lacuna
