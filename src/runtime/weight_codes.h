// Integer codes of a weight for kernels that multiply integers: the codes it is stored in where those fit, else rounded anew.
#pragma once

#include <optional>
#include <vector>

#include "sparse/weight.h"

namespace lacuna {

// In matrix order: value = code * scale + minimum, or 0 where a kernel is told so by a mask. Codes lie in [-127, 127], or in [-8, 7] for s4.
struct WeightCodes {
  DType type = DType::kS8;            // s8 or s4
  int64_t group = 0;                  // columns per scale; 0: one per row
  Tensor codes;                       // [rows, cols], s8
  std::vector<float> scales, minima;  // [rows] or [rows, ceil(cols / group)]; minima empty if none
};

// The codes that the weight is stored in; nullopt if it has none that kernels take.
// Requires a matrix layout. `mask` is what the kernel gets; nullptr: none, so that zeros of the weight's own mask become codes that mean 0.
// Taken are 4-bit encodings, and 8-bit ones whose codes less their zero points lie in [-127, 127].
std::optional<WeightCodes> stored_codes(const Weight& weight, const WeightData& data, const MatrixView& view, const Mask* mask);

// The stored codes, or else symmetric s8 of the decoded `values` [rows, cols], one scale per row.
WeightCodes codes_of(const Weight& weight, const WeightData& data, const MatrixView& view, const Tensor& values, const Mask* mask);

}  // namespace lacuna
