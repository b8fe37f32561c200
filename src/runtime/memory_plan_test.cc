#include "runtime/memory_plan.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace lacuna {
namespace {

TEST(MemoryPlan, BuffersOfAChainTakeTurns) {
  std::vector<BufferLife> chain = {{100, 0, 1}, {100, 1, 2}, {100, 2, 3}, {100, 3, 4}};
  EXPECT_EQ(plan_memory(chain).size_bytes, 2 * 128);
}

TEST(MemoryPlan, BuffersThatLiveTogetherDoNotOverlap) {
  Rng rng(1);
  std::vector<BufferLife> buffers;
  int64_t together = 0;
  for (int i = 0; i < 200; i++) {
    int64_t first = rng.below(100);
    buffers.push_back({1 + rng.below(5000), first, first + rng.below(10)});
  }
  MemoryPlan plan = plan_memory(buffers);
  for (size_t i = 0; i < buffers.size(); i++) {
    EXPECT_EQ(plan.offsets[i] % 64, 0);
    EXPECT_LE(plan.offsets[i] + buffers[i].size_bytes, plan.size_bytes);
    for (size_t j = 0; j < i; j++) {
      if (buffers[i].last < buffers[j].first || buffers[j].last < buffers[i].first) continue;
      EXPECT_TRUE(plan.offsets[i] + buffers[i].size_bytes <= plan.offsets[j] || plan.offsets[j] + buffers[j].size_bytes <= plan.offsets[i])
          << i << " and " << j;
    }
  }
  for (int64_t t = 0; t < 110; t++) {
    int64_t live = 0;
    for (auto& b : buffers) live += b.first <= t && t <= b.last ? b.size_bytes : 0;
    together = std::max(together, live);
  }
  EXPECT_LE(plan.size_bytes, together * 5 / 4);
}

}  // namespace
}  // namespace lacuna
