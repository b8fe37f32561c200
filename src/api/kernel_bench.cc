#include "lacuna/kernel_bench.h"

#include "api/open.h"
#include "kernels/bench.h"
#include "kernels/machine.h"
#include "kernels/problem.h"

namespace lacuna {

KernelReport bench_kernel(std::string_view problem, const KernelBenchOptions& options) {
  if (options.threads) require_threads(options.threads);
  return kernels::bench_kernel(problem, options);
}
std::vector<std::string> expand_problems(std::string_view text) { return kernels::expand_problems(text); }
MachineReport measure_machine() { return kernels::measure_machine(); }

}  // namespace lacuna
