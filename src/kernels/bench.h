// Times one problem: every candidate, the dense contenders of other libraries, interleaved, after all answers have been checked.
#pragma once

#include "lacuna/kernel_bench.h"

namespace lacuna::kernels {

// As lacuna::bench_kernel.
KernelReport bench_kernel(std::string_view problem, const KernelBenchOptions& options = {});

}  // namespace lacuna::kernels
