#include "sparse/bits.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/rng.h"

namespace lacuna {
namespace {

TEST(Bits, NonzeroBitsAreThoseOfTheValuesThatAreNotZero) {
  Rng rng(3);
  for (int64_t count : {0, 1, 7, 8, 33, 63, 64}) {
    float values[64] = {};
    uint64_t wanted = 0;
    for (int64_t i = 0; i < count; i++) {
      if (rng.uniform() < 0.5) continue;
      values[i] = i % 5 ? float(rng.normal()) : std::numeric_limits<float>::quiet_NaN();
      wanted |= uint64_t(1) << i;
    }
    if (count > 8) values[8] = -0.0f, wanted &= ~(uint64_t(1) << 8);
    EXPECT_EQ(nonzero_bits(values, count), wanted) << count;
  }
}

TEST(Bits, EveryBitBecomesAByte) {
  Rng rng(5);
  for (int trial = 0; trial < 1000; trial++) {
    uint64_t bits = rng.next();
    int8_t bytes[64];
    bytes_of_bits(bits, bytes);
    for (int i = 0; i < 64; i++) ASSERT_EQ(bytes[i], bits >> i & 1 ? -1 : 0) << bits << " " << i;
  }
}

TEST(Bits, AreAddedAndCountedAcrossWords) {
  Rng rng(4);
  for (int trial = 0; trial < 1000; trial++) {
    Mask mask(1, 192, false);
    int64_t first = rng.below(129), count = rng.below(64) + 1, ones = 0;
    uint64_t bits = rng.next() >> (64 - count);
    add_bits(mask.mutable_row(0), first, bits);
    for (int64_t i = 0; i < 192; i++) {
      bool kept = i >= first && i < first + count && (bits >> (i - first) & 1);
      ASSERT_EQ(mask.kept(0, i), kept) << first << " " << count << " " << i;
      ones += kept;
    }
    ASSERT_EQ(count_ones(bits), ones);
    ASSERT_EQ(count_bits(mask.row(0), 0, 192), ones);
    ASSERT_EQ(mask.count_kept(), ones);
  }
  EXPECT_EQ(count_ones(~uint64_t(0)), 64);
}

}  // namespace
}  // namespace lacuna
