// Proof that a sparse model is what it claims to be.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/progress.h"

namespace lacuna {

struct VerifyOptions {
  bool run = true;  // compare outputs on seeded random inputs
  uint64_t seed = 0;
  std::map<std::string, int64_t> dimensions;  // sizes of the inputs' symbols, e.g. sequence=128
};

struct VerifiedWeight {
  std::string name, pattern, encoding;
  int64_t parameters = 0, zeros = 0;
  double sparsity = 0;
  int64_t violations = 0;  // groups or blocks that break the pattern
  int64_t changed_kept =
      0;                   // kept weights whose value differs from the original (repair changes them; pruning must not), beyond rounding if quantized
  int64_t revived = 0;     // removed in the original, kept here
  bool quantized = false;  // coded in fewer bits than the original
  bool was_pruned = false;      // the original has a mask that removes something
  bool same_mask = true;        // of those: removed in exactly the same places
  double largest_rounding = 0;  // quantized: largest |difference| of a kept weight, in steps of its scale
};

struct VerifyReport {
  std::string original, model;
  std::vector<VerifiedWeight> weights;  // every weight that is a matrix
  std::vector<std::string> problems;    // empty: verified
  int64_t parameters = 0, zeros = 0, changed_outside_mask = 0, pattern_violations = 0;
  int64_t quantized = 0;                             // weights that are rounded
  int64_t masks = 0, masks_unchanged = 0;            // weights that the original has pruned; of these, removed in the same places
  std::optional<double> max_output_difference;       // largest |difference| over all outputs, on seeded inputs
  std::optional<double> relative_output_difference;  // the same of the largest |output| of its tensor, as in BenchPrecision
  bool ok() const { return problems.empty(); }
};

// `original` may be empty: then only the model itself is checked (hashes, formats, patterns, masks).
VerifyReport verify(const std::filesystem::path& original, const std::filesystem::path& model, const VerifyOptions& options = {},
                    Progress* progress = nullptr);
std::string to_json(const VerifyReport& report);

}  // namespace lacuna
