// How a problem is timed.
// 1. Seeded weight and input; the reference computes a sample of the tokens (all, if they are few); each candidate must agree.
// 2. Three quick rounds drop contenders that are far behind.
// 3. `runs` rounds; in each, every contender is timed once over as many repetitions as fill a millisecond. A ratio is taken within a
//    round, so that drift of the machine cancels.
// oneDNN and OpenBLAS spin after their work; with more than one thread a pause follows them, or they would take our workers' cores.
#include "kernels/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <numeric>
#include <thread>

#include "base/buffer.h"
#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/cases.h"
#include "kernels/contender.h"
#include "kernels/floor.h"
#include "kernels/smtx.h"
#include "lacuna/error.h"
#include "sparse/pattern.h"

namespace lacuna::kernels {
namespace {

constexpr double kBatchSeconds = 1e-3;     // one timing
constexpr double kFarBehind = 2.0;         // dropped after the quick rounds
constexpr int64_t kLargeWeight = 1 << 26;  // takes seconds to pack: then the best-ranked candidates of each kind only
constexpr int kCandidatesOfLarge = 3;
constexpr double kWrongFloat = 1e-4, kWrongInteger = 1e-5;

double now_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t n = values.size();
  return n == 0 ? 0 : n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double smallest(const std::vector<double>& values) { return values.empty() ? 0 : *std::min_element(values.begin(), values.end()); }

double half_quartile_distance(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : (values[values.size() * 3 / 4] - values[values.size() / 4]) / 2;
}

// Aligned as tensors are.
class Buffer {
 public:
  explicit Buffer(std::span<const float> values) : tensor_(Tensor::of<float>({int64_t(values.size())}, values)) {}
  float* data() { return tensor_.mutable_data<float>().data(); }
  std::span<const float> values() const { return tensor_.data<float>(); }

 private:
  Tensor tensor_;
};

struct Entrant {
  KernelTiming timing;
  std::function<void()> run;
  std::shared_ptr<const void> packed;  // keeps what run refers to
  std::vector<double> seconds;         // one per round
};

// ------------------------------------------------------------------------------------------------ the field

struct Field {
  std::string problem;
  std::vector<Entrant> entrants;
  std::vector<std::string> refusals;
  double sparsity = 0;
};

double relative_error_of(std::span<const float> found, std::span<const float> wanted) {
  double largest = 0, difference = 0;
  for (size_t i = 0; i < found.size(); i++) {
    largest = std::max(largest, double(std::fabs(wanted[i])));
    double d = std::fabs(double(found[i]) - double(wanted[i]));
    difference = std::isnan(d) ? INFINITY : std::max(difference, d);
  }
  return largest > 0 ? difference / largest : difference;
}

void check(const KernelTiming& timing, bool integer, const std::string& problem) {
  if (timing.max_error > (integer ? kWrongInteger : kWrongFloat))
    throw Unsupported(cat(timing.name, " is wrong on '", problem, "': relative error ", timing.max_error, " against the reference"));
}

void add_contenders(Field& field, std::vector<Contender> contenders) {
  for (Contender& contender : contenders) {
    Entrant entrant;
    entrant.timing.name = contender.name, entrant.timing.ours = false;
    entrant.run = std::move(contender.run);
    field.entrants.push_back(std::move(entrant));
  }
}

Field field_of(LinearCase& c, const KernelBenchOptions& options, int threads) {
  Field field;
  Mask mask;
  LinearProblem& problem = c.problem;
  if (!c.mask_file.empty()) {
    mask = parse_smtx(read_text_file(c.mask_file), c.mask_file);
    problem.rows = mask.rows(), problem.cols = mask.cols(), problem.sparsity = mask.sparsity();
  }
  WeightCase weight;
  fill_weight(weight, problem, options.seed, c.mask_file.empty() ? nullptr : &mask);
  if (problem.pattern.find(':') != std::string::npos && !problem.pattern.starts_with("block"))
    problem.sparsity = weight.mask.sparsity();  // N:M fixes it
  field.problem = cat(problem.to_string(c.tokens), c.mask_file.empty() ? "" : " pattern=" + std::filesystem::path(c.mask_file).filename().string());
  field.sparsity = weight.dense ? 0 : weight.mask.sparsity();
  problem.sparsity = field.sparsity;

  auto x = std::make_shared<Buffer>(random_floats(c.tokens * problem.cols, options.seed));
  auto y = std::make_shared<Buffer>(std::vector<float>(size_t(c.tokens * problem.rows)));
  constexpr int64_t kSample = 8;
  std::vector<int64_t> sample;
  for (int64_t i = 0; i < std::min(kSample, c.tokens); i++)
    sample.push_back(i * (c.tokens - 1) / std::max<int64_t>(std::min(kSample, c.tokens) - 1, 1));
  std::vector<float> sample_x, wanted(sample.size() * size_t(problem.rows));
  for (int64_t t : sample) sample_x.insert(sample_x.end(), x->data() + t * problem.cols, x->data() + (t + 1) * problem.cols);
  const LinearKernel& reference = linear_kernel_named("reference::linear");
  reference.pack(problem, weight.matrix())->run(sample_x.data(), problem.cols, int64_t(sample.size()), wanted.data(), problem.rows, {});

  int of_kind[2] = {};  // dense, sparse
  for (const LinearKernel& kernel : linear_kernels()) {
    if (kernel.name == reference.name && options.candidate != reference.name && !field.entrants.empty()) continue;  // it is the last
    if (auto reason = kernel.accepts(problem, c.tokens, cpu_features())) {
      field.refusals.push_back(cat(kernel.name, ": ", *reason));
      continue;
    }
    bool large = problem.rows * problem.cols >= kLargeWeight;
    if (kernel.name != options.candidate && large && of_kind[kernel.sparse]++ >= kCandidatesOfLarge) {
      field.refusals.push_back(cat(kernel.name, ": left out, because the weight is large and ", kCandidatesOfLarge, " of better rank take it"));
      continue;
    }
    std::shared_ptr<PackedLinear> packed = kernel.pack(problem, weight.matrix());
    Entrant entrant;
    entrant.timing = {.name = std::string(kernel.name), .sparse = kernel.sparse, .ours = true, .bytes = packed->size_bytes()};
    entrant.run = [packed, x, y, cols = problem.cols, rows = problem.rows, tokens = c.tokens] {
      packed->run(x->data(), cols, tokens, y->data(), rows, {});
    };
    entrant.run();
    std::vector<float> found;
    for (int64_t t : sample) found.insert(found.end(), y->data() + t * problem.rows, y->data() + (t + 1) * problem.rows);
    entrant.timing.max_error = relative_error_of(found, wanted);
    check(entrant.timing, problem.activations == DType::kS8, field.problem);
    field.entrants.push_back(std::move(entrant));
  }
  add_contenders(field, onednn_contenders(c, threads));
  add_contenders(field, openblas_contenders(c, threads));
  return field;
}

// x [batch, channels, h, w] as the codes that convolutions read, with what may be read behind them.
std::vector<int8_t> pixel_codes(std::span<const float> x, const ConvCase& c) {
  const ConvProblem& p = c.problem;
  std::vector<int8_t> codes(x.size() + size_t(kCodesSpare));
  int64_t pixels = c.in_h * c.in_w;
  for (int64_t i = 0; i < int64_t(x.size()); i++) {
    int64_t image = i / (p.in_channels * pixels), channel = i / pixels % p.in_channels, pixel = i % pixels;
    float code = std::nearbyint(x[size_t(i)] / p.input_scale) + float(p.input_zero);
    codes[size_t((image * pixels + pixel) * p.in_channels + channel)] = int8_t(std::clamp(code, -128.0f, 127.0f));
  }
  return codes;
}

// A kernel from codes to codes, which is how models run it; checked by the floats that it can give too.
void take_codes(Entrant& entrant, std::shared_ptr<PackedConv> packed, const ConvCase& c, std::span<const float> x, std::span<float> y) {
  auto codes = std::make_shared<std::vector<int8_t>>(pixel_codes(x, c));
  packed->run_codes({.x = codes->data(), .y_floats = y.data()}, c.batch, c.in_h, c.in_w);
  auto out = std::make_shared<std::vector<int8_t>>(y.size());
  entrant.run = [packed, codes, out, batch = c.batch, in_h = c.in_h, in_w = c.in_w] {
    packed->run_codes({.x = codes->data(), .y = out->data(), .y_scale = 1}, batch, in_h, in_w);
  };
}

Field field_of(ConvCase& c, const KernelBenchOptions& options, int threads) {
  Field field;
  ConvProblem& problem = c.problem;
  WeightCase weight;
  fill_weight(weight, problem, options.seed);
  int64_t pixels = problem.out_h(c.in_h) * problem.out_w(c.in_w);
  field.sparsity = weight.dense ? 0 : weight.mask.sparsity();
  field.problem = problem.to_string(c.batch, c.in_h, c.in_w);
  problem.sparsity = field.sparsity;

  auto x = std::make_shared<Buffer>(random_floats(c.batch * problem.in_channels * c.in_h * c.in_w, options.seed));
  auto y = std::make_shared<Buffer>(std::vector<float>(size_t(c.batch * problem.out_channels * pixels)));
  std::vector<float> wanted(std::min<size_t>(y->values().size(), size_t(problem.out_channels * pixels)));  // the first image
  const ConvKernel& reference = conv_kernel_named("reference::conv");
  reference.pack(problem, weight.matrix())->run(x->data(), std::min<int64_t>(c.batch, 1), c.in_h, c.in_w, wanted.data(), {});

  for (const ConvKernel& kernel : conv_kernels()) {
    if (kernel.name == reference.name && options.candidate != reference.name && !field.entrants.empty()) continue;  // it is the last
    if (auto reason = kernel.accepts(problem, cpu_features())) {
      field.refusals.push_back(cat(kernel.name, ": ", *reason));
      continue;
    }
    std::shared_ptr<PackedConv> packed = kernel.pack(problem, weight.matrix());
    Entrant entrant;
    entrant.timing = {.name = std::string(kernel.name), .sparse = kernel.sparse, .ours = true, .bytes = packed->size_bytes()};
    if (kernel.codes) {
      take_codes(entrant, packed, c, x->values(), {y->data(), y->values().size()});
    } else {
      entrant.run = [packed, x, y, c] { packed->run(x->data(), c.batch, c.in_h, c.in_w, y->data(), {}); };
      entrant.run();
    }
    entrant.timing.max_error = relative_error_of(y->values().first(wanted.size()), wanted);
    check(entrant.timing, problem.activations == DType::kS8, field.problem);
    field.entrants.push_back(std::move(entrant));
  }
  add_contenders(field, onednn_contenders(c, threads));
  return field;
}

// ------------------------------------------------------------------------------------------------ timing

void rest_after(const Entrant& entrant, int threads) {
  if (!entrant.timing.ours && threads > 1) std::this_thread::sleep_for(std::chrono::milliseconds(15));
}

void time_once(Entrant& entrant, int threads) {
  entrant.run();  // wakes threads, warms caches
  double start = now_seconds();
  entrant.run();
  double single = now_seconds() - start;
  if (single < kBatchSeconds) {
    int64_t repetitions = std::clamp<int64_t>(int64_t(kBatchSeconds / std::max(single, 1e-9)), 1, 10000);
    start = now_seconds();
    for (int64_t i = 0; i < repetitions; i++) entrant.run();
    single = (now_seconds() - start) / double(repetitions);
  }
  entrant.seconds.push_back(single);
  rest_after(entrant, threads);
}

void time_rounds(std::vector<Entrant>& entrants, int rounds, int threads) {
  for (int round = 0; round < rounds; round++)
    for (size_t i = 0; i < entrants.size(); i++) time_once(entrants[(i + size_t(round)) % entrants.size()], threads);
}

constexpr int64_t kFewTokens = 8;

// Keeps whatever is not far behind the best of its kind, the wanted kernel, and the best of each kind of ours and of others.
void drop_far_behind(std::vector<Entrant>& entrants, const std::string& wanted_kernel) {
  double best[2][2] = {{INFINITY, INFINITY}, {INFINITY, INFINITY}};  // [sparse][ours]
  for (const Entrant& e : entrants) {
    double& of_kind = best[e.timing.sparse][e.timing.ours];
    of_kind = std::min(of_kind, smallest(e.seconds));
  }
  std::erase_if(entrants, [&](const Entrant& e) {
    double seconds = smallest(e.seconds), *of_kind = best[e.timing.sparse];
    bool kept = e.timing.name == wanted_kernel || seconds == of_kind[e.timing.ours] || seconds <= kFarBehind * std::min(of_kind[0], of_kind[1]);
    return !kept;
  });
  for (Entrant& e : entrants) e.seconds.clear();
}

const Entrant& reported(const std::vector<Entrant>& entrants, const KernelBenchOptions& options, const Field& field) {
  const Entrant* best = nullptr;
  bool any_sparse = std::any_of(entrants.begin(), entrants.end(), [](const Entrant& e) { return e.timing.sparse; });
  for (const Entrant& e : entrants) {
    if (!options.candidate.empty() ? e.timing.name != options.candidate : !e.timing.ours || e.timing.sparse != any_sparse) continue;
    if (!best || e.timing.median_us < best->timing.median_us) best = &e;
  }
  if (best) return *best;
  std::vector<std::string> names;
  for (const Entrant& e : entrants) names.push_back(e.timing.name);
  for (const std::string& refusal : field.refusals)
    if (refusal.starts_with(options.candidate + ": ")) throw InvalidArgument(cat("kernel ", refusal));
  throw InvalidArgument(cat("no kernel '", options.candidate, "' for '", field.problem, "'; there are: ", join(names, ", ")));
}

// N:M patterns say themselves how many zeros there are; weights that happen to have more are problems of their own, so that a little more is no
// mistake.
void check_sparsity(std::string_view text, const std::string& pattern, double sparsity) {
  constexpr double kMore = 0.05;
  std::optional<double> fixed =
      pattern == "dense" || text.find("sparsity=") == std::string_view::npos ? std::nullopt : parse_pattern(pattern)->fixed_sparsity();
  if (fixed && !(sparsity >= *fixed - 0.001 && sparsity <= *fixed + kMore))
    throw InvalidArgument(cat("problem '", text, "': pattern ", pattern, " has ", *fixed, " zeros, found sparsity=", sparsity));
}

}  // namespace

KernelReport bench_kernel(std::string_view text, const KernelBenchOptions& options) {
  auto parsed = parse_problem(text);
  std::visit([&](const auto& c) { check_sparsity(text, c.problem.pattern, c.problem.sparsity); }, parsed);
  if (options.runs < 1 || options.threads < 0)
    throw InvalidArgument(
        cat("found runs=", options.runs, " threads=", options.threads, ", wanted at least one run and no negative number of threads"));
  int threads_before = thread_count(), threads = options.threads > 0 ? options.threads : threads_before;
  struct Restore {
    int threads;
    ~Restore() { set_thread_count(threads); }
  } restore{threads_before};
  set_thread_count(threads);

  Field field = std::visit([&](auto& c) { return field_of(c, options, threads); }, parsed);  // makes the sparsity that of the mask
  time_rounds(field.entrants, 3, threads);
  drop_far_behind(field.entrants, options.candidate);
  time_rounds(field.entrants, options.runs, threads);
  for (Entrant& e : field.entrants) {
    e.timing.median_us = median(e.seconds) * 1e6, e.timing.best_us = smallest(e.seconds) * 1e6;
    e.timing.spread_us = half_quartile_distance(e.seconds) * 1e6;
  }
  std::stable_sort(field.entrants.begin(), field.entrants.end(),
                   [](const Entrant& a, const Entrant& b) { return a.timing.median_us < b.timing.median_us; });

  const Entrant& chosen = reported(field.entrants, options, field);
  KernelReport result = {.problem = field.problem, .cpu = cpu_name(), .kernel = chosen.timing.name, .threads = threads, .runs = options.runs};
  result.isa = isa_of(result.kernel);
  result.sparsity = field.sparsity;
  result.median_us = chosen.timing.median_us, result.spread_us = chosen.timing.spread_us, result.best_us = chosen.timing.best_us;
  result.max_error = chosen.timing.max_error, result.bytes = chosen.timing.bytes;
  auto ratio_to_chosen = [&](const Entrant& e) {
    std::vector<double> ratios;
    for (size_t i = 0; i < e.seconds.size(); i++) ratios.push_back(e.seconds[i] / chosen.seconds[i]);
    return median(ratios);
  };
  const Entrant *library = nullptr, *own = nullptr;  // the fastest dense ones: entrants are sorted
  for (const Entrant& e : field.entrants)
    if (const Entrant*& first = e.timing.ours ? own : library; !e.timing.sparse && &e != &chosen && !first) first = &e;
  // With few tokens, and for types that no library takes, our own dense kernel is the one to beat.
  bool few_tokens = std::holds_alternative<LinearCase>(parsed) && std::get<LinearCase>(parsed).tokens <= kFewTokens;
  const Entrant* dense = !library || (few_tokens && own && own->timing.median_us < library->timing.median_us) ? own : library;
  if (dense) {
    result.dense_library = dense->timing.name, result.dense_median_us = dense->timing.median_us, result.dense_best_us = dense->timing.best_us;
    result.speedup = ratio_to_chosen(*dense);
  }
  if (own)
    result.own_dense = own->timing.name, result.own_dense_median_us = own->timing.median_us, result.speedup_over_own_dense = ratio_to_chosen(*own);
  Demand demand = std::visit([&](const auto& c) { return demand_of(c, result.kernel); }, parsed);
  double bandwidth = measure_read_gb_s(std::max<int64_t>(result.bytes, 4096), threads);
  result.floor_us = floor_us(demand, result.bytes, bandwidth, bandwidth, measure_peak_gop_s(demand.peak, threads));
  result.floor_share = result.median_us > 0 ? result.floor_us / result.median_us : 0;
  for (const Entrant& e : field.entrants) result.all.push_back(e.timing);
  result.refusals = std::move(field.refusals);
  return result;
}

}  // namespace lacuna::kernels
