// Building blocks of the candidates over lane16.h: what they accept and the packed weight they make.
#pragma once

#include "kernels/integer/lane16_pack.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

// Slots of every 16 columns that carry pattern "N:M" with M dividing 16: 2, 4, 8, 12 or 16; 0 for any other pattern.
int n16_slots(std::string_view pattern);

// Why integer kernels of the family cannot take the problem: types, scale groups. nullopt if they can.
std::optional<std::string> refuses_lane16(const LinearProblem& problem, Lane16Format format, int bits);

std::unique_ptr<PackedLinear> pack_lane16_linear(std::string_view kernel, const LinearProblem& problem, const WeightMatrix& weight,
                                                 const Lane16Isa& isa, const Lane16Options& options);

}  // namespace lacuna::kernels
