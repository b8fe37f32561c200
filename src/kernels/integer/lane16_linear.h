// Building blocks of the candidates over lane16.h: what they accept and the packed weight they make.
#pragma once

#include "kernels/integer/lane16_pack.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

// Slots of every 16 columns that carry pattern "N:M" with M dividing 16: 2, 4, 8, 12 or 16; 0 for any other pattern.
int n16_slots(std::string_view pattern);

// Why integer kernels of the family cannot take the problem: types, scale groups. nullopt if they can.
std::optional<std::string> refuses_lane16(const LinearProblem& problem, Lane16Format format, int bits);

// Stores the sums [tokens][16] of row group g (integers, or nullptr and those scaled by group) as outputs. Sorted rows: without epilogue.
void store_row_group(const Lane16Weight& weight, const Lane16Isa& isa, int64_t g, const int32_t* sums, const float* scaled_sums,
                     const float* x_scales, int64_t first_token, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue);

std::unique_ptr<PackedLinear> pack_lane16_linear(std::string_view kernel, const LinearProblem& problem, const WeightMatrix& weight,
                                                 const Lane16Isa& isa, const Lane16Options& options);

}  // namespace lacuna::kernels
