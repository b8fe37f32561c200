#include "cli/bench_kernel.h"

#include <iterator>
#include <set>
#include <sstream>

#include "cli/cli.h"
#include "lacuna/kernel_bench.h"

namespace lacuna::cli {
namespace {

std::string scientific(double value) {
  char out[32];
  std::snprintf(out, sizeof out, "%.1e", value);
  return out;
}

// "n=1 sparsity=0": what the problem that was run says and the text that asked for it does not, of what decides its time.
std::string defaults_taken(const std::string& asked, const std::string& ran) {
  auto words_of = [](const std::string& text) {
    std::istringstream in(text);
    return std::vector<std::string>(std::istream_iterator<std::string>(in), {});
  };
  std::set<std::string> given;
  bool mask_file = false;
  std::vector<std::string> words = words_of(asked);
  for (auto& word : words) given.insert(word.substr(0, word.find('='))), mask_file |= word.starts_with("pattern=");
  bool fixed_zeros =
      mask_file || (words.size() > 2 && (words[2] == "dense" || words[2].find(':') != words[2].npos) && !words[2].starts_with("block"));
  std::string out;
  for (auto& word : words_of(ran)) {
    std::string key = word.substr(0, word.find('='));
    bool size = key == "n" || key == "h" || key == "w" || key == "ic" || key == "oc" || (!mask_file && (key == "m" || key == "k"));
    if ((size || (key == "sparsity" && !fixed_zeros)) && !given.contains(key)) out += (out.empty() ? "" : " ") + word;
  }
  return out;
}

void print_defaults(const std::string& asked, const std::string& ran) {
  std::string defaults = defaults_taken(asked, ran);
  if (!defaults.empty()) std::printf("needs attention: '%s' leaves out, and got by default: %s\n", asked.c_str(), defaults.c_str());
}

// Contenders of the ratios that something disturbed, a sentence each.
std::vector<std::string> disturbed(const KernelReport& r) {
  constexpr double kDisturbed = 1.5;
  std::vector<std::string> out;
  for (auto& t : r.all)
    if ((t.name == r.kernel || t.name == r.dense_library || t.name == r.own_dense) && t.median_us > kDisturbed * t.best_us)
      out.push_back("the median of " + t.name + " is " + fixed(t.median_us / t.best_us, 1) +
                    "x its best: the machine is busy, and the ratios above are not to be trusted");
  return out;
}

void print_one(const std::string& asked, const KernelReport& r) {
  std::printf("%s\n%s, %d thread%s\n", r.problem.c_str(), r.cpu.c_str(), r.threads, r.threads == 1 ? "" : "s");
  print_defaults(asked, r.problem);
  std::printf("\n");
  Table table({"<kernel", "median us", "+-", "best us", "packed", "error"});
  for (auto& t : r.all)
    table.add({(t.name == r.kernel ? "* " : "  ") + t.name, fixed(t.median_us, 1), fixed(t.spread_us, 1), fixed(t.best_us, 1),
               t.ours ? bytes_text(t.bytes) : "", t.ours ? scientific(t.max_error) : ""});
  table.print();
  std::printf(
      "\n%s is %sx as fast as %s\nit takes %s of the time that this machine needs at least (%s us: bytes over bandwidth, operations over peak)\n",
      r.kernel.c_str(), fixed(r.speedup, 2).c_str(), r.dense_library.empty() ? "nothing: no other dense contender" : r.dense_library.c_str(),
      r.floor_share > 0 ? (fixed(1 / r.floor_share, 2) + "x").c_str() : "?", fixed(r.floor_us, 1).c_str());
  if (!r.own_dense.empty() && r.own_dense != r.dense_library)
    std::printf("%sx as fast as our own dense kernel %s\n", fixed(r.speedup_over_own_dense, 2).c_str(), r.own_dense.c_str());
  for (auto& sentence : disturbed(r)) std::printf("needs attention: %s\n", sentence.c_str());
}

// Rows as they come, for a terminal and for Markdown alike.
void print_row(const KernelReport& r, bool all) {
  std::printf("| %s | %d | %s | %.1f | %.1f | %.2fx | %s | %s | %.0f %% | %.1e | %s |\n", r.problem.c_str(), r.threads, r.kernel.c_str(), r.median_us,
              r.dense_median_us, r.speedup, r.own_dense.empty() ? "" : fixed(r.own_dense_median_us, 1).c_str(),
              r.own_dense.empty() ? "" : (fixed(r.speedup_over_own_dense, 2) + "x").c_str(), 100 * r.floor_share, r.max_error,
              r.dense_library.c_str());
  if (all)
    for (auto& t : r.all)
      std::printf("|   %s | | | %.1f +- %.1f, best %.1f | | | | | | | %lld bytes |\n", t.name.c_str(), t.median_us, t.spread_us, t.best_us,
                  static_cast<long long>(t.bytes));
  std::fflush(stdout);
}

}  // namespace

void bench_kernels(const KernelBenchArguments& arguments, bool json) {
  std::vector<std::string> problems;
  for (auto& text : arguments.problems)
    for (auto& problem : expand_problems(text)) problems.push_back(problem);
  std::vector<int> threads = arguments.threads.empty() ? std::vector<int>{0} : arguments.threads;
  bool table = problems.size() * threads.size() > 1;
  if (table && !json)
    std::printf(
        "| problem | threads | kernel | us | dense us | speed-up | our dense us | speed-up over it | of floor | error | dense by |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n");
  std::vector<KernelReport> reports;
  std::vector<std::pair<std::string, std::string>> asked_and_ran;
  std::vector<std::string> busy;
  for (auto& problem : problems)
    for (int t : threads) {
      KernelReport r = bench_kernel(problem, {.runs = arguments.runs, .threads = t, .candidate = arguments.candidate});
      for (auto& sentence : disturbed(r)) busy.push_back(r.problem + ", threads " + std::to_string(r.threads) + ": " + sentence);
      if (t == threads[0]) asked_and_ran.emplace_back(problem, r.problem);
      if (json)
        reports.push_back(std::move(r));
      else if (table)
        print_row(r, arguments.all);
      else
        print_one(problem, r);
    }
  if (table && !json)
    for (auto& [asked, ran] : asked_and_ran) print_defaults(asked, ran);
  if (table && !json)
    for (auto& line : busy) std::printf("needs attention: %s\n", line.c_str());
  if (json) std::printf("%s\n", (table ? to_json(reports) : to_json(reports[0])).c_str());
}

void bench_machine(bool json) {
  MachineReport m = measure_machine();
  if (json) {
    std::printf("%s\n", to_json(m).c_str());
    return;
  }
  auto kib = [](int64_t bytes) { return std::to_string(bytes >> 10) + " KiB"; };
  std::printf("%s\n%s\ncaches: L1 %s, L2 %s, L3 %s\n\n", m.cpu.c_str(), m.isa.c_str(), kib(m.l1_bytes).c_str(), kib(m.l2_bytes).c_str(),
              kib(m.l3_bytes).c_str());
  Table table({"<at most", "one thread", m.threads == 1 ? "1 thread" : std::to_string(m.threads) + " threads", "<"});
  auto row = [&](const char* what, double one, double all, const char* unit) {
    table.add({what, one > 0 ? fixed(one, 1) : "-", all > 0 ? fixed(all, 1) : "-", unit});
  };
  row("read from memory", m.read_one_gb_s, m.read_all_gb_s, "GB/s");
  row("f32", m.f32_one_gop_s, m.f32_all_gop_s, "GFLOP/s");
  row("bf16", m.bf16_one_gop_s, m.bf16_all_gop_s, "GFLOP/s");
  row("int8", m.int8_one_gop_s, m.int8_all_gop_s, "GOP/s");
  row("bf16, AMX", m.amx_bf16_one_gop_s, m.amx_bf16_all_gop_s, "GOP/s");
  row("int8, AMX", m.amx_int8_one_gop_s, m.amx_int8_all_gop_s, "GOP/s");
  table.print();
}

}  // namespace lacuna::cli
