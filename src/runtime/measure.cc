#include "runtime/measure.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "base/buffer.h"
#include "base/cat.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "kernels/coded_tokens.h"
#include "kernels/dispatch.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

using kernels::ConvKernel;
using kernels::ConvProblem;
using kernels::LinearKernel;
using kernels::LinearProblem;
using kernels::WeightMatrix;

// The rank of a kernel is right for most problems only; those far behind are not timed on, unless a later look says otherwise.
constexpr size_t kDenseCandidates = 4, kSparseCandidates = 8;
constexpr double kFarBehind = 2;
constexpr int kLaterLooks = 3;
constexpr double kLongLook = 10e3;  // microseconds that a later look may take
constexpr int kRounds = 5;
// While the two best times of the fastest differ by more, something disturbs: further rounds are added.
constexpr double kSteady = 1.05;
constexpr int kMostRounds = 15;

struct Measurement {
  std::string dense, sparse;  // kernel names; sparse may be empty
  double dense_us = 0, sparse_us = 0;
  int64_t dense_bytes = 0, sparse_bytes = 0;  // packed; 0 where a run finds the weights in its own caches
  int64_t at_seconds = 0;                     // when it was measured, or last held against what it took then; of the system's clock
  bool confirmed = false;                     // by a later process than the one that measured
};

// Of the time that the table says: above, the machine is busy now; below, it was busy then.
constexpr double kBusyNow = 1.1, kBusyThen = 0.87;
constexpr int kCheckRounds = 3;
constexpr int64_t kSpellSeconds = 600;  // what disturbed may do so for a while

int64_t seconds_now() { return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

bool settled(const Measurement& m) { return m.confirmed || std::abs(seconds_now() - m.at_seconds) < kSpellSeconds; }

std::filesystem::path cache_file() {
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  if (!(cache && *cache) && !(home && *home)) return {};
  std::string cpu = cpu_name();
  std::replace_if(
      cpu.begin(), cpu.end(), [](unsigned char c) { return !std::isalnum(c); }, '-');
  return (cache && *cache ? std::filesystem::path(cache) : std::filesystem::path(home) / ".cache") / "lacuna" / cat("plan-", cpu, ".json");
}

// The table of measurements. A cache file that cannot be read or written is as good as none.
class Table {
 public:
  std::optional<Measurement> find(const std::string& key) {
    std::lock_guard lock(mutex_);
    load();
    auto it = known_.find(key);
    return it == known_.end() ? std::nullopt : std::optional(it->second);
  }
  void add(const std::string& key, const Measurement& m) {
    std::lock_guard lock(mutex_);
    known_[key] = m;
    for (auto& [other, measured] : read()) known_.try_emplace(other, measured);  // of processes that ran meanwhile
    save();
  }
  void forget() {
    std::lock_guard lock(mutex_);
    known_.clear();
    loaded_ = true;
    std::error_code ignored;
    std::filesystem::remove(cache_file(), ignored);
  }

 private:
  void load() {
    if (!std::exchange(loaded_, true)) known_ = read();
  }
  static std::map<std::string, Measurement> read() {
    std::ifstream file(cache_file());
    if (!file) return {};
    nlohmann::json json = nlohmann::json::parse(file, nullptr, false);
    if (!json.is_object() || !json.contains("kernels") || !json.contains("build") || json["build"] != kernels::build_id()) return {};
    std::map<std::string, Measurement> out;
    for (auto& [key, m] : json["kernels"].items()) {
      try {
        out[key] = {m.at("dense").get<std::string>(),  m.at("sparse").get<std::string>(),  m.at("dense_us").get<double>(),
                    m.at("sparse_us").get<double>(),   m.at("dense_bytes").get<int64_t>(), m.at("sparse_bytes").get<int64_t>(),
                    m.at("at_seconds").get<int64_t>(), m.at("confirmed").get<bool>()};
      } catch (const nlohmann::json::exception&) {
      }
    }
    return out;
  }
  void save() const {
    std::filesystem::path path = cache_file();
    if (path.empty()) return;
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    nlohmann::json json = {{"build", kernels::build_id()}};
    for (auto& [key, m] : known_)
      json["kernels"][key] = {{"dense", m.dense},           {"sparse", m.sparse},           {"dense_us", m.dense_us},
                              {"sparse_us", m.sparse_us},   {"dense_bytes", m.dense_bytes}, {"sparse_bytes", m.sparse_bytes},
                              {"at_seconds", m.at_seconds}, {"confirmed", m.confirmed}};
    std::filesystem::path partial = path;
    partial += cat(".", getpid());
    std::ofstream(partial) << json.dump(1);
    std::filesystem::rename(partial, path, error);
  }

  std::mutex mutex_;
  bool loaded_ = false;
  std::map<std::string, Measurement> known_;
};

Table& table() {
  static Table instance;
  return instance;
}

// Where the weights of a problem lie when a model runs it: one that is small beside the caches may be where the run before left it; of others
// each run finds what the other layers' weights left. Kernels that read much look better than they are when their weights are nearer.
enum class WeightsFrom { kAnywhere, kL3, kMemory };

// A weight packed for a kernel.
struct Packed {
  std::function<void()> run;
  int64_t bytes;
};

// What is timed: kernels of one problem, on the same input.
template <class Kernel>
struct Timing {
  std::function<Packed(const Kernel&)> prepare;
  WeightsFrom from;
  double worthwhile;  // how much faster sparse must be
};

// What a core reads of them in a microsecond, on the machines of docs/performance.md.
double bytes_per_us(WeightsFrom from) { return from == WeightsFrom::kMemory ? 10e3 : 25e3; }

// Of a cache that many cores, and the guests of a host, share.
int64_t usable_l3() {
  constexpr int64_t kMost = 32 << 20;
  int64_t l3 = int64_t(cache_sizes().l3);
  return l3 > 0 ? std::min(l3, kMost) : kMost;
}

WeightsFrom weights_from(int64_t weights, int64_t model_weights, DType type) {
  auto bytes = [&](int64_t n) { return n * bits_of(type) / 8; };
  if (bytes(weights) < int64_t(cache_sizes().l2) / 8) return WeightsFrom::kAnywhere;
  return bytes(model_weights) > usable_l3() ? WeightsFrom::kMemory : WeightsFrom::kL3;
}

// Empties the caches.
class Forget {
 public:
  explicit Forget(WeightsFrom from) {
    // Every thread reads its part: twice its L2 cache at least.
    size_ = std::max<int64_t>(2 * thread_count() * int64_t(cache_sizes().l2), from == WeightsFrom::kMemory ? 2 * usable_l3() : 4 << 20);
    other_ = allocate(size_t(size_));
  }
  int64_t size() const { return size_; }
  void operator()() const {
    const volatile std::byte* other = other_.get();
    int64_t threads = thread_count(), lines = size_ / 64;
    parallel_for(threads, [&](int64_t i) {
      for (int64_t line = lines * i / threads; line < lines * (i + 1) / threads; line++)
        static_cast<void>(other[64 * line]);  // volatile: read all the same
    });
  }

 private:
  std::shared_ptr<std::byte[]> other_;
  int64_t size_;
};

// A kernel packed, to be timed.
class Run {
 public:
  template <class Kernel>
  Run(const Kernel& kernel, const Timing<Kernel>& timing) {
    Packed packed = timing.prepare(kernel);
    run_ = std::move(packed.run), bytes_ = packed.bytes, from_ = timing.from;
    if (from_ != WeightsFrom::kAnywhere) make_twin_ = [&] { return timing.prepare(kernel).run; };
    run_();
    look();
    look();
  }
  // Of weights that come from memory or L3, else 0.
  int64_t bytes() const { return from_ == WeightsFrom::kAnywhere ? 0 : bytes_; }
  // Of a run right after another: tells what is far behind.
  double at_once_us() const { return at_once_us_; }
  void look() { at_once_us_ = std::min(at_once_us_, timed()); }
  void drop() { run_ = nullptr; }
  // Of one run.
  double microseconds(const Forget& forget) {
    bool fits = bytes_ < forget.size();  // others leave the caches by themselves
    if (make_twin_ && fits && !twin_) twin_ = make_twin_();
    if (fits) forget();
    // The same with other weights, so that all but the weights is in the caches again, as it is within a model.
    if (twin_) twin_();
    return timed();
  }

 private:
  double timed() const {
    auto begin = std::chrono::steady_clock::now();
    auto elapsed = [&] { return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count(); };
    run_();
    int runs = 1;
    double us = elapsed();
    // Several in a row where one is too short for the clock and finds its weights where the one before left them anyway.
    constexpr double kLongEnough = 100;
    for (; us < kLongEnough && from_ == WeightsFrom::kAnywhere; us = elapsed()) run_(), runs++;
    return us / runs;
  }

  std::function<void()> run_, twin_;
  std::function<std::function<void()>()> make_twin_;  // where the weights are not where a run left them
  double at_once_us_ = 1e30;
  int64_t bytes_ = 0;
  WeightsFrom from_;
};

// Measured key: sparsity in steps of 5 %, so that weights of one kind share a measurement.
template <class Problem, class... Size>
std::string key_of(Problem problem, WeightsFrom from, Size... size) {
  problem.sparsity = std::round(problem.sparsity * 20) / 20;
  std::string_view place = from == WeightsFrom::kMemory ? " from=memory" : from == WeightsFrom::kL3 ? " from=l3" : "";
  return cat(problem.to_string(size...), place, " isa=", isa_summary(cpu_features()), " threads=", thread_count());
}

WeightsFrom weights_from(const LinearProblem& p, int64_t model_weights) { return weights_from(p.rows * p.cols, model_weights, p.weights); }
WeightsFrom weights_from(const ConvProblem& p, int64_t model_weights) {
  return weights_from(p.out_channels * p.in_channels / p.groups * p.kernel_h * p.kernel_w, model_weights, p.weights);
}

// A lower rank must be faster by more than the noise.
constexpr double kNoise = 0.97;

// Candidates in turns, so that a disturbance hits all; the smallest time counts.
template <class Kernel>
Measurement measure(std::span<const Kernel* const> candidates, const Timing<Kernel>& timing) {
  std::vector<Run> runs;
  for (const Kernel* kernel : candidates) runs.emplace_back(*kernel, timing);
  double at_once[2] = {1e30, 1e30};  // dense, sparse
  for (size_t i = 0; i < runs.size(); i++) {
    double& fastest = at_once[candidates[i]->sparse];
    fastest = std::min(fastest, runs[i].at_once_us());
  }
  auto behind_at_once = [&](size_t i) { return runs[i].at_once_us() > kFarBehind * at_once[candidates[i]->sparse]; };
  // What disturbed one may have passed when the others are done.
  for (int look = 0; look < kLaterLooks; look++)
    for (size_t i = 0; i < runs.size(); i++)
      if (behind_at_once(i) && runs[i].at_once_us() < kLongLook)
        runs[i].look(), at_once[candidates[i]->sparse] = std::min(at_once[candidates[i]->sparse], runs[i].at_once_us());
  for (size_t i = 0; i < runs.size(); i++)
    if (behind_at_once(i)) runs[i].drop();
  Forget forget(timing.from);
  std::vector<double> best(candidates.size(), 1e30), second(candidates.size(), 1e30);
  double best_of_kind[2] = {1e30, 1e30};  // dense, sparse
  auto disturbed = [&] {
    for (size_t i = 0; i < runs.size(); i++)
      if (best[i] == best_of_kind[candidates[i]->sparse] && second[i] > kSteady * best[i]) return true;
    return false;
  };
  for (int round = 0; round < kRounds || (round < kMostRounds && disturbed()); round++)
    for (size_t i = 0; i < runs.size(); i++) {
      double& fastest = best_of_kind[candidates[i]->sparse];
      if (behind_at_once(i) || (round > 1 && best[i] > kFarBehind * fastest)) continue;
      double us = runs[i].microseconds(forget);
      second[i] = std::min(second[i], std::max(us, best[i]));
      best[i] = std::min(best[i], us);
      fastest = std::min(fastest, best[i]);
    }
  Measurement m{.at_seconds = seconds_now()};
  for (size_t i = 0; i < candidates.size(); i++) {
    auto& name = candidates[i]->sparse ? m.sparse : m.dense;
    auto& us = candidates[i]->sparse ? m.sparse_us : m.dense_us;
    auto& bytes = candidates[i]->sparse ? m.sparse_bytes : m.dense_bytes;
    if (name.empty() || best[i] < us * kNoise) name = candidates[i]->name, us = best[i], bytes = runs[i].bytes();
  }
  return m;
}

template <class Kernel, class Accepts>
std::vector<const Kernel*> candidates_of(std::span<const Kernel> kernels, Accepts&& accepts) {
  std::vector<const Kernel*> out;
  size_t dense = 0, sparse = 0;
  for (const Kernel& kernel : kernels) {
    if (!accepts(kernel)) continue;
    // The reference kernel, last of all, is a candidate only if there is no other.
    if (&kernel == &kernels.back() && dense > 0) continue;
    if (kernel.sparse ? sparse++ < kSparseCandidates : dense++ < kDenseCandidates) out.push_back(&kernel);
  }
  return out;
}

// How much longer sparse may take for the bytes it saves. From L3: ResNet-50's convolutions under bitmasks take up to 4 % longer each and the
// model 5 % less; MiniLM's linear layers gained nothing so.
template <class Kernel>
double most_lost(WeightsFrom from) {
  if (from == WeightsFrom::kMemory) return 1.1;
  return std::is_same_v<Kernel, ConvKernel> ? 1.05 : 1.0;
}

template <class Kernel>
Choice<Kernel> decide(const Measurement& m, const Kernel& (*named)(std::string_view), WeightsFrom from, double worthwhile) {
  auto ratio = [](double r) { return cat(double(int64_t(r * 100 + 0.5)) / 100, "x"); };
  auto choice = [&](const std::string& kernel, std::string reason) {
    return Choice<Kernel>{&named(kernel), std::move(reason), m.dense, m.sparse, m.dense_us, m.sparse_us};
  };
  if (m.dense.empty()) return choice(m.sparse, "no dense kernel takes this problem");
  if (m.sparse.empty()) return choice(m.dense, "dense: no sparse kernel takes this problem");
  double speedup = m.dense_us / m.sparse_us;
  if (speedup >= worthwhile) return choice(m.sparse, cat("sparse ", ratio(speedup), " as fast as dense (measured)"));
  if (bytes_pay(m.dense_us, m.sparse_us, double(m.dense_bytes - m.sparse_bytes) / (bytes_per_us(from) * thread_count()), worthwhile,
                most_lost<Kernel>(from)))
    return choice(m.sparse,
                  cat("sparse ", ratio(speedup), " as fast as dense (measured), and ", ratio(double(m.dense_bytes) / double(m.sparse_bytes)),
                      " smaller where weights come from ", from == WeightsFrom::kMemory ? "memory" : "L3"));
  return choice(m.dense, cat("dense: sparse is only ", ratio(speedup), " as fast (measured)"));
}

template <class Kernel>
Choice<Kernel> by_table(const Kernel& kernel, const std::string& pattern, double sparsity) {
  if (kernel.sparse) return {&kernel, cat("sparse: ", sparsity, " zeros are above the break-even of ", kernel.break_even, " (static table)"), {}, {}};
  return {&kernel, pattern == "dense" ? "dense weight" : cat("dense: no sparse kernel pays at ", sparsity, " zeros (static table)"), {}, {}};
}

template <class Kernel>
Choice<Kernel> the_only_one(const Kernel& kernel, const std::string& pattern) {
  return {&kernel, pattern == "dense" ? "dense weight" : "the only kernel that takes this problem", {}, {}};
}

std::vector<float> random_values(int64_t n) {
  Rng rng(1);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = float(rng.uniform() * 2 - 1);
  return values;
}

// One line per candidate that cannot take the problem.
template <class Kernel, class Refusal>
void trace_refusals(std::span<const Kernel> kernels, const std::string& problem, Refusal&& refusal) {
  if (!kernels::traces_dispatch()) return;
  for (const Kernel& kernel : kernels)
    if (auto reason = refusal(kernel)) kernels::trace_dispatch(cat("dispatch: ", problem, ": ", kernel.name, " refused: ", *reason));
}

template <class Kernel>
bool still_known(std::span<const Kernel> kernels, const Measurement& m) {
  auto has = [&](const std::string& name) {
    return name.empty() || std::any_of(kernels.begin(), kernels.end(), [&](auto& k) { return k.name == name; });
  };
  return has(m.dense) && has(m.sparse);
}

std::span<const LinearKernel> all(const LinearKernel*) { return kernels::linear_kernels(); }
std::span<const ConvKernel> all(const ConvKernel*) { return kernels::conv_kernels(); }

template <class Kernel>
std::optional<Measurement> find(const std::string& key) {
  auto known = table().find(key);
  return known && still_known(all(static_cast<Kernel*>(nullptr)), *known) ? known : std::nullopt;
}

// Whether what was measured a while ago holds; says so in the table.
template <class Kernel>
bool holds(const std::string& key, Measurement m, const Kernel& chosen, const Timing<Kernel>& timing) {
  Run run(chosen, timing);
  Forget forget(timing.from);
  double then = chosen.name == m.sparse ? m.sparse_us : m.dense_us, now = 1e30;
  for (int round = 0; round < kCheckRounds; round++) now = std::min(now, run.microseconds(forget));
  if (now < kBusyThen * then) return false;
  m.at_seconds = seconds_now(), m.confirmed = now <= kBusyNow * then;
  table().add(key, m);
  return true;
}

// From the table, or else measured.
template <class Kernel>
Choice<Kernel> choose(const std::string& key, const std::string& pattern, std::span<const Kernel* const> candidates,
                      const Kernel& (*named)(std::string_view), const Timing<Kernel>& timing) {
  if (auto known = find<Kernel>(key)) {
    Choice<Kernel> choice = decide<Kernel>(*known, named, timing.from, timing.worthwhile);
    if (settled(*known) || holds(key, *known, *choice.kernel, timing)) return choice;
  }
  if (candidates.size() == 1) return the_only_one(*candidates[0], pattern);
  Measurement measured = measure<Kernel>(candidates, timing);
  table().add(key, measured);
  return decide<Kernel>(measured, named, timing.from, timing.worthwhile);
}

template <class Kernel>
std::optional<Choice<Kernel>> known_without_timing(const std::string& key, const Kernel& (*named)(std::string_view), WeightsFrom from,
                                                   double worthwhile) {
  auto known = find<Kernel>(key);
  if (!known || !settled(*known)) return std::nullopt;
  return decide<Kernel>(*known, named, from, worthwhile);
}

}  // namespace

bool bytes_pay(double dense_us, double sparse_us, double saved_us, double worthwhile, double most_lost) {
  return saved_us > 0 && sparse_us <= most_lost * dense_us && sparse_us * worthwhile < dense_us + saved_us;
}

int64_t tokens_class(int64_t tokens) { return int64_t(std::min<uint64_t>(512, std::bit_ceil(uint64_t(std::max<int64_t>(1, tokens))))); }

int64_t multiplied_weights(const Graph& graph) {
  std::set<WeightId> seen;
  int64_t total = 0;
  for (const Node& node : graph.nodes()) {
    if ((node.op != Op::linear && node.op != Op::conv) || !graph.weight_of(node.inputs[1])) continue;
    if (seen.insert(graph.value(node.inputs[1]).weight).second) total += graph.weight_of(node.inputs[1])->size();
  }
  return total;
}

std::string fastest_way(std::string key, std::span<const Way> ways) {
  constexpr int kLooks = 4;
  constexpr double kEnough = 2e6;  // microseconds, of all together
  key = cat(key, " isa=", isa_summary(cpu_features()), " threads=", thread_count());
  auto known = table().find(key);
  if (known && std::none_of(ways.begin(), ways.end(), [&](const Way& way) { return way.name == known->dense; })) known.reset();
  if (known && settled(*known)) return known->dense;
  std::vector<double> best(ways.size(), 1e30);
  double spent = 0;
  for (int look = 0; look < 2 || (look < kLooks && spent < kEnough); look++)
    for (size_t i = 0; i < ways.size(); i++) {
      auto begin = std::chrono::steady_clock::now();
      ways[i].run();
      double us = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
      spent += us;
      if (look > 0) best[i] = std::min(best[i], us);  // the first one finds cold caches
    }
  size_t fastest = size_t(std::min_element(best.begin(), best.end()) - best.begin());
  table().add(key, {.dense = ways[fastest].name, .dense_us = best[fastest], .at_seconds = seconds_now(), .confirmed = known.has_value()});
  return ways[fastest].name;
}

void forget_measurements() { table().forget(); }

Choice<LinearKernel> static_choice(const LinearProblem& problem, int64_t tokens) {
  return by_table(kernels::first_accepting(problem, tokens), problem.pattern, problem.sparsity);
}
Choice<ConvKernel> static_choice(const ConvProblem& problem, bool codes) {
  return by_table(kernels::first_accepting(problem, codes), problem.pattern, problem.sparsity);
}

std::optional<Choice<LinearKernel>> known_choice(const LinearProblem& problem, int64_t tokens, int64_t model_weights) {
  WeightsFrom from = weights_from(problem, model_weights);
  return known_without_timing<LinearKernel>(key_of(problem, from, tokens), kernels::linear_kernel_named, from, kWorthwhile);
}
std::optional<Choice<ConvKernel>> known_choice(const ConvProblem& problem, int64_t batch, int64_t in_h, int64_t in_w, int64_t model_weights) {
  WeightsFrom from = weights_from(problem, model_weights);
  return known_without_timing<ConvKernel>(key_of(problem, from, batch, in_h, in_w), kernels::conv_kernel_named, from, kWorthwhileConv);
}

Choice<LinearKernel> measured_choice(const LinearProblem& problem, const WeightMatrix& weight, int64_t tokens, int64_t model_weights) {
  WeightsFrom from = weights_from(problem, model_weights);
  auto refusal = [&](const LinearKernel& kernel) { return kernel.accepts(problem, tokens, cpu_features()); };
  trace_refusals(kernels::linear_kernels(), problem.to_string(tokens), refusal);
  std::vector<float> x, y;
  std::shared_ptr<std::byte[]> coded;
  auto prepare = [&](const LinearKernel& kernel) -> Packed {
    if (x.empty()) x = random_values(tokens * weight.cols), y.resize(size_t(tokens * weight.rows));
    std::shared_ptr<kernels::PackedLinear> packed = kernel.pack(problem, weight);
    if (!packed->reads_codes()) return {[&, packed] { packed->run(x.data(), weight.cols, tokens, y.data(), weight.rows, {}); }, packed->size_bytes()};
    // In a model whoever makes the input codes it, mostly once for several readers.
    bool fresh = !coded;
    if (fresh) coded = allocate(size_t(kernels::coded_tokens_bytes(tokens, weight.cols)));
    kernels::CodedTokens codes = kernels::coded_tokens(coded.get(), tokens, weight.cols);
    if (fresh) kernels::code_tokens(x.data(), weight.cols, {.scale = problem.input_scale, .zero = problem.input_zero}, false, codes);
    return {[&, codes, packed] { packed->run_codes(codes, y.data(), weight.rows, {}); }, packed->size_bytes()};
  };
  return choose<LinearKernel>(key_of(problem, from, tokens), problem.pattern, candidates_of(kernels::linear_kernels(), std::not_fn(refusal)),
                              kernels::linear_kernel_named, {prepare, from, kWorthwhile});
}

Choice<ConvKernel> measured_choice(const ConvProblem& problem, const WeightMatrix& weight, int64_t batch, int64_t in_h, int64_t in_w,
                                   int64_t model_weights, ConvValues values) {
  WeightsFrom from = weights_from(problem, model_weights);
  const bool codes = values == ConvValues::kCodes, depthwise = problem.groups > 1 && problem.groups == problem.in_channels;
  const bool planes = values == ConvValues::kPlanes && depthwise;
  auto refusal = [&](const ConvKernel& kernel) { return kernels::refusal(kernel, problem, codes); };
  trace_refusals(kernels::conv_kernels(), problem.to_string(batch, in_h, in_w), refusal);
  // Channels rounded up to the largest block.
  auto rounded = [](int64_t channels) { return (channels + 15) / 16 * 16; };
  std::vector<float> x, y;
  std::vector<int8_t> x_codes, y_codes;
  auto prepare = [&](const ConvKernel& kernel) -> Packed {
    if (x.empty()) {
      x = random_values(batch * rounded(problem.in_channels) * in_h * in_w);
      y.resize(size_t(batch * rounded(problem.out_channels) * problem.out_h(in_h) * problem.out_w(in_w)));
      for (size_t i = 0; codes && i < x.size(); i++) x_codes.push_back(int8_t(x[i] * 127));
      x_codes.resize(x_codes.size() + kernels::kCodesSpare), y_codes.resize(y.size());
    }
    std::shared_ptr<kernels::PackedConv> packed = kernel.pack(problem, weight);
    auto run_codes = [&, packed] { packed->run_codes({.x = x_codes.data(), .y = y_codes.data(), .y_scale = 1}, batch, in_h, in_w); };
    auto run = [&, packed, planes] {
      planes ? packed->run(x.data(), batch, in_h, in_w, y.data(), {}) : packed->run_blocked(x.data(), batch, in_h, in_w, y.data(), {});
    };
    return {codes ? std::function<void()>(run_codes) : run, packed->size_bytes()};
  };
  std::string_view kind = codes ? "codes " : planes ? "planes " : "";
  return choose<ConvKernel>(cat(kind, key_of(problem, from, batch, in_h, in_w)), problem.pattern,
                            candidates_of(kernels::conv_kernels(), std::not_fn(refusal)), kernels::conv_kernel_named,
                            {prepare, from, values == ConvValues::kFloats ? kWorthwhileConv : kWorthwhile});
}

}  // namespace lacuna
