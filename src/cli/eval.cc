#include <algorithm>

#include "cli/cli.h"
#include "lacuna/evaluate.h"

namespace lacuna::cli {

void add_eval(CLI::App& app) {
  Verb verb(app, "eval", "Measure quality by a named protocol", "lacuna eval small/ --protocol top1 --dataset cifar10/test.tar.gz");
  auto o = std::make_shared<EvaluateOptions>();
  auto model = std::make_shared<std::string>();
  std::string help = "How quality is measured:";
  for (auto& p : protocols()) help += "\n    " + p.name + ": " + p.help;
  CLI::App* c = verb.command;
  c->add_option("model", *model, "An .onnx or .gguf file, a Hugging Face directory or a Lacuna directory")->required();
  c->add_option("--protocol", o->protocol, help)->required();
  c->add_option("--dataset", o->dataset, "Images (folder or archive of CLASS/file.jpg), a text file, or a csv")->required();
  c->add_option("--executor", o->executor, "runtime or reference")->capture_default_str();
  at_least(1, c->add_option("--batch", o->batch, "Items per run (default: the protocol's own)"));
  std::vector<std::pair<CLI::Option*, std::vector<std::string>>> of;  // options that not every protocol takes
  of.emplace_back(c->get_option("--batch"), std::vector<std::string>{"top1", "similarity"});
  of.emplace_back(at_least(0, c->add_option("--limit", o->limit, "top1, similarity: only so many items (0: all)")->capture_default_str()),
                  std::vector<std::string>{"top1", "similarity"});
  auto* seq = c->add_option("--max-seq-length,--seqlen", o->max_seq_length, "perplexity: tokens per window, capped to what the model takes")
                  ->capture_default_str();
  auto* windows = c->add_option("--max-windows", o->max_windows, "perplexity: only the first so many windows (0: all)")->capture_default_str();
  at_least(2, seq), at_least(0, windows);
  for (auto* option : {seq, windows}) of.emplace_back(option, std::vector<std::string>{"perplexity"});
  auto* resize = c->add_option("--resize", o->resize, "top1: shorter side in pixels before the crop");
  auto* crop = c->add_option("--crop", o->crop, "top1: side of the crop, for a model of any size");
  auto* mean = c->add_option("--mean", o->mean, "top1: three channel means (default: ImageNet's)")->expected(3);
  auto* deviation = c->add_option("--std", o->deviation, "top1: three channel deviations (default: ImageNet's)")->expected(3);
  at_least(1, resize), at_least(1, crop);
  for (auto* option : {resize, crop, mean, deviation}) of.emplace_back(option, std::vector<std::string>{"top1"});
  c->callback([o, model, of, json = verb.json] {
    for (auto& [option, takers] : of)
      if (option->count() && std::find(takers.begin(), takers.end(), o->protocol) == takers.end())
        throw InvalidArgument(option->get_name() + " has no effect on protocol " + o->protocol);
    auto bar = progress_bar();
    EvaluateReport r = evaluate(*model, *o, bar.get());
    bar.reset();
    if (*json) {
      std::printf("%s\n", to_json(r).c_str());
      return;
    }
    for (auto& [name, value] : r.metrics)
      std::printf("%-12s %.6g%s\n", name.c_str(), name.starts_with("top") ? value * 100 : value, name.starts_with("top") ? " %" : "");
    std::printf("protocol %s on %lld items in %s s\n", r.protocol.c_str(), static_cast<long long>(r.items), fixed(r.seconds, 1).c_str());
    for (auto& [key, value] : r.settings) std::printf("  %s: %s\n", key.c_str(), value.c_str());
    for (auto& line : r.needs_attention) std::printf("needs attention: %s\n", line.c_str());
  });
}

}  // namespace lacuna::cli
