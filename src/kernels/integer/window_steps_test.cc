// How rows fall into windows: everything once, in few steps.
#include "kernels/integer/window_steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <set>

#include "base/rng.h"
#include "sparse/mask.h"

namespace lacuna::kernels {
namespace {

// Rows whose shares of kept columns differ by up to `spread` of their mean.
Mask random_mask(int64_t rows, int64_t cols, double density, double spread, uint64_t seed) {
  Rng rng(seed);
  Mask mask(rows, cols, false);
  for (int64_t r = 0; r < rows; r++) {
    const double of_row = density * (1 + spread * (2 * rng.uniform() - 1));
    for (int64_t c = 0; c < cols; c++) mask.set(r, c, rng.uniform() < of_row);
  }
  return mask;
}

RowGroupBits bits_of(const Mask& mask, const std::vector<int32_t>& row_of, int64_t group) {
  return row_group_bits(mask.cols(), [&](int64_t lane, int64_t w) {
    const int64_t place = group * kLanes + lane, row = row_of.empty() ? place : row_of[size_t(place)];
    return row >= 0 && row < mask.rows() ? mask.row(row)[size_t(w)] : 0;
  });
}

int64_t steps_of(const Mask& mask, const std::vector<int32_t>& row_of, int64_t run) {
  int64_t steps = 0;
  for (int64_t g = 0; g < (mask.rows() + kLanes - 1) / kLanes; g++) {
    RowGroupBits bits = bits_of(mask, row_of, g);
    walk_windows(bits, run, [&](int64_t, const RowWords&) { steps++; });
  }
  return steps;
}

TEST(WindowSteps, TakeEveryColumnOnceAndFourOfARowAtMost) {
  for (double density : {0.02, 0.1, 0.5, 1.0})
    for (int64_t run : {64, 192, 576}) {
      const Mask mask = random_mask(13, 576, density, 0.5, uint64_t(run));
      RowGroupBits bits = bits_of(mask, {}, 0);
      std::set<std::pair<int64_t, int64_t>> taken_before;
      walk_windows(bits, run, [&](int64_t base, const RowWords& taken) {
        EXPECT_EQ(base % 32, 0);
        EXPECT_EQ(base / run, (base + 63) / run) << "a window passes the end of a run";
        for (int64_t lane = 0; lane < kLanes; lane++) {
          EXPECT_LE(std::popcount(uint64_t(taken[lane])), 4);
          for (int64_t i = 0; i < 64; i++)
            if (taken[lane] >> i & 1) {
              ASSERT_LT(lane, 13);
              EXPECT_TRUE(mask.kept(lane, base + i));
              EXPECT_TRUE(taken_before.emplace(lane, base + i).second);
            }
        }
      });
      EXPECT_EQ(int64_t(taken_before.size()), mask.count_kept());
    }
}

TEST(WindowSteps, RowsStayAmongTheirSixtyFour) {
  const Mask mask = random_mask(150, 256, 0.2, 0.9, 1);
  const std::vector<int32_t> row_of = rows_by_windows({.rows = 150, .cols = 256, .mask = &mask}, 256);
  ASSERT_EQ(row_of.size(), 160u);
  for (int64_t first = 0; first < 160; first += 64) {
    std::set<int32_t> rows;
    for (int64_t i = first; i < std::min<int64_t>(first + 64, 160); i++) {
      if (row_of[size_t(i)] < 0) {
        EXPECT_GE(i, 150);
        continue;
      }
      EXPECT_EQ(row_of[size_t(i)] / 64, first / 64);
      rows.insert(row_of[size_t(i)]);
    }
    EXPECT_EQ(int64_t(rows.size()), std::min<int64_t>(64, 150 - first));
  }
}

TEST(WindowSteps, ExchangingRowsSavesSteps) {
  const Mask uneven = random_mask(64, 576, 0.2, 0.8, 2), even = random_mask(64, 576, 0.2, 0, 3);
  auto saved = [](const Mask& mask) {
    const std::vector<int32_t> row_of = rows_by_windows({.rows = mask.rows(), .cols = mask.cols(), .mask = &mask}, 192);
    return 1 - double(steps_of(mask, row_of, 192)) / double(steps_of(mask, {}, 192));
  };
  EXPECT_GT(saved(uneven), 0.2);
  EXPECT_GT(saved(even), 0.02);
}

}  // namespace
}  // namespace lacuna::kernels
