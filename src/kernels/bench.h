// Times one problem: every candidate, the dense contenders of other libraries, interleaved, after all answers have been checked.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"

namespace lacuna::kernels {

struct KernelBenchOptions {
  int runs = 20;       // rounds; each round times every contender once
  int threads = 0;     // 0: thread_count()
  std::string kernel;  // the one to report; empty: the fastest (sparse, unless the pattern is dense)
  uint64_t seed = 1;
};

struct KernelTiming {
  std::string name;
  bool sparse = false, ours = true;
  double median_us = 0, spread_us = 0;  // half the distance of the quartiles
  double best_us = 0;
  double max_error = 0;  // max|a - b| / max|b| against the reference; ours only
  int64_t bytes = 0;     // packed weight; ours only
};

struct KernelBenchResult {
  std::string problem, cpu, isa, kernel;
  int threads = 1, runs = 0;
  double sparsity = 0;  // as made
  double median_us = 0, spread_us = 0, max_error = 0;
  int64_t bytes = 0;
  std::string dense_library;  // the fastest dense of all libraries, ours included
  double dense_median_us = 0;
  double speedup = 0;                     // dense over this kernel, median of the ratios of each round
  double best_us = 0, dense_best_us = 0;  // smallest of all rounds: what to look at on a loaded machine
  double floor_us = 0;                    // the larger of bytes over bandwidth (measured at that size in the same run) and operations over peak
  double floor_share = 0;                 // floor_us / median_us
  std::vector<KernelTiming> all;          // fastest first; candidates far behind are timed in three rounds only and left out
  std::vector<std::string> refusals;      // "avx512::...: the weight is dense"
};

// `problem` in the language of problem.h. Throws InvalidArgument on a problem that it cannot read or a kernel that is unknown or refuses,
// NotFound or InvalidData on the mask file, Unsupported if a kernel's answer is wrong.
KernelBenchResult bench_kernel(std::string_view problem, const KernelBenchOptions& options = {});

}  // namespace lacuna::kernels
