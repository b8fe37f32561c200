// Patterns (mask structures): where zeros may fall. One file each in patterns/; the list is patterns.def.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "sparse/mask.h"
#include "tensor/tensor.h"

namespace lacuna {

// A pattern with its parameters, parsed from "unstructured", "2:4", "block:4x1" (also the aliases "0:0", "4x1", "block4" = 1x4).
class Pattern {
 public:
  virtual ~Pattern() = default;
  virtual std::string name() const = 0;  // canonical spelling
  // N:M fixes the sparsity of a matrix; nullopt where the caller chooses it.
  virtual std::optional<double> fixed_sparsity() const { return std::nullopt; }
  // Why this matrix cannot carry the pattern: narrower than M, block does not divide ...; nullopt: it can.
  virtual std::optional<std::string> refuses(int64_t rows, int64_t cols, int64_t inner) const = 0;

  // Units are what is kept or removed as one: weights, or blocks. Scores of units from scores of weights.
  // Shapes: scores [rows, cols] -> [unit_rows, unit_cols].
  virtual int64_t unit_rows(int64_t rows) const { return rows; }
  virtual int64_t unit_cols(int64_t cols) const { return cols; }
  // Combines scores of the weights of a unit by the L1 norm (sum of |score|) or L2 (root of the sum of squares).
  virtual Tensor unit_scores(ConstMatrixRef scores, bool l2) const;

  // The mask that keeps the best `kept_units` units (ignored by patterns with fixed sparsity). Ties keep the lower index
  // (row-major). `inner`: groups restart every `inner` columns.
  virtual Mask select(ConstMatrixRef scores, int64_t inner, int64_t kept_units, bool l2) const = 0;
  // Number of groups or blocks that break the pattern.
  virtual int64_t violations(const Mask& mask, int64_t inner) const = 0;
};

// Throws InvalidArgument on an unknown spelling, listing the known patterns with examples.
std::unique_ptr<Pattern> parse_pattern(std::string_view text);

// The strictest pattern of a fixed list that a mask obeys: "dense", "2:4", "4:8", "8:16", "block:4x4", "block:1x4", "block:4x1", ..., or "unstructured".
std::string recognise_pattern(const Mask& mask, int64_t inner);

}  // namespace lacuna
