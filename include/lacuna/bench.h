// Latency and throughput, dense beside sparse and precision beside precision in one interleaved run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/progress.h"

namespace lacuna {

struct BenchOptions {
  std::filesystem::path versus;  // another model timed in the same run; empty: this model with every weight dense
  std::vector<int64_t> batches;  // empty: 1, or what the inputs are fixed to
  std::vector<int> threads;      // empty: all cores
  // "own" (the arithmetic that the model states), "f32", "bf16", "int8". Empty: own; without `versus` all four, but for those that most of the
  // model cannot run in, and only own if the weights packed in each would take more than 2 GiB.
  std::vector<std::string> precisions;
  int64_t runs = 20;
  int64_t prompt_tokens = 128, new_tokens = 32;  // decoders: prefill and decode are timed apart
  std::map<std::string, int64_t> dimensions;     // other symbols, e.g. sequence=128
  bool layers = false;
};

struct BenchPrecision {
  std::string name;  // "f32", "bf16", "int8"; of a model with weights in fewer bits: "bf16 weights", "4-bit weights" ...
  bool own = false;  // what the model states
  double share = 0;  // of the multiplications of linear and conv, those that run in it; the others run in f32
  int64_t packed_bytes = 0, versus_packed_bytes = 0;
  // max|a - b| / max|b| over all outputs, on the sample inputs, b of f32; nullopt for f32, and where it alone is timed.
  std::optional<double> output_difference;
};
struct BenchRow {
  std::string precision;
  std::string phase;  // "run", "prefill", "decode"
  int64_t batch = 1;
  int threads = 1;
  int64_t tokens = 0;       // that each sequence reads at once, or decodes one after another; 0: the model reads no tokens
  int64_t past_tokens = 0;  // in the cache before that
  double median_ms = 0, p90_ms = 0, versus_median_ms = 0, versus_p90_ms = 0;
  // Both sides run the same kernels on weights packed alike: a ratio of their times would be noise.
  bool same_plan = false;
  std::optional<double> speedup;                             // median of pairwise ratios versus / model, in this precision; nullopt: same_plan
  std::optional<double> speedup_over_f32;                    // likewise, of versus in f32 over the model in this precision
  double items_per_second = 0, versus_items_per_second = 0;  // images, sequences or tokens
};
// One step of the run; those without a problem multiply no packed weight.
struct BenchLayer {
  std::string precision, phase, node, op, kernel, versus_kernel, problem, reason;
  double microseconds = 0, versus_microseconds = 0;
  std::string format;  // how the weight is packed: "dense", "bitmask", "window128", "n16", "blocks", "csr" ...
  int64_t packed_bytes = 0, versus_packed_bytes = 0;
  std::optional<double> measured_gain;  // dense over sparse when the plan was made; nullopt if there was nothing to choose
  // What this machine needs at least, as in KernelReport, but with the bandwidth of a buffer as large as all packed weights.
  double floor_us = 0, floor_share = 0;
};
struct BenchReport {
  std::string model, versus, cpu, isa;
  std::map<std::string, std::vector<int64_t>> inputs;  // shapes, at the first batch; of decoders, of the prompt
  std::vector<BenchPrecision> precisions;
  std::vector<BenchRow> rows;
  std::vector<BenchLayer> layers;            // of the first batch and thread count; of decoders, while decoding
  std::vector<std::string> needs_attention;  // precisions left out, or that only a part of the model runs in
};

// Throws InvalidArgument on an unknown precision, a batch, dimension or thread count that cannot be.
BenchReport bench(const std::filesystem::path& model, const BenchOptions& options, Progress* progress = nullptr);
std::string to_json(const BenchReport& report);

}  // namespace lacuna
