#include "base/cpu.h"

#include <gtest/gtest.h>

namespace lacuna {
namespace {

TEST(Cpu, NamesItsFamilyAndModel) {
  if (cpu_name() == "unknown CPU") GTEST_SKIP() << "skipped: this CPU has no name";
  EXPECT_NE(cpu_name().find(" (family "), std::string::npos) << cpu_name();
}

TEST(Cpu, KnowsCachesThatGrow) {
  CacheSizes caches = cache_sizes();
  if (caches.l1 == 0) GTEST_SKIP() << "skipped: this system says nothing of its caches";
  EXPECT_GE(caches.l1, 8u << 10);
  if (caches.l2) {
    EXPECT_GE(caches.l2, caches.l1);
  }
  if (caches.l3) {
    EXPECT_GE(caches.l3, caches.l2);
  }
}

}  // namespace
}  // namespace lacuna
