#include "lacuna/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>

#include "api/bench_layers.h"
#include "api/bench_side.h"
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

constexpr double kMostOfTheModel = 0.5;  // a precision that less of it can run in is not timed unless asked for
constexpr int kProfiledRuns = 5;

struct Side {
  std::unique_ptr<Session> session;
  bool decodes = false;
};

Side open(const std::shared_ptr<const Graph>& graph, const Arithmetic& arithmetic, bool allow_sparse, int64_t capacity) {
  bool decodes = !graph->states().empty();
  SessionOptions options{.max_tokens = decodes ? capacity : 0,
                         .measured_plan = true,
                         .allow_sparse = allow_sparse,
                         .last_token_only = true,
                         .compute = arithmetic.compute};
  return {std::make_unique<Session>(graph, options), decodes};
}

TensorMap inputs_of(const Graph& graph, const BenchOptions& options, int64_t batch, int64_t tokens) {
  return sample_inputs(graph, bind_symbols(graph, options.dimensions, batch, tokens), 0);
}

// One timed unit of work of a side: the whole run, or the prefill and the decoding of a decoder.
struct Work {
  std::string phase;
  double items;                 // per unit
  int64_t tokens, past_tokens;  // as in BenchRow
  std::function<double(Side&)> time_ms;
};

std::vector<Work> work_for(const Graph& graph, const BenchOptions& options, int64_t batch) {
  for (auto& [name, value] : options.dimensions)
    if (counts_items(graph, name)) throw InvalidArgument(cat("--dim ", name, "=", value, ": this dimension counts items; say --batch ", value));
  batch_for(graph, batch);
  auto inputs_for = [&](int64_t tokens) { return std::make_shared<TensorMap>(inputs_of(graph, options, batch, tokens)); };
  auto prompt = inputs_for(options.prompt_tokens);
  int64_t read = tokens_of(graph, bind_symbols(graph, options.dimensions, batch, options.prompt_tokens));
  if (graph.states().empty())
    return {{"run", double(batch), read, 0, [prompt](Side& s) {
               auto start = Clock::now();
               s.session->run(*prompt);
               return ms_since(start);
             }}};
  auto step = inputs_for(1);
  int64_t prompt_tokens = options.prompt_tokens, new_tokens = options.new_tokens;
  return {{"prefill", double(batch * prompt_tokens), read, 0,
           [prompt](Side& s) {
             s.session->reset();
             auto start = Clock::now();
             s.session->run(*prompt);
             return ms_since(start);
           }},
          {"decode", double(batch * new_tokens), new_tokens, prompt_tokens, [step, prompt_tokens, new_tokens](Side& s) {
             // The cache holds a prompt from the prefill before; decoding always continues at the same place.
             s.session->truncate(prompt_tokens);
             auto start = Clock::now();
             for (int64_t i = 0; i < new_tokens; i++) s.session->run(*step);
             return ms_since(start);
           }}};
}

double output_difference(const TensorMap& found, const TensorMap& wanted) {
  double worst = 0;
  for (auto& [name, tensor] : wanted)
    if (is_float(tensor.dtype()) && found.contains(name) && found.at(name).shape() == tensor.shape())
      worst = std::max(worst, relative_error(found.at(name), tensor));
  return worst;
}

// A precision with what runs in it and how long it takes.
struct Contest {
  Arithmetic arithmetic;
  std::shared_ptr<const Graph> graph, versus_graph;
  Side model, versus;
  BenchPrecision report;
  TensorMap outputs;
  struct Times {
    std::vector<double> model, versus;
    bool same_plan = false;
  };
  std::vector<Times> times;  // by work
};

class Bench {
 public:
  Bench(const std::filesystem::path& path, const BenchOptions& options, Progress* progress) : options_(options), progress_(progress) {
    bool same = options.versus.empty();
    model_ = load_model(path), versus_ = same ? model_ : load_model(options.versus);
    if (model_.graph->states().empty() != versus_.graph->states().empty())
      throw InvalidArgument(cat(path, " and ", options.versus, " are not the same kind of model"));
    report_ = {.model = path.string(),
               .versus = same ? path.string() + " (every weight dense)" : options.versus.string(),
               .cpu = cpu_name(),
               .isa = isa_summary(cpu_features())};
    batches_ = options.batches;
    if (batches_.empty()) batches_ = {batch_for(*model_.graph, std::nullopt)};
    threads_ = options.threads.empty() ? std::vector<int>{thread_count()} : options.threads;
    std::vector<std::string> wanted = options.precisions;
    if (wanted.empty() && !same) wanted = {"own"};
    arithmetics_ = arithmetics_of(*model_.graph, wanted, report_.needs_attention);
  }

  BenchReport run() {
    int64_t tokens = work_for(*model_.graph, options_, batches_[0])[0].tokens;  // says what cannot be before anything is packed
    if (tokens && tokens != options_.prompt_tokens && options_.dimensions.empty())
      report_.needs_attention.push_back(cat("the model's inputs are fixed to ", tokens, " tokens, whatever --prompt-tokens says"));
    for (auto& [name, tensor] : inputs_of(*model_.graph, options_, batches_[0], options_.prompt_tokens)) report_.inputs[name] = tensor.shape();
    for (int threads : threads_) {
      set_thread_count(threads);
      open_contests();
      for (int64_t batch : batches_) {
        std::vector<Work> ours = work_for(*model_.graph, options_, batch), theirs = work_for(*versus_.graph, options_, batch);
        time(ours, theirs);
        add_rows(ours, batch, threads);
        if (options_.layers && report_.layers.empty()) add_layers(ours.back(), theirs.back(), threads);
      }
    }
    return std::move(report_);
  }

 private:
  // Plans are made for a number of threads.
  void open_contests() {
    int64_t capacity = options_.prompt_tokens + options_.new_tokens;
    bool first = contests_.empty(), same = options_.versus.empty();
    if (first) {
      TensorMap samples = inputs_of(*model_.graph, options_, batches_[0], options_.prompt_tokens);
      for (const Arithmetic& arithmetic : arithmetics_) {
        if (progress_) progress_->update("planning", &arithmetic - arithmetics_.data(), int64_t(arithmetics_.size()));
        Contest contest{.arithmetic = arithmetic};
        try {
          contest.graph = graph_for(model_.graph, arithmetic, samples);
        } catch (const InvalidData& error) {
          if (!options_.precisions.empty()) throw;
          report_.needs_attention.push_back(cat(arithmetic.name, " is left out: ", error.what()));
          continue;
        }
        contest.model = open(contest.graph, arithmetic, true, capacity);
        if (!prepare(contest, samples)) continue;
        remark_roundings(contest);
        contest.versus_graph =
            same ? contest.graph : graph_for(versus_.graph, arithmetic, inputs_of(*versus_.graph, options_, batches_[0], options_.prompt_tokens));
        contests_.push_back(std::move(contest));
      }
      compare_outputs(samples);
    }
    for (Contest& contest : contests_) {
      if (!first) contest.model = open(contest.graph, contest.arithmetic, true, capacity);
      contest.versus = open(contest.versus_graph, contest.arithmetic, !same, capacity);
    }
  }

  // Whether the precision is worth timing.
  bool prepare(Contest& contest, const TensorMap& samples) {
    const Arithmetic& arithmetic = contest.arithmetic;
    Session& session = *contest.model.session;
    Bindings sizes = bind_symbols(*model_.graph, options_.dimensions, batches_[0], options_.prompt_tokens);
    auto lines = profile_of(session, 1, [&] { contest.outputs = run_on_samples(session, samples, sizes); });
    double share = arithmetic.own ? 1 : share_in(lines, *arithmetic.compute);
    contest.report = {.name = arithmetic.name, .own = arithmetic.own, .share = share};
    if (share > 0.995) return true;
    std::string part = cat(arithmetic.name, ": only ", double(std::lround(share * 1000)) / 10,
                           " % of the multiplications run in it, the others in f32, as no kernel takes them");
    bool left_out = options_.precisions.empty() && share < kMostOfTheModel;
    report_.needs_attention.push_back(cat(part, left_out ? cat("; left out (--precision ", arithmetic.name, " times it all the same)") : ""));
    return !left_out;
  }

  // A model that rounds what flows between its layers does so at any arithmetic.
  void remark_roundings(const Contest& contest) {
    const Arithmetic& arithmetic = contest.arithmetic;
    auto roundings = std::ranges::count_if(contest.graph->nodes(), [](const Node& node) { return node.op == Op::quantize; });
    if (arithmetic.own || arithmetic.compute == DType::kS8 || roundings == 0) return;
    report_.needs_attention.push_back(cat(arithmetic.name, ": ", roundings,
                                          " roundings (quantize nodes) are part of the model and stay, so its outputs are those of the rounded "
                                          "model; what rounding costs shows only beside the model that it was made from (lacuna verify)"));
  }

  void compare_outputs(const TensorMap& samples) {
    auto f32 = std::find_if(contests_.begin(), contests_.end(), [](auto& c) { return c.arithmetic.name == "f32"; });
    TensorMap wanted;
    if (f32 != contests_.end()) {
      wanted = f32->outputs;
    } else if (contests_.size() == 1 && contests_[0].arithmetic.own) {
      // Nobody asked for another precision.
    } else if (int64_t bytes = multiplied_weights(*model_.graph) * 4; bytes > kMostBytesUnasked) {
      report_.needs_attention.push_back(
          cat("outputs are not held against f32, whose weights would take ", bytes >> 20, " MiB more; add f32 to --precision to see the difference"));
    } else {
      Arithmetic plain{"f32", false, DType::kF32};
      Session session(graph_for(model_.graph, plain, samples), {.last_token_only = true, .compute = plain.compute});
      wanted = session.run(samples);
    }
    for (Contest& contest : contests_) {
      if (contest.arithmetic.name != "f32" && !wanted.empty()) contest.report.output_difference = output_difference(contest.outputs, wanted);
      contest.outputs.clear();
      report_.precisions.push_back(contest.report);
    }
  }

  void time(std::vector<Work>& ours, std::vector<Work>& theirs) {
    for (Contest& contest : contests_) {
      contest.model.session->reset(), contest.versus.session->reset();
      contest.times.assign(ours.size(), {});
    }
    int64_t total = int64_t(batches_.size() * threads_.size()) * options_.runs;
    for (int64_t run = -2; run < options_.runs; run++) {  // two warm-ups
      if (progress_) progress_->update("timing", done_ += run >= 0, total);
      for (size_t w = 0; w < ours.size(); w++)
        // Who goes first changes from round to round, so that a drifting clock favours nobody.
        for (size_t i = 0; i < contests_.size(); i++) {
          Contest& contest = contests_[(i + size_t(run + 2)) % contests_.size()];
          if (run == -2) contest.times[w].same_plan = runs_the_same(contest, ours[w], theirs[w]);
          double a, b;
          if (run % 2 == 0)
            a = warm_ms(ours[w], contest.model), b = warm_ms(theirs[w], contest.versus);
          else
            b = warm_ms(theirs[w], contest.versus), a = warm_ms(ours[w], contest.model);
          if (run < 0) continue;
          contest.times[w].model.push_back(a);
          contest.times[w].versus.push_back(b);
        }
    }
  }

  // Of a run right behind another of the same side, as a model that serves runs: the other side had its weights in the caches. Long runs read more
  // than caches hold.
  static double warm_ms(Work& work, Side& side) {
    constexpr double kLongMs = 50;
    const double first = work.time_ms(side);
    return first < kLongMs ? work.time_ms(side) : first;
  }

  // Ops without a fast path, where they take long: else only --layers shows them.
  void remark_reference(const Contest& contest, const std::vector<Session::ProfileLine>& lines) {
    double all = 0, slow = 0;
    std::map<std::string, double> by_op;
    for (auto& line : lines) {
      all += line.microseconds;
      if (line.kernel == "reference") slow += line.microseconds, by_op[line.op] += line.microseconds;
    }
    if (slow < 0.1 * all) return;
    auto slowest = std::max_element(by_op.begin(), by_op.end(), [](auto& a, auto& b) { return a.second < b.second; });
    std::string start = cat(contest.arithmetic.name, ": ops without a fast path, ");
    auto said = [&](const std::string& remark) { return remark.starts_with(start); };
    if (std::ranges::any_of(report_.needs_attention, said)) return;
    report_.needs_attention.push_back(
        cat(start, slowest->first, " above all, take about ", int64_t(100 * slow / all + 0.5), " % of a run (--layers shows them: reference)"));
  }

  bool runs_the_same(Contest& contest, const Work& ours, const Work& theirs) {
    Session &model = *contest.model.session, &versus = *contest.versus.session;
    auto lines = profile_of(model, 1, [&] { ours.time_ms(contest.model); });
    remark_reference(contest, lines);
    return same_plan(model, lines, versus, profile_of(versus, 1, [&] { theirs.time_ms(contest.versus); }));
  }

  static double median_ratio(const std::vector<double>& over, const std::vector<double>& under) {
    std::vector<double> ratios;
    for (size_t i = 0; i < over.size(); i++) ratios.push_back(over[i] / under[i]);
    return quantile(ratios, 0.5);
  }

  void add_rows(const std::vector<Work>& works, int64_t batch, int threads) {
    auto f32 = std::find_if(contests_.begin(), contests_.end(), [](auto& c) { return c.arithmetic.name == "f32"; });
    for (size_t w = 0; w < works.size(); w++)
      for (Contest& contest : contests_) {
        const auto& [times, other, same] = contest.times[w];
        BenchRow row{.precision = contest.arithmetic.name,
                     .phase = works[w].phase,
                     .batch = batch,
                     .threads = threads,
                     .tokens = works[w].tokens,
                     .past_tokens = works[w].past_tokens,
                     .same_plan = same};
        row.median_ms = quantile(times, 0.5), row.p90_ms = quantile(times, 0.9);
        row.versus_median_ms = quantile(other, 0.5), row.versus_p90_ms = quantile(other, 0.9);
        if (!same) row.speedup = median_ratio(other, times);
        if (f32 != contests_.end()) row.speedup_over_f32 = same && &contest == &*f32 ? 1 : median_ratio(f32->times[w].versus, times);
        row.items_per_second = works[w].items / row.median_ms * 1000;
        row.versus_items_per_second = works[w].items / row.versus_median_ms * 1000;
        report_.rows.push_back(row);
      }
    for (size_t i = 0; i < contests_.size(); i++) {
      report_.precisions[i].packed_bytes = contests_[i].model.session->packed_bytes();
      report_.precisions[i].versus_packed_bytes = contests_[i].versus.session->packed_bytes();
    }
  }

  void add_layers(const Work& ours, const Work& theirs, int threads) {
    for (Contest& contest : contests_) {
      Session &model = *contest.model.session, &versus = *contest.versus.session;
      auto lines = profile_of(model, kProfiledRuns, [&] { ours.time_ms(contest.model); });
      auto versus_lines = profile_of(versus, kProfiledRuns, [&] { theirs.time_ms(contest.versus); });
      for (BenchLayer& layer : layers_of(model, lines, versus, versus_lines, threads, machine_)) {
        layer.precision = contest.arithmetic.name, layer.phase = ours.phase;
        report_.layers.push_back(std::move(layer));
      }
    }
  }

  BenchOptions options_;
  Progress* progress_;
  Model model_, versus_;
  BenchReport report_;
  std::vector<int64_t> batches_;
  std::vector<int> threads_;
  std::vector<Arithmetic> arithmetics_;
  std::vector<Contest> contests_;
  MachineFigures machine_;
  int64_t done_ = 0;
};

}  // namespace

BenchReport bench(const std::filesystem::path& path, const BenchOptions& options, Progress* progress) {
  if (options.runs < 1) throw InvalidArgument(cat("--runs must be at least 1, got ", options.runs));
  if (options.prompt_tokens < 1 || options.new_tokens < 1) throw InvalidArgument("--prompt-tokens and --new-tokens must be at least 1");
  for (int t : options.threads) require_threads(t);
  struct Restore {
    int threads = thread_count();
    ~Restore() { set_thread_count(threads); }
  } restore;
  return Bench(path, options, progress).run();
}

}  // namespace lacuna
