// The steps of a run, held against what the machine needs at least.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "kernels/machine.h"
#include "lacuna/bench.h"
#include "runtime/session.h"

namespace lacuna {

// Bandwidth and peaks, measured when first asked for.
class MachineFigures {
 public:
  double read_gb_s(int64_t bytes, int threads);  // of a buffer of that size, rounded down to a power of two
  double peak_gop_s(kernels::PeakKind kind, int threads);

 private:
  std::map<std::pair<int64_t, int>, double> read_;
  std::map<std::pair<kernels::PeakKind, int>, double> peaks_;
};

// The steps of some runs, each with the median of its times.
std::vector<Session::ProfileLine> profile_of(Session& session, int runs, const std::function<void()>& run);

// Of the multiplications of packed weights, the share that runs in the arithmetic.
double share_in(const std::vector<Session::ProfileLine>& lines, DType compute);

// Do both take the same steps, with the same kernels on weights of the same sizes packed alike?
bool same_plan(const Session& a, const std::vector<Session::ProfileLine>& a_lines, const Session& b,
               const std::vector<Session::ProfileLine>& b_lines);

// The steps of a session, beside those of the same nodes in another.
std::vector<BenchLayer> layers_of(const Session& model, const std::vector<Session::ProfileLine>& lines, const Session& versus,
                                  const std::vector<Session::ProfileLine>& versus_lines, int threads, MachineFigures& machine);

}  // namespace lacuna
