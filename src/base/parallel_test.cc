#include "base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "lacuna/error.h"

namespace lacuna {
namespace {

struct Parallel : ::testing::TestWithParam<int> {
  void SetUp() override { set_thread_count(GetParam()); }
  void TearDown() override { set_thread_count(before_); }
  int before_ = thread_count();
};

TEST_P(Parallel, EveryTileOfManyShortLoopsRunsOnce) {
  for (int loop = 0; loop < 3000; loop++) {
    std::vector<int> runs(size_t(loop % 17));
    parallel_for(int64_t(runs.size()), [&](int64_t tile) { runs[size_t(tile)]++; });
    EXPECT_EQ(std::count(runs.begin(), runs.end(), 1), int64_t(runs.size())) << loop;
  }
}

TEST_P(Parallel, LoopsOfSeveralCallersDoNotMix) {
  std::vector<std::thread> callers;
  std::vector<int64_t> sums(3);
  for (size_t c = 0; c < sums.size(); c++)
    callers.emplace_back([&, c] {
      for (int loop = 0; loop < 500; loop++) {
        std::atomic<int64_t> sum{0};
        parallel_for(10, [&](int64_t tile) { sum += tile; });
        sums[c] += sum;
      }
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(sums, std::vector<int64_t>(3, 500 * 45));
}

TEST_P(Parallel, NestedLoopsRun) {
  std::atomic<int> count{0};
  parallel_for(4, [&](int64_t) { parallel_for(5, [&](int64_t) { count++; }); });
  EXPECT_EQ(count, 20);
}

TEST_P(Parallel, ALoopWithinALoopHasOneThread) {
  std::atomic<int> most{0}, outside{thread_count()};
  parallel_for(4, [&](int64_t) {
    for (int seen = most, here = thread_count(); seen < here && !most.compare_exchange_weak(seen, here);) continue;
  });
  EXPECT_EQ(most, 1);
  {
    SerialLoops serial;
    EXPECT_EQ(thread_count(), 1);
    std::thread::id here = std::this_thread::get_id();
    parallel_for(50, [&](int64_t) { EXPECT_EQ(std::this_thread::get_id(), here); });
  }
  EXPECT_EQ(thread_count(), outside);
}

TEST_P(Parallel, AnExceptionReachesTheCallerAndTheNextLoopRuns) {
  EXPECT_THROW(parallel_for(100,
                            [](int64_t tile) {
                              if (tile == 7) throw std::runtime_error("seven");
                            }),
               std::runtime_error);
  std::atomic<int> count{0};
  parallel_for(100, [&](int64_t) { count++; });
  EXPECT_EQ(count, 100);
}

INSTANTIATE_TEST_SUITE_P(Threads, Parallel, ::testing::Values(1, 2, 3, 8));

TEST(Threads, OutOfRangeIsRefused) {
  EXPECT_THROW(set_thread_count(0), InvalidArgument);
  EXPECT_THROW(set_thread_count(1025), InvalidArgument);
}

}  // namespace
}  // namespace lacuna
