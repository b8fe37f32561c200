// The least time that a product takes on a machine: reading weights and activations, or its operations, whichever is longer.
#pragma once

#include "kernels/machine.h"
#include "kernels/problem.h"

namespace lacuna::kernels {

struct Demand {
  double operations = 0;         // two per kept weight and use
  int64_t activation_bytes = 0;  // in and out, f32
  PeakKind peak = PeakKind::kF32;
};
// `kernel` decides whether tiles multiply, and how many products of parts (float_tiles.h) make one. A problem's sparsity counts, whatever its kernel
// makes of it.
Demand demand_of(const LinearCase& c, std::string_view kernel);
Demand demand_of(const ConvCase& c, std::string_view kernel);

// The level of LACUNA_ISA that a kernel needs; what another library dispatches on its own counts as the best there is.
std::string isa_of(std::string_view kernel);

// Bandwidth in GB/s, peak in 10^9 operations per second; peak 0: not known, bytes alone count.
double floor_us(const Demand& demand, int64_t weight_bytes, double weights_gb_s, double activations_gb_s, double peak_gop_s);

}  // namespace lacuna::kernels
