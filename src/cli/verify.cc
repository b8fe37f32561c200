#include "lacuna/verify.h"

#include "cli/cli.h"

namespace lacuna::cli {

void add_verify(CLI::App& app) {
  Verb verb(app, "verify", "Prove what was done: sparsity, pattern, untouched weights, output difference; exit status 1 if not",
            "lacuna verify resnet20.onnx small/");
  struct Options {
    std::vector<std::string> models;
    VerifyOptions verify;
    std::vector<std::string> dimensions;
    bool no_run = false;
  };
  auto o = std::make_shared<Options>();
  verb.command->add_option("models", o->models, "[ORIGINAL] SPARSE: the model it was made from, and the sparse one")->required()->expected(1, 2);
  verb.command->add_flag("--no-run", o->no_run, "Do not compare outputs");
  verb.command->add_option("--dim", o->dimensions, "Size of a symbolic dimension of the inputs: NAME=N")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb.command->add_option("--seed", o->verify.seed, "Seed of the inputs")->capture_default_str();
  verb.command->callback([o, json = verb.json] {
    o->verify.run = !o->no_run;
    o->verify.dimensions = parse_dimensions(o->dimensions);
    auto bar = progress_bar();
    VerifyReport r = verify(o->models.size() == 2 ? o->models[0] : "", o->models.back(), o->verify, bar.get());
    bar.reset();
    if (*json) {
      std::printf("%s\n", to_json(r).c_str());
    } else {
      std::vector<std::string> header = {"<weight", "<pattern", "sparsity", "zeros", "violations", "changed"};
      if (r.quantized) header.insert(header.end(), {"<encoding", "largest rounding"});
      Table table(header);
      for (auto& w : r.weights) {
        if (!(w.zeros || w.violations || w.changed_kept || w.quantized)) continue;
        std::vector<std::string> row = {
            w.name, w.pattern, percent(w.sparsity), std::to_string(w.zeros), std::to_string(w.violations), std::to_string(w.changed_kept)};
        if (r.quantized) row.insert(row.end(), {w.encoding, w.quantized ? fixed(w.largest_rounding, 3) + " steps" : ""});
        table.add(std::move(row));
      }
      table.print();
      std::printf("\n%lld of %lld weights are zero (%s); pattern violations %lld; weights changed outside the mask %lld\n",
                  static_cast<long long>(r.zeros), static_cast<long long>(r.parameters),
                  percent(double(r.zeros) / double(std::max<int64_t>(1, r.parameters))).c_str(), static_cast<long long>(r.pattern_violations),
                  static_cast<long long>(r.changed_outside_mask));
      if (r.quantized) std::printf("%lld weights quantized\n", static_cast<long long>(r.quantized));
      if (r.masks)
        std::printf("masks of the original unchanged: %lld of %lld\n", static_cast<long long>(r.masks_unchanged), static_cast<long long>(r.masks));
      if (r.max_output_difference)
        std::printf("largest difference of an output, of the largest output: %.4g %% (%.4g) on random inputs%s\n",
                    *r.relative_output_difference * 100, *r.max_output_difference, r.ok() ? "; what pruning and rounding change, no failure" : "");
      constexpr size_t kShown = 20;
      for (size_t i = 0; i < std::min(r.problems.size(), kShown); i++) std::printf("problem: %s\n", r.problems[i].c_str());
      if (r.problems.size() > kShown) std::printf("and %zu more problems; --json lists them all\n", r.problems.size() - kShown);
      std::printf("%s\n", r.ok() ? "verified" : "NOT verified");
    }
    if (!r.ok()) throw AnswerIsNo{};
  });
}

}  // namespace lacuna::cli
