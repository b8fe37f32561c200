// Where the values of a Program live in one arena: buffers whose lifetimes overlap do not overlap in memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lacuna {

struct BufferLife {
  int64_t size_bytes;
  int64_t first, last;  // steps that write it first and read it last, inclusive
};

struct MemoryPlan {
  std::vector<int64_t> offsets;  // bytes, multiples of 64, in the order of the buffers
  int64_t size_bytes = 0;
};

// Largest buffers first, each into the smallest gap that fits among the placed ones it overlaps in time. O(n^2).
// Source: "greedy by size", Pisarchyk and Lee 2020, arXiv:2001.03288.
MemoryPlan plan_memory(std::span<const BufferLife> buffers);

}  // namespace lacuna
