#include "runtime/measure.h"

#include <gtest/gtest.h>

#include "base/parallel.h"

namespace lacuna {
namespace {

TEST(Planner, BytesPayWhereTheyAreManyAndLittleIsLost) {
  int threads = thread_count();
  set_thread_count(2);  // 20 bytes in a nanosecond
  EXPECT_TRUE(bytes_pay(100, 100, 400'000, kWorthwhile));
  EXPECT_TRUE(bytes_pay(100, 109, 400'000, kWorthwhile));
  EXPECT_FALSE(bytes_pay(100, 111, 4'000'000, kWorthwhile));  // a tenth at most
  EXPECT_FALSE(bytes_pay(100, 100, 40'000, kWorthwhile));     // 2 us
  EXPECT_TRUE(bytes_pay(100, 100, 120'000, kWorthwhile));     // 6 us
  EXPECT_FALSE(bytes_pay(100, 100, 120'000, kWorthwhileConv));
  EXPECT_FALSE(bytes_pay(100, 90, 0, kWorthwhileConv));  // not from memory
  EXPECT_FALSE(bytes_pay(100, 100, -400'000, kWorthwhile));
  set_thread_count(threads);
}

}  // namespace
}  // namespace lacuna
