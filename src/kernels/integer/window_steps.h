// How sixteen rows of a sparse weight fall into windows of 64 columns where x is one plane: which columns a step takes, and which rows go together.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/integer/lane16.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

// What sixteen rows keep, bit by bit: word i of lane l, for columns 32 i to 32 i + 31, is bits[16 i + l]. One empty word at the end.
using RowGroupBits = std::vector<uint32_t>;

// The first four bits of a word, or fewer; `count` gains their number.
inline uint64_t first_four(uint64_t word, int64_t& count) {
  uint64_t rest = word;
  for (int i = 0; i < 4; i++) count += rest != 0, rest &= rest - 1;
  return word ^ rest;
}

// Takes all bits, at most four of each row a step: visit(base, taken) for each, taken[lane] the columns from `base` on. No window passes the end of a
// run of columns, which is a multiple of 64. Returns what the steps cost: three each, and four where the window crosses a cache line, which a load
// takes a third longer for (Zen 5: a step of sixteen positions 3.1 ns and 4.15). Crosses one where that takes so many more columns.
template <class Visit>
int64_t walk_windows(RowGroupBits& bits, int64_t run, Visit visit) {
  const int64_t words = int64_t(bits.size()) / kLanes - 1;
  int64_t cost = 0;
  for (int64_t word = 0; word < words; word++)
    for (;;) {
      uint32_t* here = bits.data() + word * kLanes;
      uint32_t* after = here + kLanes;
      uint32_t any = 0;
      for (int64_t lane = 0; lane < kLanes; lane++) any |= here[lane];
      if (!any) break;
      const bool odd = word % 2 != 0, may_cross = odd && 32 * (word + 1) % run != 0;
      uint64_t taken[kLanes];  // from this word on
      int64_t count = 0, count_aligned = 0;
      for (int64_t lane = 0; lane < kLanes; lane++)
        taken[lane] = first_four(odd && !may_cross ? here[lane] : here[lane] | uint64_t(after[lane]) << 32, count);
      bool aligned = !may_cross;
      if (may_cross) {
        uint64_t of_line[kLanes];
        for (int64_t lane = 0; lane < kLanes; lane++) of_line[lane] = first_four(here[lane], count_aligned);
        aligned = 4 * count_aligned >= 3 * count;
        if (aligned) std::copy(of_line, of_line + kLanes, taken);
      }
      for (int64_t lane = 0; lane < kLanes; lane++) here[lane] &= ~uint32_t(taken[lane]), after[lane] &= ~uint32_t(taken[lane] >> 32);
      const bool starts_before = odd && aligned;
      if (starts_before)
        for (uint64_t& columns : taken) columns <<= 32;
      visit(32 * (starts_before ? word - 1 : word), taken);
      cost += aligned ? 3 : 4;
    }
  return cost;
}

// The row of each lane, as Lane16Weight::row_of: rows change places within 64, so that those of a group find their columns in the same windows. Rows
// alike in number already, one in ten at random, take 6 to 12 % fewer steps; where the numbers vary by 0.4 of their mean a quarter to a third.
std::vector<int32_t> rows_by_windows(const WeightMatrix& weight, int64_t run);

}  // namespace lacuna::kernels
