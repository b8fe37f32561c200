#include "base/memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace lacuna {
namespace {

// The number in a file of the kernel; `fallback` if there is none ("max").
int64_t number_in(const char* path, int64_t fallback) {
  std::FILE* file = std::fopen(path, "re");
  if (!file) return fallback;
  long long value = 0;
  bool read = std::fscanf(file, "%lld", &value) == 1 && value > 0;
  std::fclose(file);
  return read ? value : fallback;
}

}  // namespace

int64_t memory_limit_bytes() noexcept {
  static const int64_t limit = [] {
    int64_t physical = int64_t(::sysconf(_SC_PHYS_PAGES)) * int64_t(::sysconf(_SC_PAGESIZE));
    for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"})
      physical = std::min(physical, number_in(path, physical));
    return physical;
  }();
  return limit;
}

}  // namespace lacuna
