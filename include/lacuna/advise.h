// Where sparsity pays on this machine: per layer, from which sparsity a sparse kernel beats the dense one, and what is then gained.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/progress.h"

namespace lacuna {

struct AdviseOptions {
  int threads = 0;                            // 0: all cores
  std::optional<int64_t> batch;               // empty: 1, or what the inputs are fixed to
  int64_t prompt_tokens = 128;                // of sequences; decoders are asked about this prefill and about decoding one token
  std::map<std::string, int64_t> dimensions;  // other symbols, e.g. sequence=128
  std::vector<std::string> patterns = {"unstructured", "8:16", "4:16", "2:16", "block:1x4", "block:4x4"};
  std::vector<std::string> precisions = {"f32", "int8"};        // f32, bf16, int8
  std::vector<double> sparsities = {0.5, 0.7, 0.8, 0.9, 0.95};  // ignored by patterns that fix their own
  bool refresh = false;                                         // measure again what the user's cache directory holds
};

struct AdvicePoint {
  double sparsity = 0;
  std::string kernel, dense_kernel;  // the fastest of each kind
  double microseconds = 0, dense_microseconds = 0;
  double speedup = 0;  // dense over sparse, both in this precision
};
struct AdviceCurve {
  std::string pattern, precision;
  std::vector<AdvicePoint> points;  // by rising sparsity; empty if the layer cannot carry the pattern or no sparse kernel takes it
  double worthwhile = 1.05;         // the speedup from which on the planner takes sparse: 1.05, for convolutions of floats 1.15
  // Sparsity from which on sparse wins by that at every point, interpolated; nullopt: it does not at the last point.
  std::optional<double> starts_at;
};
struct LayerAdvice {
  std::string node, weight, phase;  // phase: "run", "prefill", "decode"
  std::string problem;              // the dense layer in the language of `bench --kernel`
  double dense_microseconds = 0;    // as the model is now
  std::vector<AdviceCurve> curves;
};
// All prunable layers together at one pattern, precision and sparsity, each sparse only where that wins.
struct AdviceTotal {
  std::string phase, pattern, precision;
  double sparsity = 0, milliseconds = 0;
  double speedup = 0;      // over the same precision, dense
  double speedup_now = 0;  // over the layers as they are
};
struct AdviseReport {
  std::string model, cpu, isa;
  int threads = 1;
  int64_t batch = 1;
  std::vector<LayerAdvice> layers;
  std::vector<AdviceTotal> totals;  // by phase, precision and rising sparsity
};

// Measures problems that the cost table of the planner does not hold yet, with seeded weights, and keeps them there.
AdviseReport advise(const std::filesystem::path& model, const AdviseOptions& options = {}, Progress* progress = nullptr);
std::string to_json(const AdviseReport& report);

}  // namespace lacuna
