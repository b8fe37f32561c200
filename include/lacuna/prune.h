// Making weights zero and rounding them: one line of settings, or a whole recipe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/progress.h"
#include "lacuna/quantize.h"

namespace lacuna {

// One line of a recipe: which weights, and how they are pruned. Field names are the recipe's keys.
struct PruneLine {
  std::optional<double> sparsity;        // share of zeros in [0, 1]; needed unless the pattern fixes it
  std::string pattern = "unstructured";  // unstructured | N:M | block:RxC
  std::string criterion = "magnitude";   // see `lacuna prune --help`
  std::string allocation = "uniform";    // uniform | global | erk
  std::string norm = "l1";               // how scores of a block combine: l1 | l2
  std::vector<std::string> targets;      // names, op types (Linear, Conv2d), re:REGEX; empty: everything prunable
  std::vector<std::string> ignore;       // same, taken away
  std::vector<std::string> include;      // adds weights that are not prunable by default
  struct Override {
    std::vector<std::string> targets;
    double sparsity;
  };
  std::vector<Override> overrides;  // per-layer sparsity instead of the allocation's
  uint64_t seed = 0;
};

// Lines of one kind in a stage must claim different weights. A stage prunes before it quantizes.
struct Stage {
  std::string name;
  std::vector<PruneLine> prune;
  std::vector<QuantizeLine> quantize;
};

struct Recipe {
  std::vector<Stage> stages;  // run in order
};

// Reads the YAML of docs/recipes.md. Throws InvalidData naming line, key and the known keys.
Recipe parse_recipe(const std::string& yaml, const std::string& name = "recipe");
std::string to_yaml(const Recipe& recipe);

struct PrunedWeight {
  std::string name, layer, op, line;  // line: "stage 1, line 2"
  std::vector<int64_t> shape;
  int64_t parameters = 0, zeros = 0;
  double sparsity = 0;
  std::string pattern, format;
  std::string encoding_before, encoding;  // "f32", "s8 per-row f32"
  double rounding_error = 0;              // quantized weights: sqrt(sum (w - q)^2 / sum w^2)
  int64_t bytes_before = 0, bytes_after = 0;
  std::optional<double> planned_sparsity;  // what a dry run foresees; nullopt where only scores tell (allocation global), or nothing is pruned
};

// A tensor that is rounded while the model runs.
struct RoundedActivation {
  std::string layer, kind;  // kind: "per token" or "static"
  double scale = 0;         // static
};

// Weights that a recipe with a quantize line leaves in floats.
struct KeptFloats {
  std::string why;               // "embedding", "bias, norm or constant", "no line claims it" ...
  bool can_be_included = false;  // matrices: naming them in `include` rounds them too
  int64_t weights = 0, bytes = 0;
  std::string largest;  // its name
};

struct PruneReport {
  std::string model, output;
  bool dry_run = false;               // then zeros, sizes afterwards, storage formats and rounding errors are not known and stay 0 or empty
  std::vector<PrunedWeight> weights;  // the claimed ones
  int64_t claimed_parameters = 0, claimed_zeros = 0, total_parameters = 0, total_zeros = 0;
  int64_t bytes_before = 0, bytes_after = 0;  // all weights, as stored
  std::vector<RoundedActivation> activations;
  std::vector<KeptFloats> kept_floats;             // most bytes first; empty if nothing quantizes
  std::map<std::string, std::string> calibration;  // what decides the static scales: dataset hash, samples, method, preprocessing
  std::vector<std::string> needs_attention;
  double seconds = 0;
  double sparsity() const { return claimed_parameters ? double(claimed_zeros) / double(claimed_parameters) : 0; }
};
std::string to_json(const PruneReport& report);

struct SparsifyOptions {
  bool force = false;    // replace an existing output (a file, or a directory that holds a lacuna.json)
  bool dry_run = false;  // only say which weights each line claims
};

// Runs a recipe on a model and writes a Lacuna directory. Streams: memory stays near the largest weight.
// An interrupted run resumes from its OUT.partial. Throws InvalidArgument on a line that matches nothing, two lines of a
// stage that claim one weight, a pattern that cannot fit a named weight, an existing output; nothing is then written.
PruneReport sparsify(const std::filesystem::path& model, const Recipe& recipe, const std::filesystem::path& output,
                     const SparsifyOptions& options = {}, Progress* progress = nullptr);

// Names and one-line help of what a recipe may say, for --help and errors.
struct Choice {
  std::string name, help, source;
};
std::vector<Choice> criteria_choices();
std::vector<Choice> pattern_choices();
std::vector<Choice> allocation_choices();

}  // namespace lacuna
