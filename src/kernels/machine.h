// What this machine can do at most: the floors that kernels are held against.
#pragma once

#include "lacuna/kernel_bench.h"

namespace lacuna::kernels {

// As lacuna::measure_machine.
MachineReport measure_machine();

// Read bandwidth in GB/s over a buffer of that size, best of a few passes: DRAM or cache, as the size falls. `threads` share the buffer.
double measure_read_gb_s(int64_t size_bytes, int threads);
enum class PeakKind { kF32, kBF16, kInt8, kInt8Tiles, kBF16Tiles };
double measure_peak_gop_s(PeakKind kind, int threads);

}  // namespace lacuna::kernels
