#include "cli/recipes.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace lacuna::cli {
namespace {

bool changes_codes(const PruneReport& r) {
  return std::any_of(r.weights.begin(), r.weights.end(), [](auto& w) { return w.encoding != w.encoding_before; });
}

std::string encoding_text(const PrunedWeight& w) { return w.encoding_before == w.encoding ? w.encoding : w.encoding_before + " -> " + w.encoding; }

// What will be done, as far as it is known before any value is read.
void print_plan(const PruneReport& r) {
  Table table({"<weight", "<op", "<claimed by", "shape", "parameters", "sparsity", "<pattern", "bytes", "<encoding"});
  for (auto& w : r.weights)
    table.add({w.name, w.op, w.line, shape_text(w.shape), count_text(double(w.parameters)), w.planned_sparsity ? percent(*w.planned_sparsity) : "-",
               w.pattern, bytes_text(w.bytes_before), encoding_text(w)});
  table.print();
  bool ranked = std::any_of(r.weights.begin(), r.weights.end(), [](auto& w) { return !w.planned_sparsity && !w.pattern.empty(); });
  std::printf("\ndry run: %zu weights claimed, %s of %s parameters%s; nothing was written\n", r.weights.size(),
              count_text(double(r.claimed_parameters)).c_str(), count_text(double(r.total_parameters)).c_str(),
              ranked ? " (-: the allocation decides by scores, which a dry run does not compute)" : "");
}

// What quantization left alone, and how to change that.
void print_floats(const PruneReport& r) {
  if (r.kept_floats.empty()) return;
  std::printf("still floats:\n");
  for (auto& k : r.kept_floats)
    std::printf("  %s in %lld weight%s: %s%s (the largest: %s)\n", bytes_text(k.bytes).c_str(), static_cast<long long>(k.weights),
                k.weights == 1 ? "" : "s", k.why.c_str(), k.can_be_included ? "; --include NAME rounds it too" : "", k.largest.c_str());
}

void print_result(const PruneReport& r) {
  bool codes = changes_codes(r);
  std::vector<std::string> header = {"<weight", "<op", "<claimed by", "shape", "sparsity", "zeros", "<pattern", "<stored as", "before", "after"};
  if (codes) header.insert(header.end(), {"<encoding", "rounding error"});
  Table table(header);
  for (auto& w : r.weights) {
    std::vector<std::string> row = {w.name,
                                    w.op,
                                    w.line,
                                    shape_text(w.shape),
                                    percent(w.sparsity),
                                    std::to_string(w.zeros),
                                    w.pattern,
                                    w.format,
                                    bytes_text(w.bytes_before),
                                    bytes_text(w.bytes_after)};
    if (codes) row.insert(row.end(), {encoding_text(w), w.rounding_error > 0 ? percent(w.rounding_error) : ""});
    table.add(std::move(row));
  }
  if (r.weights.empty()) {
    std::printf("no weight was changed\n");
  } else {
    table.print();
    std::printf("\n%lld of %lld claimed weights are zero (%s); %s of all %s parameters\n", static_cast<long long>(r.claimed_zeros),
                static_cast<long long>(r.claimed_parameters), percent(r.sparsity()).c_str(),
                percent(double(r.total_zeros) / double(std::max<int64_t>(1, r.total_parameters))).c_str(),
                count_text(double(r.total_parameters)).c_str());
  }
  std::printf("weights %s -> %s (%s of before) in %s; %s s\n", bytes_text(r.bytes_before).c_str(), bytes_text(r.bytes_after).c_str(),
              percent(double(r.bytes_after) / double(std::max<int64_t>(1, r.bytes_before)), 1).c_str(), r.output.c_str(),
              fixed(r.seconds, 1).c_str());
}

void print(const PruneReport& r) {
  r.dry_run ? print_plan(r) : print_result(r);
  if (!r.activations.empty()) {
    size_t fixed_scales = size_t(std::count_if(r.activations.begin(), r.activations.end(), [](auto& a) { return a.kind == "static"; }));
    std::printf("activations: %zu tensors rounded with calibrated scales, %zu linear layers round per token\n", fixed_scales,
                r.activations.size() - fixed_scales);
    for (auto& [key, value] : r.calibration) std::printf("  %s: %s\n", key.c_str(), value.c_str());
  }
  print_floats(r);
  if (!r.needs_attention.empty()) {
    std::printf("\nneeds attention:\n");
    for (auto& line : r.needs_attention) std::printf("  - %s\n", line.c_str());
  }
}

}  // namespace

void add_recipe_run(CLI::App& command, RecipeRun& run) {
  command.add_option("model", run.model, "An .onnx or .gguf file, a Hugging Face directory or a Lacuna directory")->required();
  command.add_option("-o,--output", run.output, "Lacuna directory to write; missing parents are made, an existing one must be empty (or --force)");
  command.add_flag("--force", run.options.force, "Replace an existing output: a directory of a lacuna.json and what it lists");
  command.add_flag("--dry-run", run.options.dry_run, "Only print which weights each line claims");
}

// What is finished stays in OUT.partial.
extern "C" void say_interrupted(int) {
  static const char text[] = "\ninterrupted; the same command goes on after the last weight that is stored\n";
  [[maybe_unused]] ssize_t n = ::write(STDERR_FILENO, text, sizeof text - 1);
  ::_exit(130);
}

void run_recipe(const RecipeRun& run, const Recipe& recipe, bool json) {
  if (!run.options.dry_run) std::signal(SIGINT, say_interrupted);
  if (run.output.empty() && !run.options.dry_run) throw InvalidArgument("-o DIRECTORY is missing (or give --dry-run)");
  auto bar = progress_bar();
  PruneReport report = sparsify(run.model, recipe, run.output, run.options, bar.get());
  bar.reset();
  if (json)
    std::printf("%s\n", to_json(report).c_str());
  else
    print(report);
}

}  // namespace lacuna::cli
