#include "advise/advise.h"

#include <set>

#include "api/open.h"
#include "api/sample_inputs.h"
#include "base/cat.h"
#include "base/cpu.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "runtime/measure.h"

namespace lacuna {
namespace {

// The multiplied layers of a model as dense problems, found by running it once.
std::vector<LayerAdvice> layers_of(const Model& model, int64_t batch, const AdviseOptions& options) {
  const Graph& graph = *model.graph;
  bool decoder = !graph.states().empty();
  Session session(
      model.graph,
      SessionOptions{.max_tokens = decoder ? options.prompt_tokens + 1 : 0, .measured_plan = true, .allow_sparse = false, .split_batches = false});
  // By node: a weight into which the plan folds a batch norm has another name there.
  std::map<std::string, std::string> prunable;
  for (const WeightUse& use : weight_uses(graph))
    if (use.prunable) prunable.emplace(graph.node(use.node).name, graph.weights[use.weight].name);
  std::vector<LayerAdvice> layers;
  auto run = [&](const char* phase, int64_t tokens) {
    size_t before = session.plan().size();
    const Bindings sizes = bind_symbols(graph, options.dimensions, batch, tokens);
    run_on_samples(session, sample_inputs(graph, sizes, 0), sizes);
    for (size_t i = before; i < session.plan().size(); i++) {
      const PlanLine& line = session.plan()[i];
      if (auto it = prunable.find(line.node); it != prunable.end())
        layers.push_back({.node = line.node, .weight = it->second, .phase = phase, .problem = line.problem});
    }
  };
  run(decoder ? "prefill" : "run", options.prompt_tokens);
  if (decoder) run("decode", 1);
  return layers;
}

}  // namespace

AdviseReport advise(const std::filesystem::path& path, const AdviseOptions& options, Progress* progress) {
  if (options.prompt_tokens < 1) throw InvalidArgument(cat("found --prompt-tokens ", options.prompt_tokens, ", wanted 1 or more"));
  if (options.threads) require_threads(options.threads);
  struct Restore {
    int threads = thread_count();
    ~Restore() { set_thread_count(threads); }
  } restore;
  if (options.threads > 0) set_thread_count(options.threads);
  if (options.refresh) forget_measurements();
  Model model = load_model(path);
  int64_t batch = batch_for(*model.graph, options.batch);
  AdviseReport report{.model = path.string(), .cpu = cpu_name(), .isa = isa_summary(cpu_features()), .threads = thread_count(), .batch = batch};
  report.layers = layers_of(model, batch, options);
  if (report.layers.empty()) throw Unsupported(cat(path.string(), ": no prunable linear or convolution layer, so there is nothing to advise on"));

  int64_t weights = multiplied_weights(*model.graph);
  std::set<std::string> in_floats;  // nodes that integers do not run
  for (const Node& node : model.graph->nodes())
    if (node.op == Op::conv_transpose) in_floats.insert(node.name);
  std::map<std::pair<std::string, bool>, const LayerAdvice*> asked;  // layers of one shape share what is measured
  for (size_t i = 0; i < report.layers.size(); i++) {
    LayerAdvice& layer = report.layers[i];
    bool floats = in_floats.contains(layer.node);
    auto [it, fresh] = asked.try_emplace({layer.problem, floats}, &layer);
    if (!fresh) {
      layer.dense_microseconds = it->second->dense_microseconds, layer.curves = it->second->curves;
      continue;
    }
    layer.dense_microseconds = measure_dense(layer.problem, weights);
    for (const std::string& precision : options.precisions) {
      if (floats && precision != "f32") continue;
      for (const std::string& pattern : options.patterns) {
        if (progress) progress->update("measuring", int64_t(i), int64_t(report.layers.size()));
        layer.curves.push_back(measure_curve(layer.problem, pattern, precision, options.sparsities, weights));
      }
    }
  }
  report.totals = totals_of(report.layers);
  return report;
}

}  // namespace lacuna
