// `prune` (one line from flags) and `sparsify` (a recipe): both run a recipe and print the same report.
#include <fstream>
#include <sstream>

#include "cli/recipes.h"

namespace lacuna::cli {
namespace {

std::string choices(const std::vector<Choice>& list) {
  std::string out;
  for (auto& c : list) out += "\n    " + c.name + ": " + c.help + (c.source.empty() ? "" : " (" + c.source + ")");
  return out;
}

struct Options {
  RecipeRun run;
  std::string recipe;
  PruneLine line;
  double sparsity = 0;
};

}  // namespace

void add_prune(CLI::App& app) {
  Verb verb(app, "prune", "Make weights zero, by one criterion, pattern and allocation",
            "lacuna prune resnet20.onnx -o small/ --sparsity 0.6 --criterion magnitude --allocation global");
  auto o = std::make_shared<Options>();
  CLI::App* c = verb.command;
  add_recipe_run(*c, o->run);
  auto* sparsity =
      c->add_option("--sparsity,--sparsity-ratio,--sparsity_ratio,--final-sparsity,--final_sparsity,--amount,--pruning-ratio,--pruning_ratio",
                    o->sparsity, "Share of zeros in [0, 1) among the claimed weights (N:M fixes it)");
  c->add_option("--pattern,--mask-structure,--sparsity-type", o->line.pattern, "Where zeros may fall:" + choices(pattern_choices()))
      ->capture_default_str();
  c->add_option("--criterion", o->line.criterion, "What ranks weights:" + choices(criteria_choices()))->capture_default_str();
  c->add_option("--allocation", o->line.allocation, "How the sparsity is shared out among layers:" + choices(allocation_choices()))
      ->capture_default_str();
  c->add_option("--norm", o->line.norm, "How the scores of a block combine: l1 or l2")->capture_default_str();
  c->add_option("--targets", o->line.targets, "Weights to prune: names, op types (Linear, Conv2d), re:REGEX (default: everything prunable)");
  c->add_option("--ignore", o->line.ignore, "Weights to leave alone, same spelling");
  c->add_option("--include", o->line.include, "Weights to prune although they are not by default (embeddings, output heads, depthwise)");
  c->add_option("--seed", o->line.seed, "Seed of the random criterion")->capture_default_str();
  c->callback([o, sparsity, json = verb.json] {
    if (sparsity->count()) {
      if (!(o->sparsity >= 0 && o->sparsity <= 1)) throw InvalidArgument("--sparsity must be in [0, 1), found " + fixed(o->sparsity, 4));
      o->line.sparsity = o->sparsity;
    }
    run_recipe(o->run, Recipe{{Stage{"prune", {o->line}, {}}}}, *json);
  });
}

void add_sparsify(CLI::App& app) {
  Verb verb(app, "sparsify", "Run a whole recipe on a model", "lacuna sparsify resnet20.onnx --recipe recipe.yaml -o small/");
  auto o = std::make_shared<Options>();
  add_recipe_run(*verb.command, o->run);
  verb.command->add_option("--recipe", o->recipe, "The recipe, YAML (docs/recipes.md)")->required();
  verb.command->callback([o, json = verb.json] {
    std::ifstream file(o->recipe, std::ios::binary);
    if (!file) throw NotFound(o->recipe + ": cannot open the recipe");
    std::stringstream text;
    text << file.rdbuf();
    run_recipe(o->run, parse_recipe(text.str(), o->recipe), *json);
  });
}

}  // namespace lacuna::cli
