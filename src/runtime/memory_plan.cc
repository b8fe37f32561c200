#include "runtime/memory_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace lacuna {

MemoryPlan plan_memory(std::span<const BufferLife> buffers) {
  constexpr int64_t kAlignment = 64;
  auto rounded = [](int64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; };
  MemoryPlan plan;
  plan.offsets.assign(buffers.size(), 0);
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return buffers[a].size_bytes > buffers[b].size_bytes; });

  std::vector<size_t> placed;  // by offset
  for (size_t i : order) {
    const BufferLife& buffer = buffers[i];
    int64_t size = rounded(buffer.size_bytes), best = -1, best_gap = std::numeric_limits<int64_t>::max(), end = 0;
    for (size_t other : placed) {
      if (buffers[other].last < buffer.first || buffer.last < buffers[other].first) continue;
      int64_t gap = plan.offsets[other] - end;
      if (gap >= size && gap < best_gap) best = end, best_gap = gap;
      end = std::max(end, plan.offsets[other] + rounded(buffers[other].size_bytes));
    }
    plan.offsets[i] = best >= 0 ? best : end;
    plan.size_bytes = std::max(plan.size_bytes, plan.offsets[i] + size);
    auto at = std::upper_bound(placed.begin(), placed.end(), i, [&](size_t a, size_t b) { return plan.offsets[a] < plan.offsets[b]; });
    placed.insert(at, i);
  }
  return plan;
}

}  // namespace lacuna
