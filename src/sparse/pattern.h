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

struct FormatParameters;  // sparse/format.h

// A pattern with its parameters, parsed from "unstructured", "2:4", "block:4x1" (also the aliases "0:0", "4x1", "block4x1",
// "block4" = 1x4).
class Pattern {
 public:
  virtual ~Pattern() = default;
  virtual std::string name() const = 0;  // canonical spelling
  // N:M fixes the sparsity of a matrix; nullopt where the caller chooses it.
  virtual std::optional<double> fixed_sparsity() const { return std::nullopt; }
  // Why this matrix cannot carry the pattern: narrower than M or than a block; nullopt: it can.
  virtual std::optional<std::string> refuses(int64_t rows, int64_t cols, int64_t inner) const = 0;

  // Units are what is kept or removed as one: weights, or blocks. A block over the last rows, or the last columns of an
  // `inner` stretch, is cut off there and counts as one unit.
  virtual int64_t unit_rows(int64_t rows) const { return rows; }
  virtual int64_t unit_cols(int64_t cols, int64_t /*inner*/) const { return cols; }
  // Scores of units from scores of weights: the L1 norm (mean) or L2 (root of the mean square), summed in f64. A negative score marks a
  // weight that is already removed: it adds nothing, and a unit of only such weights scores -1, below all others.
  // Shapes: scores [rows, cols] -> [unit_rows, unit_cols] f32.
  virtual Tensor unit_scores(ConstMatrixRef scores, int64_t inner, bool l2) const;
  // What a storage format needs to know of the pattern.
  virtual FormatParameters format_parameters(int64_t inner) const;

  // The mask that keeps the best `kept_units` units (ignored by patterns with fixed sparsity). Ties keep the lower index
  // (row-major). `inner`: groups and blocks restart every `inner` columns; it divides cols. A NaN ranks last.
  virtual Mask select(ConstMatrixRef scores, int64_t inner, int64_t kept_units, bool l2) const = 0;
  // Number of groups or blocks that break the pattern.
  virtual int64_t violations(const Mask& mask, int64_t inner) const = 0;
  // Whether there are none; looks no further than the first.
  virtual bool obeyed_by(const Mask& mask, int64_t inner) const = 0;
};

// Throws InvalidArgument on an unknown spelling, listing the known patterns with examples.
std::unique_ptr<Pattern> parse_pattern(std::string_view text);

// One kind of pattern, a line of patterns.def.
struct PatternKind {
  std::string_view name;      // "unstructured", "n_m", "block"
  std::string_view help;      // one line
  std::string_view examples;  // spellings, aliases included
  std::string_view source;    // where it is described
  // nullptr if the text is not a spelling of this kind; throws InvalidArgument if it is one that makes no sense (4:2).
  std::unique_ptr<Pattern> (*parse)(std::string_view text);
};
std::span<const PatternKind> pattern_kinds();

// The strictest pattern of a fixed list that a mask obeys: "dense", "block:4x4", "block:1x4", "block:4x1", ..., "2:16", "1:4", "2:4",
// "4:8", "8:16", ..., or "unstructured", which an empty mask is too, and one that obeys N:M because few weights are kept at all.
std::string recognise_pattern(const Mask& mask, int64_t inner);

}  // namespace lacuna
