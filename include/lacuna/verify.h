// Proof that a sparse model is what it claims to be.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/progress.h"

namespace lacuna {

struct VerifyOptions {
  bool run = true;           // compare outputs on seeded random inputs
  uint64_t seed = 0;
};

struct VerifiedWeight {
  std::string name, pattern;
  int64_t parameters = 0, zeros = 0;
  double sparsity = 0;
  int64_t violations = 0;        // groups or blocks that break the pattern
  int64_t nonzero_under_mask = 0;
  int64_t changed_kept = 0;      // kept weights whose value differs from the original (repair and quantization change them; pruning must not)
};

struct VerifyReport {
  std::string original, model;
  std::vector<VerifiedWeight> weights;   // every weight that is a matrix
  std::vector<std::string> problems;     // empty: verified
  int64_t parameters = 0, zeros = 0, changed_outside_mask = 0, pattern_violations = 0;
  std::optional<double> max_output_difference;  // largest |difference| over all outputs, on seeded inputs
  std::optional<double> relative_output_difference;
  bool ok() const { return problems.empty(); }
};

// `original` may be empty: then only the model itself is checked (hashes, formats, patterns, masks).
VerifyReport verify(const std::filesystem::path& original, const std::filesystem::path& model, const VerifyOptions& options = {}, Progress* progress = nullptr);
std::string to_json(const VerifyReport& report);

}  // namespace lacuna
