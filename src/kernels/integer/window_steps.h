// How sixteen rows of a sparse weight fall into windows of 64 columns where x is one plane: which columns a step takes, and which rows go together.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/integer/lane16.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

// A word for each of sixteen rows, as compilers know vectors on any CPU.
using RowWords [[gnu::vector_size(8 * kLanes)]] = uint64_t;
// What sixteen rows keep, bit by bit: a word for 64 columns, and an empty one at the end.
using RowGroupBits = std::vector<RowWords>;
// word(lane, w): columns 64 w to 64 w + 63.
template <class Word>
RowGroupBits row_group_bits(int64_t cols, Word word) {
  RowGroupBits bits(size_t((cols + 63) / 64 + 1), RowWords{});
  for (size_t w = 0; w + 1 < bits.size(); w++)
    for (int64_t lane = 0; lane < kLanes; lane++) bits[w][lane] = word(lane, int64_t(w));
  return bits;
}

// The first four bits of each row, or fewer; returns how many in all.
inline int64_t first_four(const RowWords& words, RowWords& taken) {
  RowWords rest = words, counts = {};
  for (int i = 0; i < 4; i++) counts += (rest | -rest) >> 63, rest &= rest - 1;
  taken = words ^ rest;
  int64_t count = 0;
  for (int64_t lane = 0; lane < kLanes; lane++) count += int64_t(counts[lane]);
  return count;
}

// Takes all bits, at most four of each row a step: visit(base, taken) for each, taken[lane] the columns from `base` on, a multiple of 32. No window
// passes the end of a run of columns, which is a multiple of 64. Returns what the steps cost: three each, and four where the window crosses a cache
// line, which a load takes a third longer for (Zen 5: a step of sixteen positions 3.1 ns and 4.15). Crosses one where it then takes more
// than 4/3 of the columns.
template <class Visit>
int64_t walk_windows(RowGroupBits& bits, int64_t run, Visit visit) {
  int64_t cost = 0;
  for (size_t line = 0; line + 1 < bits.size(); line++) {
    RowWords &here = bits[line], &next = bits[line + 1];
    for (;;) {
      uint64_t any = 0;
      for (int64_t lane = 0; lane < kLanes; lane++) any |= here[lane];
      if (!any) break;
      const int64_t base = 64 * int64_t(line);
      const bool may_cross = uint32_t(any) == 0 && (base + 64) % run != 0;
      RowWords taken, taken_across;
      const int64_t count = first_four(here, taken);
      if (may_cross && 4 * count < 3 * first_four(here >> 32 | next << 32, taken_across)) {
        here ^= taken_across << 32, next ^= taken_across >> 32;
        visit(base + 32, taken_across);
        cost += 4;
      } else {
        here ^= taken;
        visit(base, taken);
        cost += 3;
      }
    }
  }
  return cost;
}

// The row of each lane, as Lane16Weight::row_of: rows change places within 64, so that those of a group find their columns in the same windows. Rows
// alike in number take 1 to 8 % fewer steps, the more the fewer the columns (4608: 1 to 3 %, 64: 12 to 30 %); a quarter to a third fewer where the
// numbers vary by 0.4 of their mean (window_steps_test.cc).
std::vector<int32_t> rows_by_windows(const WeightMatrix& weight, int64_t run);

}  // namespace lacuna::kernels
