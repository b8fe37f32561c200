#include "graph/dim.h"

#include <gtest/gtest.h>

#include "lacuna/error.h"

namespace lacuna {
namespace {

const Dim batch = Dim::symbol("batch"), tokens = Dim::symbol("tokens"), past = Dim::symbol("past"), height = Dim::symbol("height");

TEST(Dim, SumsAndProductsCancel) {
  EXPECT_EQ((batch * Dim(8) - Dim(4) * batch - Dim(4) * batch).constant(), 0);
  EXPECT_EQ((batch + tokens) * (batch - tokens), batch * batch - tokens * tokens);
}

TEST(Dim, DividesPolynomialsExactly) {
  EXPECT_EQ(floor_div(batch * tokens * Dim(384), tokens * Dim(12) * batch), Dim(32));
  EXPECT_EQ(floor_div(batch * Dim(12) * (past + tokens), past + tokens), batch * Dim(12));
  EXPECT_EQ(floor_div(Dim(8) * batch + Dim(5), Dim(4)), Dim(2) * batch + Dim(1));
}

TEST(Dim, TowersOfStridesStayOneDivision) {
  Dim once = floor_div(height - Dim(1), Dim(2)) + Dim(1);
  EXPECT_EQ(once, floor_div(height + Dim(1), Dim(2)));
  EXPECT_EQ(floor_div(once + Dim(1), Dim(2)), floor_div(height + Dim(3), Dim(4)));
  for (int64_t h = 1; h < 50; h++) {
    int64_t first = (h - 1) / 2 + 1, second = (first + 1) / 2;
    EXPECT_EQ(floor_div(once + Dim(1), Dim(2)).bind({{"height", h}}).value(), second);
  }
}

TEST(Dim, KnowsBoundsOfSymbolsThatCount) {
  EXPECT_EQ((batch + Dim(3)).lower_bound(), 3);
  EXPECT_EQ((Dim(3) - batch).upper_bound(), 3);
  EXPECT_EQ((batch - tokens).lower_bound(), std::nullopt);
  EXPECT_EQ(max(batch, Dim(0)), batch);
  EXPECT_EQ(min(batch + Dim(2), batch), batch);
  EXPECT_EQ(min(batch, Dim(512)).upper_bound(), 512);
  EXPECT_EQ(min(batch, Dim(512)), min(Dim(512), batch));
  EXPECT_EQ(max(tokens, batch), max(batch, tokens));
}

TEST(Dim, ReadsWhatItWrites) {
  for (const Dim& d :
       {batch, Dim(2) * past + Dim(1), floor_div(height + Dim(1), Dim(2)) * batch, max(past - tokens, Dim(7)), Dim(0) - batch, Dim(INT64_MAX)})
    EXPECT_EQ(Dim::parse(d.to_string()), d) << d.to_string();
}

TEST(Dim, RefusesOverflowAndEndlessGrowth) {
  EXPECT_THROW(Dim(INT64_MAX) + Dim(1), InvalidData);
  EXPECT_THROW(Dim(INT64_MAX) * batch * Dim(2), InvalidData);
  EXPECT_THROW(floor_div(Dim(INT64_MIN), Dim(-1)), InvalidData);
  Dim d = batch;
  EXPECT_THROW(for (int i = 0; i < 100; i++) d = min(d - tokens, tokens - d), InvalidData);
}

}  // namespace
}  // namespace lacuna
