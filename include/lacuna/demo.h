// The main job on a model that the library makes itself: quality, size and time of pruned against dense.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lacuna/progress.h"

namespace lacuna {

// The textbook's pruning experiment: one Gaussian weight, Gaussian inputs, relative output error by pattern and sparsity.
struct DemoQuality {
  std::string pattern;
  std::vector<double> sparsities;  // as asked; N:M and blocks where they have that sparsity
  std::vector<double> errors;      // negative: the pattern has no such sparsity
};
struct DemoSpeed {
  std::string pattern, format, kernel;
  double sparsity = 0;
  int64_t dense_bytes = 0, bytes = 0;
  double dense_ms = 0, ms = 0, speedup = 0;
};
struct DemoReport {
  std::string cpu, isa;
  int threads = 1;
  std::vector<DemoQuality> quality;
  std::vector<DemoSpeed> speed;
};
DemoReport demo(Progress* progress = nullptr);
std::string to_json(const DemoReport& report);

}  // namespace lacuna
