#include "lacuna/advise.h"

#include <algorithm>
#include <cmath>

#include "cli/cli.h"

namespace lacuna::cli {
namespace {

// "1.04", or "-" where the curve has no point.
std::string gain_at(const AdviceCurve& curve, double sparsity) {
  for (auto& p : curve.points)
    if (p.sparsity == sparsity) return fixed(p.speedup, 2) + "x";
  return "-";
}

// "65 %": there and at all that was measured above; "at 50, 70 %" if not at the largest; "never".
std::string wins_from(const AdviceCurve& curve) {
  constexpr double kAtMost = 1e-6;
  if (curve.starts_at) return percent(std::ceil(*curve.starts_at * 100 - kAtMost) / 100, 0);  // up: 64 % must not be said of 64.4 %
  std::string at;
  for (auto& p : curve.points)
    if (p.speedup >= curve.worthwhile) at += (at.empty() ? "at " : ", ") + fixed(p.sparsity * 100, 0);
  return at.empty() ? "never" : at + " %";
}

void print_layers(const AdviseReport& r, const std::vector<double>& sparsities) {
  std::vector<std::string> header = {"<layer", "<phase", "dense us", "<precision", "<pattern", "wins from"};
  for (double s : sparsities) header.push_back(percent(s, 0));
  header.push_back("<kernel at the last");
  Table table(header);
  std::vector<std::string> printed;
  for (auto& layer : r.layers) {
    if (std::find(printed.begin(), printed.end(), layer.problem) != printed.end()) continue;
    printed.push_back(layer.problem);
    auto alike = std::count_if(r.layers.begin(), r.layers.end(), [&](auto& l) { return l.problem == layer.problem; });
    std::string name = layer.node + (alike > 1 ? " and " + std::to_string(alike - 1) + " alike" : "");
    std::printf("  %s: %s\n", name.c_str(), layer.problem.c_str());
    for (auto& curve : layer.curves) {
      if (curve.points.empty()) continue;
      std::vector<std::string> row = {layer.node, layer.phase, fixed(layer.dense_microseconds, 1), curve.precision, curve.pattern, wins_from(curve)};
      for (double s : sparsities) row.push_back(gain_at(curve, s));
      row.push_back(curve.points.back().kernel);
      table.add(row);
    }
  }
  std::printf("\n");
  table.print();
}

void print(const AdviseReport& r) {
  std::printf("%s on %s, %d thread%s, batch %lld\nPrunable layers, by shape:\n", r.model.c_str(), r.cpu.c_str(), r.threads, r.threads == 1 ? "" : "s",
              static_cast<long long>(r.batch));
  std::vector<double> sparsities;
  for (auto& layer : r.layers)
    for (auto& curve : layer.curves)
      for (auto& p : curve.points)
        if (std::find(sparsities.begin(), sparsities.end(), p.sparsity) == sparsities.end()) sparsities.push_back(p.sparsity);
  std::sort(sparsities.begin(), sparsities.end());
  print_layers(r, sparsities);
  std::printf("\nn: tokens at once, or images; tokens are timed at the next power of two, 512 at most, as the planner times them\n");
  std::printf(
      "gain: dense time over sparse time, both in that precision; it wins from 1.05x on (convolutions of floats: 1.15x), and the planner runs "
      "dense below\n\nAll of these layers "
      "together:\n");
  Table totals({"<phase", "<precision", "sparsity", "<pattern", "ms", "gain", "gain over now"});
  for (auto& t : r.totals)
    totals.add({t.phase, t.precision, percent(t.sparsity, 1), t.pattern, fixed(t.milliseconds, 3), fixed(t.speedup, 2) + "x",
                fixed(t.speedup_now, 2) + "x"});
  totals.print();
}

}  // namespace

void add_advise(CLI::App& app) {
  Verb verb(app, "advise", "From which sparsity, in which pattern and precision, each layer gets faster on this machine",
            "lacuna advise resnet20.onnx --threads 1 --batch 1");
  struct Options {
    std::string model;
    AdviseOptions advise;
    std::vector<std::string> dimensions;
  };
  auto o = std::make_shared<Options>();
  CLI::App* c = verb.command;
  c->add_option("model", o->model, "An .onnx or .gguf file, a Hugging Face directory or a Lacuna directory")->required();
  at_least(1, c->add_option("--threads", o->advise.threads, "Threads (default: all cores)"));
  at_least(1, c->add_option("--batch,--batch-size", o->advise.batch, "Batch size (default: 1, or the one that the model is fixed to)"));
  at_least(1, c->add_option("--prompt-tokens", o->advise.prompt_tokens, "Sequences: tokens at once")->capture_default_str());
  c->add_option("--pattern", o->advise.patterns, "Patterns to ask about")->capture_default_str();
  c->add_option("--precision", o->advise.precisions, "f32, bf16, int8")->capture_default_str();
  c->add_option("--sparsity", o->advise.sparsities, "Sparsities to measure at")->capture_default_str();
  c->add_option("--dim", o->dimensions, "Value of another symbolic dimension: NAME=N");
  c->add_flag("--refresh", o->advise.refresh, "Measure again what the cost table in the user's cache directory holds");
  c->callback([o, json = verb.json] {
    o->advise.dimensions = parse_dimensions(o->dimensions);
    auto bar = progress_bar();
    AdviseReport r = advise(o->model, o->advise, bar.get());
    bar.reset();
    if (*json)
      std::printf("%s\n", to_json(r).c_str());
    else
      print(r);
  });
}

}  // namespace lacuna::cli
