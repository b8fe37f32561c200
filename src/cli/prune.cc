// `prune` (one line from flags) and `sparsify` (a recipe): both run a recipe and print the same report.
#include "lacuna/prune.h"

#include <fstream>
#include <sstream>

#include "cli/cli.h"

namespace lacuna::cli {
namespace {

void print(const PruneReport& r) {
  Table table({"<weight", "<op", "<claimed by", "shape", "sparsity", "zeros", "<pattern", "<stored as", "before", "after"});
  for (auto& w : r.weights)
    table.add({w.name, w.op, w.line, shape_text(w.shape), r.dry_run ? "" : percent(w.sparsity), r.dry_run ? "" : std::to_string(w.zeros), w.pattern, w.format, bytes_text(w.bytes_before),
               r.dry_run ? "" : bytes_text(w.bytes_after)});
  table.print();
  if (r.dry_run) {
    std::printf("\ndry run: %zu weights, %s parameters claimed; nothing was written\n", r.weights.size(), count_text(double(r.claimed_parameters)).c_str());
  } else {
    std::printf("\n%lld of %lld claimed weights are zero (%s); %s of all %s parameters\n", static_cast<long long>(r.claimed_zeros), static_cast<long long>(r.claimed_parameters),
                percent(r.sparsity()).c_str(), percent(double(r.total_zeros) / double(std::max<int64_t>(1, r.total_parameters))).c_str(), count_text(double(r.total_parameters)).c_str());
    std::printf("weights %s -> %s (%s of before) in %s; %s s\n", bytes_text(r.bytes_before).c_str(), bytes_text(r.bytes_after).c_str(),
                percent(double(r.bytes_after) / double(std::max<int64_t>(1, r.bytes_before)), 1).c_str(), r.output.c_str(), fixed(r.seconds, 1).c_str());
  }
  if (!r.needs_attention.empty()) {
    std::printf("\nneeds attention:\n");
    for (auto& line : r.needs_attention) std::printf("  - %s\n", line.c_str());
  }
}

std::string choices(const std::vector<Choice>& list) {
  std::string out;
  for (auto& c : list) out += "\n    " + c.name + ": " + c.help + (c.source.empty() ? "" : " (" + c.source + ")");
  return out;
}

struct Options {
  std::string model, output, recipe;
  PruneLine line;
  double sparsity = -1;
  SparsifyOptions sparsify;
};

void add_common(Verb& verb, const std::shared_ptr<Options>& o) {
  verb.command->add_option("-o,--output", o->output, "Lacuna directory to write");
  verb.command->add_flag("--force", o->sparsify.force, "Replace an existing output (a file, or a directory that holds a lacuna.json)");
  verb.command->add_flag("--dry-run", o->sparsify.dry_run, "Only print which weights each line claims");
}

void execute(const Options& o, const Recipe& recipe, bool json) {
  if (o.output.empty() && !o.sparsify.dry_run) throw InvalidArgument("-o DIRECTORY is missing (or give --dry-run)");
  auto bar = progress_bar();
  PruneReport report = sparsify(o.model, recipe, o.output, o.sparsify, bar.get());
  bar.reset();
  if (json) std::printf("%s\n", to_json(report).c_str());
  else print(report);
}

}  // namespace

void add_prune(CLI::App& app) {
  Verb verb(app, "prune", "Make weights zero, by one criterion, pattern and allocation", "lacuna prune resnet20.onnx -o small/ --sparsity 0.6 --criterion magnitude --allocation global");
  auto o = std::make_shared<Options>();
  CLI::App* c = verb.command;
  c->add_option("model", o->model, "An .onnx or .gguf file, a Hugging Face directory or a Lacuna directory")->required();
  c->add_option("--sparsity,--sparsity-ratio,--amount,--pruning-ratio", o->sparsity, "Share of zeros in [0, 1] among the claimed weights (N:M fixes it)");
  c->add_option("--pattern,--mask-structure,--sparsity-type", o->line.pattern, "Where zeros may fall:" + choices(pattern_choices()))->capture_default_str();
  c->add_option("--criterion", o->line.criterion, "What ranks weights:" + choices(criteria_choices()))->capture_default_str();
  c->add_option("--allocation", o->line.allocation, "How the sparsity is shared out among layers:" + choices(allocation_choices()))->capture_default_str();
  c->add_option("--norm", o->line.norm, "How the scores of a block combine: l1 or l2")->capture_default_str();
  c->add_option("--targets", o->line.targets, "Weights to prune: names, op types (Linear, Conv2d), re:REGEX (default: everything prunable)");
  c->add_option("--ignore", o->line.ignore, "Weights to leave alone, same spelling");
  c->add_option("--include", o->line.include, "Weights to prune although they are not by default (embeddings, output heads, depthwise)");
  c->add_option("--seed", o->line.seed, "Seed of the random criterion")->capture_default_str();
  add_common(verb, o);
  c->callback([o, json = verb.json] {
    if (o->sparsity != -1) {
      if (!(o->sparsity >= 0 && o->sparsity <= 1)) throw InvalidArgument("--sparsity must be in [0, 1], found " + fixed(o->sparsity, 4));
      o->line.sparsity = o->sparsity;
    }
    execute(*o, Recipe{{Stage{"prune", {o->line}}}}, *json);
  });
}

void add_sparsify(CLI::App& app) {
  Verb verb(app, "sparsify", "Run a whole recipe on a model", "lacuna sparsify resnet20.onnx --recipe recipe.yaml -o small/");
  auto o = std::make_shared<Options>();
  verb.command->add_option("model", o->model, "An .onnx or .gguf file, a Hugging Face directory or a Lacuna directory")->required();
  verb.command->add_option("--recipe", o->recipe, "The recipe, YAML (docs/recipes.md)")->required();
  add_common(verb, o);
  verb.command->callback([o, json = verb.json] {
    std::ifstream file(o->recipe, std::ios::binary);
    if (!file) throw NotFound(o->recipe + ": cannot open the recipe");
    std::stringstream text;
    text << file.rdbuf();
    execute(*o, parse_recipe(text.str(), o->recipe), *json);
  });
}

}  // namespace lacuna::cli
