#include "lacuna/bench.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "api/open.h"
#include "api/sample_inputs.h"
#include "base/cat.h"
#include "base/cpu.h"
#include "base/parallel.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, size_t(q * double(values.size())))];
}

struct Side {
  Model model;
  std::unique_ptr<Session> session;
  bool decoder() const { return !model.graph->states().empty(); }
};

Side open(const std::filesystem::path& path, bool allow_sparse, int64_t capacity) {
  Side side{load_model(path), nullptr};
  side.session = std::make_unique<Session>(
      side.model.graph,
      SessionOptions{.max_tokens = side.decoder() ? capacity : 0, .measured_plan = true, .allow_sparse = allow_sparse, .last_token_only = true});
  return side;
}

// One timed unit of work of a side: the whole run, or the prefill and the decoding of a decoder.
struct Work {
  std::string phase;
  double items;  // per unit
  std::function<double(Side&)> time_ms;
};

std::vector<Work> work_for(const Side& side, const BenchOptions& options, int64_t batch) {
  for (auto& [name, value] : options.dimensions)
    if (counts_items(*side.model.graph, name))
      throw InvalidArgument(cat("--dim ", name, "=", value, ": this dimension counts items; say --batch ", value));
  batch_for(*side.model.graph, batch);
  auto inputs_for = [&](const Graph& graph, int64_t tokens) {
    Bindings bindings = bind_symbols(graph, options.dimensions, batch, tokens);
    return std::make_shared<TensorMap>(sample_inputs(graph, bindings, 0));
  };
  if (!side.decoder()) {
    auto inputs = inputs_for(*side.model.graph, options.prompt_tokens);
    return {{"run", double(batch), [inputs](Side& s) {
               auto start = Clock::now();
               s.session->run(*inputs);
               return ms_since(start);
             }}};
  }
  auto prompt = inputs_for(*side.model.graph, options.prompt_tokens), step = inputs_for(*side.model.graph, 1);
  int64_t prompt_tokens = options.prompt_tokens, new_tokens = options.new_tokens;
  return {{"prefill", double(batch * prompt_tokens),
           [prompt](Side& s) {
             s.session->reset();
             auto start = Clock::now();
             s.session->run(*prompt);
             return ms_since(start);
           }},
          {"decode", double(batch * new_tokens), [step, prompt_tokens, new_tokens](Side& s) {
             // The cache holds a prompt from the prefill before; decoding always continues at the same place.
             s.session->truncate(prompt_tokens);
             auto start = Clock::now();
             for (int64_t i = 0; i < new_tokens; i++) s.session->run(*step);
             return ms_since(start);
           }}};
}

void add_layers(Side& model, Side& versus, const Work& work, BenchReport& report) {
  std::map<std::string, Session::ProfileLine> other;
  auto profile = [&](Side& side) {
    side.session->enable_profile(true);
    work.time_ms(side);
    auto lines = side.session->profile();
    side.session->enable_profile(false);
    return lines;
  };
  for (auto& line : profile(versus)) other[line.node] = line;
  std::map<std::string, PlanLine> plan;
  for (auto& line : model.session->plan()) plan[line.node] = line;
  for (auto& line : profile(model)) {
    BenchLayer layer{.node = line.node, .op = line.op, .kernel = line.kernel, .microseconds = line.microseconds};
    if (auto it = other.find(line.node); it != other.end())
      layer.versus_kernel = it->second.kernel, layer.versus_microseconds = it->second.microseconds;
    if (auto it = plan.find(line.node); it != plan.end()) layer.problem = it->second.problem, layer.reason = it->second.reason;
    report.layers.push_back(std::move(layer));
  }
}

}  // namespace

BenchReport bench(const std::filesystem::path& path, const BenchOptions& options, Progress* progress) {
  if (options.runs < 1) throw InvalidArgument(cat("--runs must be at least 1, got ", options.runs));
  if (options.prompt_tokens < 1 || options.new_tokens < 1) throw InvalidArgument("--prompt-tokens and --new-tokens must be at least 1");
  std::vector<int> threads = options.threads.empty() ? std::vector<int>{thread_count()} : options.threads;
  for (int t : threads)
    if (t < 1 || t > thread_count())
      throw InvalidArgument(cat("--threads ", t, ": wanted 1 to ", thread_count(), ", the CPUs that this process may run on"));
  int64_t capacity = options.prompt_tokens + options.new_tokens;
  Side model = open(path, true, capacity);
  bool same = options.versus.empty();
  Side versus = open(same ? path : options.versus, !same, capacity);
  if (model.decoder() != versus.decoder()) throw InvalidArgument(cat(path, " and ", options.versus, " are not the same kind of model"));
  BenchReport report{.model = path.string(),
                     .versus = same ? path.string() + " (every weight dense)" : options.versus.string(),
                     .cpu = cpu_name(),
                     .isa = isa_summary(cpu_features())};
  std::vector<int64_t> batches = options.batches;
  if (batches.empty()) batches = {batch_for(*model.model.graph, std::nullopt)};
  int before = thread_count();
  int64_t total = int64_t(batches.size() * threads.size()) * options.runs, done = 0;
  for (int t : threads) {
    set_thread_count(t);
    for (int64_t batch : batches) {
      model.session->reset();
      versus.session->reset();
      std::vector<Work> ours = work_for(model, options, batch), theirs = work_for(versus, options, batch);
      std::vector<std::vector<double>> times(ours.size()), other(ours.size()), ratios(ours.size());
      for (int64_t run = -2; run < options.runs; run++) {  // two warm-ups
        if (progress) progress->update("timing", done += run >= 0, total);
        for (size_t w = 0; w < ours.size(); w++) {
          // Who goes first alternates, so that a drifting clock favours nobody.
          double a, b;
          if (run % 2 == 0)
            a = ours[w].time_ms(model), b = theirs[w].time_ms(versus);
          else
            b = theirs[w].time_ms(versus), a = ours[w].time_ms(model);
          if (run < 0) continue;
          times[w].push_back(a);
          other[w].push_back(b);
          ratios[w].push_back(b / a);
        }
      }
      for (size_t w = 0; w < ours.size(); w++) {
        BenchRow row{.phase = ours[w].phase, .batch = batch, .threads = t};
        row.median_ms = quantile(times[w], 0.5);
        row.p90_ms = quantile(times[w], 0.9);
        row.versus_median_ms = quantile(other[w], 0.5);
        row.versus_p90_ms = quantile(other[w], 0.9);
        row.speedup = quantile(ratios[w], 0.5);
        row.items_per_second = ours[w].items / row.median_ms * 1000;
        row.versus_items_per_second = ours[w].items / row.versus_median_ms * 1000;
        report.rows.push_back(row);
      }
      if (options.layers && report.layers.empty()) add_layers(model, versus, ours.back(), report);
    }
  }
  set_thread_count(before);
  report.packed_bytes = model.session->packed_bytes();
  report.versus_packed_bytes = versus.session->packed_bytes();
  return report;
}

}  // namespace lacuna
