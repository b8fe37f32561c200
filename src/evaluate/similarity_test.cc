#include "evaluate/similarity.h"

#include <gtest/gtest.h>

#include "lacuna/error.h"

namespace lacuna {
namespace {

// Expected values: scipy.stats.spearmanr.
TEST(Spearman, AgreesWithScipyWithoutTies) {
  EXPECT_NEAR(spearman(std::vector<double>{1, 2, 3, 4, 5}, std::vector<double>{5, 6, 7, 8, 7}), 0.8207826816681233, 1e-12);
}
TEST(Spearman, GivesTiesTheMeanRank) {
  EXPECT_NEAR(spearman(std::vector<double>{1, 1, 2, 3}, std::vector<double>{1, 2, 2, 4}), 0.8333333333333334, 1e-12);
}
TEST(Spearman, RefusesListsOfDifferentSizes) { EXPECT_THROW(spearman(std::vector<double>{1, 2}, std::vector<double>{1}), InvalidArgument); }
TEST(Cosine, OfAZeroVectorIsZero) { EXPECT_EQ(cosine(std::vector<float>{0, 0}, std::vector<float>{1, 2}), 0); }

}  // namespace
}  // namespace lacuna
