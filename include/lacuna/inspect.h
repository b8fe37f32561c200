// What a model is: layers, shapes, parameters, operations, and how each weight is stored.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/progress.h"

namespace lacuna {

struct InspectOptions {
  bool weights = false;                       // read the values: zeros, pattern obeyed, largest magnitude
  std::map<std::string, int64_t> dimensions;  // values for symbols, for the operation count; unbound ones count as 1
};

struct WeightSummary {
  std::string name, layer, op;  // "layer1.0.conv1.weight", the node that uses it, "Conv2d"
  std::vector<int64_t> shape;
  int64_t rows = 0, cols = 0;             // as a matrix; 0 if it is none
  std::string encoding, pattern, format;  // "f32"; "2:4" or ""; "bitmask"
  bool prunable = false;
  std::string not_prunable_because;
  int64_t parameters = 0, stored_bytes = 0, dense_bytes = 0;  // dense: in its encoding, without a mask
  double operations = 0;                                      // multiply-adds x 2 for one input item; 0 if not multiplied
  std::map<std::string, double> break_even;  // format -> smallest sparsity at which it takes fewer bytes than dense; absent if it never does
  // With InspectOptions::weights:
  std::optional<double> sparsity;               // share removed by its mask; without a mask, share of exact zeros
  std::string recognised_pattern;               // strictest pattern the zeros obey
  std::map<std::string, int64_t> format_bytes;  // bytes in every storage format that takes it
  std::optional<double> max_magnitude;          // of the finite values
  std::optional<int64_t> not_finite;            // values that are infinite or NaN
};

struct ModelSummary {
  std::string path, kind, family;
  struct Port {
    std::string name, dtype, shape;
  };
  std::vector<Port> inputs, outputs;
  std::map<std::string, int64_t> op_counts;
  std::vector<WeightSummary> weights;
  int64_t parameters = 0, prunable_parameters = 0, stored_bytes = 0, dense_bytes = 0, file_bytes = 0;
  double operations = 0;
  std::map<std::string, int64_t> dimensions;  // the open ones, as `operations` takes them (InspectOptions::dimensions, else guessed by their names)
  std::optional<double> sparsity, prunable_sparsity;  // with InspectOptions::weights
};

// Reads headers only unless options.weights. Throws NotFound, InvalidData, Unsupported.
ModelSummary inspect(const std::filesystem::path& model, const InspectOptions& options = {}, Progress* progress = nullptr);
std::string to_json(const ModelSummary& summary);

}  // namespace lacuna
