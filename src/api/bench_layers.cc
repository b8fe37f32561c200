#include "api/bench_layers.h"

#include <algorithm>
#include <bit>
#include <variant>

#include "kernels/floor.h"

namespace lacuna {
namespace {

constexpr int64_t kSmallestRead = 4096, kLargestRead = int64_t(1) << 30;

const PlanLine* plan_line(const Session& session, const Session::ProfileLine& line) {
  return line.plan_line < 0 ? nullptr : &session.plan()[size_t(line.plan_line)];
}

bool runs_in(DType weights, DType activations, DType compute) {
  return compute == DType::kS8 ? activations == DType::kS8 : compute == DType::kBF16 ? weights == DType::kBF16 : activations == DType::kF32;
}

std::string text_of(const kernels::LinearCase& c) { return c.problem.to_string(c.tokens); }
std::string text_of(const kernels::ConvCase& c) { return c.problem.to_string(c.batch, c.in_h, c.in_w); }

// Which zeros a weight has does not matter to a kernel that multiplies them all.
std::string dense_problem(const std::string& problem) {
  return std::visit(
      [](auto c) {
        c.problem.pattern = "dense", c.problem.sparsity = 0;
        return text_of(c);
      },
      kernels::parse_problem(problem));
}

}  // namespace

double MachineFigures::read_gb_s(int64_t bytes, int threads) {
  int64_t size = int64_t(std::bit_floor(uint64_t(std::clamp(bytes, kSmallestRead, kLargestRead))));
  auto [it, fresh] = read_.try_emplace({size, threads});
  if (fresh) it->second = kernels::measure_read_gb_s(size, threads);
  return it->second;
}

double MachineFigures::peak_gop_s(kernels::PeakKind kind, int threads) {
  auto [it, fresh] = peaks_.try_emplace({kind, threads});
  if (fresh) it->second = kernels::measure_peak_gop_s(kind, threads);
  return it->second;
}

std::vector<Session::ProfileLine> profile_of(Session& session, int runs, const std::function<void()>& run) {
  std::vector<std::vector<double>> times;
  std::vector<Session::ProfileLine> lines;
  session.enable_profile(true);
  for (int i = 0; i < runs; i++) {
    run();
    lines = session.profile();
    times.resize(lines.size());
    for (size_t n = 0; n < lines.size(); n++) times[n].push_back(lines[n].microseconds);
  }
  session.enable_profile(false);
  for (size_t n = 0; n < lines.size(); n++) {
    std::nth_element(times[n].begin(), times[n].begin() + runs / 2, times[n].end());
    lines[n].microseconds = times[n][size_t(runs / 2)];
  }
  return lines;
}

double share_in(const std::vector<Session::ProfileLine>& lines, DType compute) {
  double all = 0, within = 0;
  for (auto& line : lines) {
    if (line.problem.empty()) continue;
    std::visit(
        [&](auto c) {
          c.problem.sparsity = 0;
          double operations = kernels::demand_of(c, "").operations;  // of the problem, not of what a kernel makes of it
          all += operations;
          if (runs_in(c.problem.weights, c.problem.activations, compute)) within += operations;
        },
        kernels::parse_problem(line.problem));
  }
  return all > 0 ? within / all : 0;
}

bool same_plan(const Session& a, const std::vector<Session::ProfileLine>& a_lines, const Session& b,
               const std::vector<Session::ProfileLine>& b_lines) {
  return std::ranges::equal(a_lines, b_lines, [&](auto& x, auto& y) {
    const PlanLine *p = plan_line(a, x), *q = plan_line(b, y);
    if (!p != !q || x.node != y.node || x.op != y.op || x.kernel != y.kernel) return false;
    return !p || (p->packed_bytes == q->packed_bytes && p->format == q->format && dense_problem(x.problem) == dense_problem(y.problem));
  });
}

std::vector<BenchLayer> layers_of(const Session& model, const std::vector<Session::ProfileLine>& lines, const Session& versus,
                                  const std::vector<Session::ProfileLine>& versus_lines, int threads, MachineFigures& machine) {
  std::map<std::string, const Session::ProfileLine*> others;
  for (auto& line : versus_lines) others[line.node] = &line;
  std::vector<BenchLayer> layers;
  for (auto& line : lines) {
    BenchLayer layer{.node = line.node, .op = line.op, .kernel = line.kernel, .problem = line.problem, .microseconds = line.microseconds};
    if (auto it = others.find(line.node); it != others.end()) {
      layer.versus_kernel = it->second->kernel, layer.versus_microseconds = it->second->microseconds;
      if (auto* plan = plan_line(versus, *it->second)) layer.versus_packed_bytes = plan->packed_bytes;
    }
    if (auto* plan = plan_line(model, line)) {
      layer.reason = plan->reason, layer.format = plan->format, layer.packed_bytes = plan->packed_bytes;
      if (plan->dense_us > 0 && plan->sparse_us > 0) layer.measured_gain = plan->dense_us / plan->sparse_us;
      kernels::Demand demand = std::visit([&](const auto& c) { return kernels::demand_of(c, line.kernel); }, kernels::parse_problem(line.problem));
      demand.activation_bytes = demand.activation_bytes * plan->activation_bits / 32;
      // Weights come from where all weights together fit; activations were written just before.
      layer.floor_us =
          double(line.pieces) * kernels::floor_us(demand, plan->packed_bytes, machine.read_gb_s(model.packed_bytes(), threads),
                                                  machine.read_gb_s(demand.activation_bytes, threads), machine.peak_gop_s(demand.peak, threads));
      layer.floor_share = line.microseconds > 0 ? layer.floor_us / line.microseconds : 0;
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace lacuna
