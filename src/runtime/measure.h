// Choosing a kernel: by the static table, or by measuring the candidates on the problem at hand. Measurements are kept for the process
// and in the user's cache directory ($XDG_CACHE_HOME or ~/.cache, lacuna/plan-CPU.json), so that a problem is measured once per machine.
#pragma once

#include <string>

#include "kernels/conv.h"

namespace lacuna {

template <class Kernel>
struct Choice {
  const Kernel* kernel;
  std::string reason;       // "static table", "sparse 2.1x faster than dense (measured)", ...
  double microseconds = 0;  // as measured; 0: was not
};

inline constexpr double kWorthwhile = 1.05;  // sparse replaces dense where it is at least this much faster

Choice<kernels::LinearKernel> static_choice(const kernels::LinearProblem& problem, int64_t tokens);
Choice<kernels::ConvKernel> static_choice(const kernels::ConvProblem& problem);

// Times the dense and sparse candidates in turns; sparse replaces dense only where it wins by 5 %.
Choice<kernels::LinearKernel> measured_choice(const kernels::LinearProblem& problem, const kernels::WeightMatrix& weight, int64_t tokens);
Choice<kernels::ConvKernel> measured_choice(const kernels::ConvProblem& problem, const kernels::WeightMatrix& weight, int64_t batch, int64_t in_h,
                                            int64_t in_w);

// Calls whose token counts share a class share a measurement: 1, 2, 4, 8, 16, ... 512.
int64_t tokens_class(int64_t tokens);

// Forgets what was measured, in the process and in the cache file.
void forget_measurements();

}  // namespace lacuna
