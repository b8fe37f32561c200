#include "lacuna/run.h"

#include "cli/cli.h"

namespace lacuna::cli {

void add_run(CLI::App& app) {
  Verb verb(app, "run", "Run a model: text from a prompt, or .npy arrays in and out",
            "lacuna run stories260k/ --prompt \"Once upon a time\" --max-tokens 100\n  lacuna run model.onnx --inputs input=x.npy --outputs out/");
  struct Options {
    std::string model;
    GenerateOptions text;
    RunArraysOptions arrays;
    std::vector<std::string> inputs;
    std::string outputs;
  };
  auto o = std::make_shared<Options>();
  CLI::App* c = verb.command;
  c->add_option("model", o->model, "An .onnx or .gguf file, a Hugging Face directory or a Lacuna directory")->required();
  auto* prompt = c->add_option("--prompt,-p", o->text.prompt, "Text to continue");
  std::vector<CLI::Option*> of_text = {
      prompt,
      at_least(1, c->add_option("--max-tokens,-n", o->text.max_tokens, "New tokens at most")->capture_default_str()),
      c->add_option("--temperature", o->text.temperature, "0: greedy")->capture_default_str(),
      at_least(0, c->add_option("--top-k", o->text.top_k, "Sample among the k likeliest (0: all)")->capture_default_str()),
      c->add_option("--top-p", o->text.top_p, "Sample among the likeliest that together reach p")->capture_default_str(),
      c->add_option("--repetition-penalty", o->text.repetition_penalty, "Above 1: repeat less")->capture_default_str(),
      c->add_option("--seed", o->text.seed, "Seed of the sampler; with a temperature above 0")->capture_default_str(),
      c->add_flag("--ignore-eos", o->text.ignore_eos, "Go on after the end-of-sequence token")};
  auto* inputs = c->add_option("--inputs", o->inputs, "NAME=FILE.npy, one or more");
  auto* outputs = c->add_option("--outputs", o->outputs, "Directory for NAME.npy of every output");
  auto* force = c->add_flag("--force", o->arrays.force, "Overwrite files in the output directory");
  c->add_option("--executor", o->text.executor, "runtime or reference")->capture_default_str();
  for (auto* option : of_text) option->excludes(inputs)->excludes(outputs)->excludes(force);
  c->callback([o, json = verb.json, prompt, inputs] {
    if (!prompt->count() && !inputs->count())
      throw InvalidArgument("nothing to run: give --prompt TEXT, or --inputs NAME=FILE.npy and --outputs DIRECTORY");
    if (prompt->count()) {
      auto stream = [&](const std::string& text) { return std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0; };
      GenerateResult r = generate(o->model, o->text, *json ? std::function<bool(const std::string&)>() : stream);
      if (*json) {
        std::printf("%s\n", to_json(r).c_str());
      } else {
        std::printf("\n");
        std::fprintf(stderr, "ready in %s s (%s load, %s pack); ", fixed(r.load_seconds + r.pack_seconds, 3).c_str(),
                     fixed(r.load_seconds, 3).c_str(), fixed(r.pack_seconds, 3).c_str());
        std::fprintf(stderr, "%lld prompt tokens in %s s (%s/s), %lld new in %s s (%s/s); stopped by %s\n", static_cast<long long>(r.prompt_tokens),
                     fixed(r.prefill_seconds, 3).c_str(), fixed(double(r.prompt_tokens) / std::max(1e-9, r.prefill_seconds), 1).c_str(),
                     static_cast<long long>(r.new_tokens), fixed(r.decode_seconds, 3).c_str(),
                     fixed(double(r.new_tokens) / std::max(1e-9, r.decode_seconds), 1).c_str(), r.stopped_by.c_str());
      }
      return;
    }
    if (o->outputs.empty()) throw InvalidArgument("--outputs DIRECTORY is missing");
    for (auto& [name, file] : parse_pairs(o->inputs, "--inputs")) o->arrays.inputs[name] = file;
    o->arrays.outputs = o->outputs;
    o->arrays.executor = o->text.executor;
    RunArraysResult r = run_arrays(o->model, o->arrays);
    if (*json) {
      std::printf("%s\n", to_json(r).c_str());
      return;
    }
    for (auto& out : r.outputs)
      std::printf("%s  %s %s  -> %s\n", out.name.c_str(), out.dtype.c_str(), shape_text(out.shape).c_str(), out.file.c_str());
    std::printf("%s s; ready in %s s (%s load, %s pack)\n", fixed(r.seconds, 3).c_str(), fixed(r.load_seconds + r.pack_seconds, 3).c_str(),
                fixed(r.load_seconds, 3).c_str(), fixed(r.pack_seconds, 3).c_str());
  });
}

}  // namespace lacuna::cli
