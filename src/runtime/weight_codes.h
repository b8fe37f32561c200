// Integer codes of a weight for kernels that multiply integers: the codes it is stored in where those fit, else rounded anew.
#pragma once

#include <optional>
#include <vector>

#include "sparse/weight.h"

namespace lacuna {

// In matrix order: value = code * scale + minimum, or 0 where a kernel is told so by a mask. Codes lie in [-127, 127], or in [-8, 7] for s4.
struct WeightCodes {
  DType type = DType::kS8;  // s8 or s4
  int64_t group = 0;        // columns per scale; 0: one per row
  std::vector<int8_t> codes;
  std::vector<float> scales, minima;  // [rows] or [rows, ceil(cols / group)]; minima empty if none
};

// The codes that the weight is stored in; nullopt if it has none that kernels take.
// Requires a matrix layout. `values` are the decoded ones, [rows, cols]; `masked` says that the kernel gets a mask of their zeros.
// Taken are 4-bit encodings, and 8-bit ones whose codes less their zero points lie in [-127, 127]; zeros of a mask stay zeros.
std::optional<WeightCodes> stored_codes(const Weight& weight, const WeightData& data, const MatrixView& view, const std::vector<float>& values,
                                        bool masked);

// The stored codes, or else symmetric s8, one scale per row.
WeightCodes codes_of(const Weight& weight, const WeightData& data, const MatrixView& view, const std::vector<float>& values, bool masked);

}  // namespace lacuna
