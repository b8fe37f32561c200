#include "graph/passes/passes.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "base/cat.h"
#include "graph/infer.h"
#include "lacuna/error.h"

namespace lacuna {
namespace passes {
#define LACUNA_PASS(name, help) int64_t name(Graph& graph, const PassOptions& options);
#include "graph/passes/passes.def"
#undef LACUNA_PASS
}  // namespace passes

namespace {

constexpr auto kPasses = std::to_array<Pass>({
#define LACUNA_PASS(name, help) {#name, help, passes::name},
#include "graph/passes/passes.def"
#undef LACUNA_PASS
});

// In the order of the list, and the first ones again after folding, which makes operands constant.
constexpr auto kImportPasses =
    std::to_array<std::string_view>({"simplify", "linear", "constant_folding", "simplify", "einsum", "linear", "embedding", "layer_norm", "rms_norm",
                                     "l2_norm", "activations", "attention", "simplify", "dead_code"});

const Pass& pass_named(std::string_view name) {
  auto it = std::find_if(kPasses.begin(), kPasses.end(), [&](const Pass& p) { return p.name == name; });
  if (it != kPasses.end()) return *it;
  std::vector<std::string> known;
  for (const Pass& pass : kPasses) known.emplace_back(pass.name);
  throw InvalidArgument(cat("pass '", name, "' is unknown, known are: ", join(known)));
}

}  // namespace

std::span<const Pass> all_passes() { return kPasses; }
std::span<const std::string_view> import_passes() { return kImportPasses; }

void run_passes(Graph& graph, std::span<const std::string_view> names, PassReport* report, const PassOptions& options) {
  for (auto& name : options.skip) pass_named(name);
  std::vector<const Pass*> chosen;
  for (auto name : names) chosen.push_back(&pass_named(name));
  infer_shapes(graph);
  for (const Pass* pass : chosen) {
    bool skipped = std::find(options.skip.begin(), options.skip.end(), pass->name) != options.skip.end();
    auto start = std::chrono::steady_clock::now();
    int64_t changes = skipped ? 0 : pass->run(graph, options);
    double elapsed_us = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    if (report) report->lines.push_back({pass->name, changes, elapsed_us, skipped});
  }
  verify(graph);
  infer_shapes(graph);
}

}  // namespace lacuna
