// What the verbs that run a recipe share: prune, quantize, sparsify.
#pragma once

#include "cli/cli.h"
#include "lacuna/prune.h"

namespace lacuna::cli {

struct RecipeRun {
  std::string model, output;
  SparsifyOptions options;
};

// The model, -o, --force and --dry-run.
void add_recipe_run(CLI::App& command, RecipeRun& run);

// Runs the recipe and prints its report.
void run_recipe(const RecipeRun& run, const Recipe& recipe, bool json);

}  // namespace lacuna::cli
