#include "lacuna/bench.h"

#include <algorithm>

#include "cli/bench_kernel.h"
#include "cli/cli.h"

namespace lacuna::cli {
namespace {

// The beginning and the end of a name too long for its column.
std::string shortened(const std::string& name, size_t most) {
  return name.size() <= most ? name : name.substr(0, most / 2 - 1) + ".." + name.substr(name.size() - (most - most / 2 - 1));
}

void print_layers(const BenchReport& r, const std::string& precision) {
  const BenchLayer* first = nullptr;
  Table table({"<node", "<op", "<format", "packed", "us", "of floor", "against us", "gain", "<kernel"});
  for (auto& l : r.layers) {
    if (l.precision != precision) continue;
    if (!first) first = &l;
    bool product = !l.problem.empty();
    table.add({shortened(l.node, 36), l.op, l.format, product ? bytes_text(l.packed_bytes) : "", fixed(l.microseconds, 1),
               product ? percent(l.floor_share, 0) : "", fixed(l.versus_microseconds, 1), l.measured_gain ? fixed(*l.measured_gain, 2) + "x" : "",
               l.kernel});
  }
  if (!first) return;
  std::printf("\n%s, %s:\n", precision.c_str(), first->phase.c_str());
  table.print();
}

// What the column means, by phase.
std::string tokens_text(const BenchReport& r) {
  auto decode = std::find_if(r.rows.begin(), r.rows.end(), [](auto& row) { return row.past_tokens > 0; });
  if (decode == r.rows.end()) return "of each sequence (--prompt-tokens, where the model leaves them open)";
  return "of each sequence, read at once (--prompt-tokens) or decoded one after another behind " + std::to_string(decode->past_tokens) +
         " (--new-tokens)";
}

void print(const BenchReport& r) {
  std::string inputs;
  for (auto& [name, shape] : r.inputs) inputs += (inputs.empty() ? "" : ", ") + name + " " + shape_text(shape);
  std::printf("%s against %s\ninputs: %s\n%s, %s\n\n", r.model.c_str(), r.versus.c_str(), inputs.c_str(), r.cpu.c_str(), r.isa.c_str());
  bool f32 = std::any_of(r.rows.begin(), r.rows.end(), [](auto& row) { return row.speedup_over_f32.has_value(); });
  bool tokens = std::any_of(r.rows.begin(), r.rows.end(), [](auto& row) { return row.tokens > 0; });
  bool same = std::any_of(r.rows.begin(), r.rows.end(), [](auto& row) { return row.same_plan; });
  std::vector<std::string> header = {"<phase", "batch", "threads", "<precision", "ms", "p90", "against ms", "p90", "speedup"};
  if (tokens) header.insert(header.begin() + 1, "tokens");
  if (f32) header.push_back("over f32");
  header.insert(header.end(), {"items/s", "against items/s"});
  Table table(header);
  for (auto& row : r.rows) {
    std::vector<std::string> cells = {row.phase,
                                      std::to_string(row.batch),
                                      std::to_string(row.threads),
                                      row.precision,
                                      fixed(row.median_ms, 3),
                                      fixed(row.p90_ms, 3),
                                      fixed(row.versus_median_ms, 3),
                                      fixed(row.versus_p90_ms, 3),
                                      row.speedup ? fixed(*row.speedup, 2) + "x" : "same plan"};
    if (tokens) cells.insert(cells.begin() + 1, std::to_string(row.tokens));
    if (f32) cells.push_back(row.speedup_over_f32 ? fixed(*row.speedup_over_f32, 2) + "x" : "");
    cells.insert(cells.end(), {fixed(row.items_per_second, 1), fixed(row.versus_items_per_second, 1)});
    table.add(std::move(cells));
  }
  table.print();
  bool other = !r.versus.starts_with(r.model + " (");
  std::printf("\nspeedup: against %s%s; medians of ratios of neighbouring runs\n", other ? (r.versus + ", as it is").c_str() : "the same precision",
              f32 ? "; over f32: against its \"against ms\"" : "");
  if (same) std::printf("same plan: both sides run the same kernels, so their times differ by chance alone\n");
  if (tokens) std::printf("tokens: %s\n", tokens_text(r).c_str());
  std::printf("\n");
  Table precisions({"<precision", "<", "runs in it", "packed", "against", "outputs off f32 by"});
  for (auto& p : r.precisions)
    precisions.add({p.name, p.own ? "as the model states" : "", percent(p.share, 1), bytes_text(p.packed_bytes), bytes_text(p.versus_packed_bytes),
                    p.output_difference ? percent(*p.output_difference, 3) : ""});
  precisions.print();
  std::printf("packed: weights in memory as their kernels take them, for all batches timed\n");
  if (std::any_of(r.precisions.begin(), r.precisions.end(), [](auto& p) { return p.output_difference.has_value(); }))
    std::printf("largest difference of an output, of the largest output, on random inputs; what it costs in quality: lacuna quantize, lacuna eval\n");
  for (auto& line : r.needs_attention) std::printf("needs attention: %s\n", line.c_str());
  if (r.layers.empty()) return;
  for (auto& p : r.precisions) print_layers(r, p.name);
  std::printf(
      "\nof floor: the least time that this machine needs (bytes over bandwidth, operations over peak) over the time taken\n"
      "gain: dense over sparse as the plan measured it; sparse is chosen where it gains enough\n");
}

}  // namespace

void add_bench(CLI::App& app) {
  Verb verb(app, "bench", "Latency and throughput, dense beside sparse and precision beside precision in one interleaved run",
            "lacuna bench small/ --layers\n  lacuna bench small/ --vs resnet20.onnx --batch 1 16 --threads 1 2\n"
            "  lacuna bench --kernel 'spmm s8 unstructured m=3072 k=768 n=128 sparsity={0.5,0.9}' --threads 1\n"
            "  lacuna bench --kernel 'spmm f32 unstructured n=128 pattern=weights.smtx'\n  lacuna bench --machine");
  struct Options {
    std::string model, versus;
    BenchOptions bench;
    std::vector<std::string> dimensions;
    KernelBenchArguments kernel;
    bool machine = false;
  };
  auto o = std::make_shared<Options>();
  CLI::App* c = verb.command;
  auto* model = c->add_option("model", o->model, "An .onnx or .gguf file, a Hugging Face directory or a Lacuna directory");
  std::vector<CLI::Option*> of_models = {c->add_option("--vs", o->versus, "Model to compare with (default: this one with every weight run dense)")};
  auto* batch = c->add_option("--batch,--batch-size", o->bench.batches, "Batch sizes (default: 1, or the one that the model is fixed to)");
  of_models.push_back(at_least(1, batch));
  auto* threads = at_least(1, c->add_option("--threads", o->bench.threads, "Thread counts (default: all cores)"));
  of_models.push_back(
      c->add_option("--precision", o->bench.precisions,
                    "own (the arithmetic that the model states), f32, bf16, int8 (default: all that most of the model can run in; with --vs: own)"));
  auto* runs = at_least(1, c->add_option("--runs", o->bench.runs, "Timed runs of each side")->capture_default_str());
  auto* prompt =
      c->add_option("--prompt-tokens", o->bench.prompt_tokens, "Tokens that encoders read and that decoders take in before the first new one");
  of_models.push_back(at_least(1, prompt->capture_default_str()));
  auto* fresh = c->add_option("--new-tokens", o->bench.new_tokens, "Decoders: tokens decoded per run");
  of_models.push_back(at_least(1, fresh->capture_default_str()));
  of_models.push_back(c->add_option("--dim", o->dimensions, "Value of another symbolic dimension: NAME=N"));
  of_models.push_back(
      c->add_flag("--layers", o->bench.layers, "Of every node the kernel, how its weight is packed, time, share of the hardware floor"));
  auto* kernel =
      c->add_option("--kernel", o->kernel.problems,
                    "Time single problems instead: 'spmm TYPE PATTERN m= k= n= sparsity=' or 'conv TYPE PATTERN ic= oc= k= h= w= n= sparsity='\n"
                    "What is left out is 1, sparsity 0 (an N:M pattern fixes it); the answer begins with the whole problem");
  c->add_option("--candidate", o->kernel.candidate, "With --kernel: report this kernel, not the fastest")->needs(kernel);
  c->add_flag("--all", o->kernel.all, "With --kernel: every contender of every problem")->needs(kernel);
  auto* machine = c->add_flag("--machine", o->machine, "This CPU instead: instruction sets, caches, measured bandwidth and peaks");
  of_models.push_back(model);
  for (auto* option : of_models) option->excludes(kernel)->excludes(machine);
  for (auto* option : {kernel, threads, runs}) option->excludes(machine);
  c->callback([o, json = verb.json] {
    if (o->machine) return bench_machine(*json);
    if (!o->kernel.problems.empty()) {
      o->kernel.threads = o->bench.threads, o->kernel.runs = int(o->bench.runs);
      return bench_kernels(o->kernel, *json);
    }
    if (o->model.empty()) throw InvalidArgument("nothing to time: give a MODEL, --kernel PROBLEM or --machine");
    o->bench.versus = o->versus;
    o->bench.dimensions = parse_dimensions(o->dimensions);
    auto bar = progress_bar();
    BenchReport r = bench(o->model, o->bench, bar.get());
    bar.reset();
    if (*json)
      std::printf("%s\n", to_json(r).c_str());
    else
      print(r);
  });
}

}  // namespace lacuna::cli
