// Latency and throughput, dense beside sparse in one interleaved run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lacuna/progress.h"

namespace lacuna {

struct BenchOptions {
  std::filesystem::path versus;  // another model timed in the same run; empty: this model with every weight dense
  std::vector<int64_t> batches;  // empty: 1, or what the inputs are fixed to
  std::vector<int> threads;      // empty: all cores
  int64_t runs = 20;
  int64_t prompt_tokens = 128, new_tokens = 32;  // decoders: prefill and decode are timed apart
  std::map<std::string, int64_t> dimensions;     // other symbols, e.g. sequence=128
  bool layers = false;
};

struct BenchRow {
  std::string phase;  // "run", "prefill", "decode"
  int64_t batch = 1;
  int threads = 1;
  double median_ms = 0, p90_ms = 0, versus_median_ms = 0, versus_p90_ms = 0;
  double speedup = 0;                                        // median of pairwise ratios versus / model
  double items_per_second = 0, versus_items_per_second = 0;  // images, sequences or tokens
};
struct BenchLayer {
  std::string node, op, kernel, versus_kernel, problem, reason;
  double microseconds = 0, versus_microseconds = 0;
};
struct BenchReport {
  std::string model, versus, cpu, isa;
  std::vector<BenchRow> rows;
  std::vector<BenchLayer> layers;
  int64_t packed_bytes = 0, versus_packed_bytes = 0;
};

BenchReport bench(const std::filesystem::path& model, const BenchOptions& options, Progress* progress = nullptr);
std::string to_json(const BenchReport& report);

}  // namespace lacuna
