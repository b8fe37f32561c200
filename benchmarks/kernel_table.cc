// Times problems in the problem language and prints one row each, as the tables of docs/performance-kernels.md.
//   lacuna_kernel_table [--threads N] [--runs N] [--kernel NAME] [--all] 'PROBLEM' ...
// In a problem, braces multiply: 'spmm f32 unstructured m={768,3072} k=768 n=128 sparsity={0.5,0.9}'.
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "kernels/bench.h"
#include "kernels/machine.h"

namespace {

std::vector<std::string> expanded(const std::string& text) {
  size_t open = text.find('{'), close = text.find('}');
  if (open == std::string::npos || close == std::string::npos) return {text};
  std::vector<std::string> out;
  for (size_t from = open + 1; from <= close;) {
    size_t to = std::min(text.find(',', from), close);
    for (std::string& rest : expanded(text.substr(0, open) + text.substr(from, to - from) + text.substr(close + 1))) out.push_back(std::move(rest));
    from = to + 1;
  }
  return out;
}

void print_machine() {
  using namespace lacuna::kernels;
  MachineReport m = measure_machine();
  std::printf("%s, %s\n", m.cpu.c_str(), m.isa.c_str());
  std::printf("L1 %zu KiB, L2 %zu KiB, L3 %zu KiB; %d threads\n", m.caches.l1 >> 10, m.caches.l2 >> 10, m.caches.l3 >> 10, m.threads);
  std::printf("read %.1f / %.1f GB/s, f32 %.0f / %.0f, bf16 %.0f / %.0f, int8 %.0f / %.0f GOP/s (one thread / all)\n", m.read_one_gb_s,
              m.read_all_gb_s, m.f32_one_gop_s, m.f32_all_gop_s, m.bf16_one_gop_s, m.bf16_all_gop_s, m.int8_one_gop_s, m.int8_all_gop_s);
}

void print_row(const lacuna::kernels::KernelBenchResult& r, bool all) {
  std::printf("| %s | %s | %.1f | %.1f | %.2fx | %.0f %% | %.1e | %s |\n", r.problem.c_str(), r.kernel.c_str(), r.median_us, r.dense_median_us,
              r.speedup, 100 * r.floor_share, r.max_error, r.dense_library.c_str());
  if (all)
    for (const auto& t : r.all)
      std::printf("|   %s | | %.1f +- %.1f, best %.1f | | | | | | %lld bytes |\n", t.name.c_str(), t.median_us, t.spread_us, t.best_us,
                  static_cast<long long>(t.bytes));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  lacuna::kernels::KernelBenchOptions options;
  bool all = false;
  std::vector<std::string> problems;
  for (int i = 1; i < argc; i++) {
    bool more = i + 1 < argc;
    if (!std::strcmp(argv[i], "--threads") && more)
      options.threads = std::atoi(argv[++i]);
    else if (!std::strcmp(argv[i], "--runs") && more)
      options.runs = std::atoi(argv[++i]);
    else if (!std::strcmp(argv[i], "--kernel") && more)
      options.kernel = argv[++i];
    else if (!std::strcmp(argv[i], "--all"))
      all = true;
    else if (!std::strcmp(argv[i], "--machine"))
      print_machine();
    else
      for (std::string& problem : expanded(argv[i])) problems.push_back(std::move(problem));
  }
  if (problems.empty()) return 0;
  std::printf("| problem | kernel | us | dense us | speed-up | of bests | of floor | error | dense by |\n|---|---|---|---|---|---|---|---|---|\n");
  try {
    for (const std::string& problem : problems) print_row(lacuna::kernels::bench_kernel(problem, options), all);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
