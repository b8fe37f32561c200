#include "lacuna/bench.h"

#include "cli/bench_kernel.h"
#include "cli/cli.h"

namespace lacuna::cli {
namespace {

void print(const BenchReport& r) {
  std::printf("%s against %s\n%s, %s\n\n", r.model.c_str(), r.versus.c_str(), r.cpu.c_str(), r.isa.c_str());
  Table table({"<phase", "batch", "threads", "ms", "p90", "against ms", "p90", "speedup", "items/s", "against items/s"});
  for (auto& row : r.rows)
    table.add({row.phase, std::to_string(row.batch), std::to_string(row.threads), fixed(row.median_ms, 3), fixed(row.p90_ms, 3),
               fixed(row.versus_median_ms, 3), fixed(row.versus_p90_ms, 3), fixed(row.speedup, 2) + "x", fixed(row.items_per_second, 1),
               fixed(row.versus_items_per_second, 1)});
  table.print();
  std::printf("\npacked weights %s, against %s; speedup is the median of ratios of neighbouring runs\n", bytes_text(r.packed_bytes).c_str(),
              bytes_text(r.versus_packed_bytes).c_str());
  if (r.layers.empty()) return;
  std::printf("\n");
  Table layers({"<node", "<op", "us", "<kernel", "against us", "<kernel", "<why"});
  for (auto& l : r.layers) layers.add({l.node, l.op, fixed(l.microseconds, 1), l.kernel, fixed(l.versus_microseconds, 1), l.versus_kernel, l.reason});
  layers.print();
}

}  // namespace

void add_bench(CLI::App& app) {
  Verb verb(app, "bench", "Latency and throughput, dense beside sparse in one interleaved run",
            "lacuna bench small/ --vs resnet20.onnx --batch 1 16 --threads 1 2\n"
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
  c->add_option("--vs", o->versus, "Model to compare with (default: this one with every weight run dense)");
  at_least(1, c->add_option("--batch,--batch-size", o->bench.batches, "Batch sizes (default: 1, or the one that the model is fixed to)"));
  at_least(1, c->add_option("--threads", o->bench.threads, "Thread counts (default: all cores)"));
  at_least(1, c->add_option("--runs", o->bench.runs, "Timed runs of each side")->capture_default_str());
  at_least(1, c->add_option("--prompt-tokens", o->bench.prompt_tokens, "Decoders: tokens of the prefill")->capture_default_str());
  at_least(1, c->add_option("--new-tokens", o->bench.new_tokens, "Decoders: tokens decoded per run")->capture_default_str());
  c->add_option("--dim", o->dimensions, "Value of another symbolic dimension: NAME=N");
  c->add_flag("--layers", o->bench.layers, "Time and kernel of every node");
  auto* kernel =
      c->add_option("--kernel", o->kernel.problems,
                    "Time single problems instead: 'spmm TYPE PATTERN m= k= n= sparsity=' or 'conv TYPE PATTERN ic= oc= k= h= w= n= sparsity='");
  c->add_option("--candidate", o->kernel.candidate, "With --kernel: report this kernel, not the fastest")->needs(kernel);
  c->add_flag("--all", o->kernel.all, "With --kernel: every contender of every problem")->needs(kernel);
  auto* machine = c->add_flag("--machine", o->machine, "This CPU instead: instruction sets, caches, measured bandwidth and peaks");
  model->excludes(kernel)->excludes(machine);
  kernel->excludes(machine);
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
