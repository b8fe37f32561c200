// The inner loops of sparse f32 products against plain sums, both ways of addressing a panel.
#include "kernels/spmm_f32.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/cpu.h"
#include "kernels/cases.h"

namespace lacuna::kernels {
namespace {

TEST(SpmmTiles, AddUpRowsOfAnyLengthsInEitherAddressing) {
  if (!cpu_features().avx512) GTEST_SKIP() << "skipped: this CPU has no avx512";
  constexpr int64_t kRows = 70, kCols = 130, kMostLanes = 64;
  std::vector<float> weights = random_floats(kRows * kCols, 1), panel = random_floats(kCols * kMostLanes, 2);
  // Row r keeps every (r % 23 + 1)-th column or none: rows alone in their length, close to others and far from them.
  for (int64_t r = 0; r < kRows; r++)
    for (int64_t c = 0; c < kCols; c++)
      if (r % 7 == 0 || (c + r) % (r % 23 + 1) != 0) weights[size_t(r * kCols + c)] = 0;
  SpmmMatrix matrix(kSpmmF32Avx512, kRows, kCols, weights.data(), SpmmMatrix::Store::kSingle);
  for (int64_t lanes : {1, 16, 20, 40, 64})
    for (auto tile_of : {avx512::spmm_f32_tile, avx512::spmm_f32_tile_indexed}) {
      std::vector<float> sums(kRows * kMostLanes, 5.0f);  // nothing of it may stay
      for (int64_t t = 0; t < matrix.tiles(); t++)
        for (size_t g = 0; g < matrix.groups().size(); g++)
          tile_of(matrix.tile(int64_t(g), t), panel.data() + t * matrix.tile_cols() * kMostLanes,
                  sums.data() + matrix.groups()[g].first_row * kMostLanes, lanes);
      for (int64_t r = 0; r < kRows; r++)
        for (int64_t lane = 0; lane < lanes; lane++) {
          float expected = 0;
          for (int64_t c = 0; c < kCols; c++)
            if (float w = weights[size_t(r * kCols + c)]; w != 0) expected = std::fma(w, panel[size_t(c * kMostLanes + lane)], expected);
          ASSERT_EQ(sums[size_t(r * kMostLanes + lane)], expected) << "row " << r << " lane " << lane << " of " << lanes;
        }
    }
}

}  // namespace
}  // namespace lacuna::kernels
