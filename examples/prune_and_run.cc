// prune_and_run MODEL OUTPUT PROMPT: prunes a language model to half, proves what was done, and continues a text with both.
#include <cstdio>

#include "lacuna/error.h"
#include "lacuna/inspect.h"
#include "lacuna/prune.h"
#include "lacuna/run.h"
#include "lacuna/verify.h"

namespace {

void print_continuation(const std::filesystem::path& model, const std::string& prompt) {
  std::printf("%s: %s", model.c_str(), prompt.c_str());
  auto on_text = [](const std::string& text) { return std::fputs(text.c_str(), stdout) >= 0; };  // as it is made; false stops
  lacuna::GenerateResult result = lacuna::generate(model, {.prompt = prompt, .max_tokens = 20}, on_text);
  std::printf("\n  %lld tokens in %.3f s, stopped by %s\n", static_cast<long long>(result.new_tokens), result.decode_seconds,
              result.stopped_by.c_str());
}

int run(const std::filesystem::path& model, const std::filesystem::path& sparse, const std::string& prompt) {
  lacuna::ModelSummary summary = lacuna::inspect(model);
  std::printf("%s: %s, %lld parameters, %lld of them prunable\n", summary.path.c_str(), summary.family.c_str(),
              static_cast<long long>(summary.parameters), static_cast<long long>(summary.prunable_parameters));

  lacuna::PruneLine line{.sparsity = 0.5};
  lacuna::Recipe recipe{.stages = {{.name = "half", .prune = {line}}}};
  lacuna::PruneReport pruned = lacuna::sparsify(model, recipe, sparse, {.force = true});
  std::printf("%.1f %% of the claimed weights are zero; %lld bytes became %lld\n", 100 * pruned.sparsity(),
              static_cast<long long>(pruned.bytes_before), static_cast<long long>(pruned.bytes_after));
  for (const std::string& remark : pruned.needs_attention) std::printf("needs attention: %s\n", remark.c_str());

  lacuna::VerifyReport proof = lacuna::verify(model, sparse);
  for (const std::string& problem : proof.problems) std::printf("problem: %s\n", problem.c_str());
  if (!proof.ok()) return 1;

  print_continuation(model, prompt);
  print_continuation(sparse, prompt);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s MODEL OUTPUT PROMPT\n", argv[0]);
    return 2;
  }
  try {
    return run(argv[1], argv[2], argv[3]);
  } catch (const lacuna::Error& error) {  // everything that files and options can cause
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
