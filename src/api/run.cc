#include "lacuna/run.h"

#include <algorithm>
#include <chrono>

#include "api/open.h"
#include "base/cat.h"
#include "io/npy.h"
#include "lacuna/error.h"
#include "runtime/sampler.h"

namespace lacuna {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Tensor ids_tensor(std::span<const int32_t> ids) {
  Tensor t(DType::kS64, {1, int64_t(ids.size())}, false);
  std::copy(ids.begin(), ids.end(), t.mutable_data<int64_t>().begin());
  return t;
}

// Logits of the last position.
std::vector<float> last_logits(Session& session, const std::string& input, std::span<const int32_t> ids) {
  TensorMap outputs = session.run({{input, ids_tensor(ids)}});
  auto it = outputs.find("logits");
  if (it == outputs.end()) throw Unsupported("--prompt needs a language model: there is no output 'logits'");
  Tensor logits = it->second.to(DType::kF32);
  auto all = logits.data<float>();
  return {all.end() - logits.dim(-1), all.end()};
}

std::string file_name_of(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '/' || c == ':' || c == '\\' || c == '\0'; }, '_');
  if (name == "." || name == ".." || name.empty()) name = "_";
  return name + ".npy";
}

}  // namespace

GenerateResult generate(const std::filesystem::path& path, const GenerateOptions& options,
                        const std::function<bool(const std::string& text)>& on_text) {
  if (options.max_tokens < 1) throw InvalidArgument(cat("--max-tokens must be at least 1, got ", options.max_tokens));
  Executor executor = executor_named(options.executor);
  Sampler sampler({.temperature = options.temperature,
                   .top_k = options.top_k,
                   .top_p = options.top_p,
                   .repetition_penalty = options.repetition_penalty,
                   .seed = options.seed});
  auto start = std::chrono::steady_clock::now();
  Model model = load_model(path);
  if (model.graph->states().empty()) throw Unsupported(cat(path, ": --prompt needs a decoder; give this model arrays with --inputs"));
  auto tokenizer = open_tokenizer(model);
  std::vector<int32_t> tokens = tokenizer->encode(options.prompt);
  if (tokens.empty()) throw InvalidArgument("the prompt has no tokens");
  int64_t limit = max_tokens_of(*model.graph);
  if (limit && int64_t(tokens.size()) >= limit) throw InvalidArgument(cat("the prompt has ", tokens.size(), " tokens; the model takes ", limit));
  int64_t capacity = int64_t(tokens.size()) + options.max_tokens;
  Session session(model.graph, {.executor = executor, .max_tokens = limit ? std::min(limit, capacity) : capacity});
  std::string input = model.graph->value(model.graph->inputs()[0]).name;
  std::vector<int32_t> ends = end_of_sequence_ids(*model.graph);
  GenerateResult result;
  result.prompt_tokens = int64_t(tokens.size());
  result.load_seconds = seconds_since(start);

  start = std::chrono::steady_clock::now();
  session.prepare({{input, ids_tensor(tokens)}});
  if (options.max_tokens > 1) session.prepare({{input, ids_tensor(std::span(tokens).first(1))}});
  result.pack_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  std::vector<float> logits = last_logits(session, input, tokens);
  result.prefill_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  TokenStream stream(*tokenizer, tokens);
  result.stopped_by = "max_tokens";
  while (result.new_tokens < options.max_tokens) {
    int32_t next = sampler.next(logits, tokens);
    if (!options.ignore_eos && std::find(ends.begin(), ends.end(), next) != ends.end()) {
      result.stopped_by = "end of sequence";
      break;
    }
    tokens.push_back(next);
    result.new_tokens++;
    std::string text = stream.push(next);
    result.text += text;
    if (on_text && !text.empty() && !on_text(text)) {
      result.stopped_by = "caller";
      break;
    }
    if (result.new_tokens == options.max_tokens) break;
    if (limit && int64_t(tokens.size()) > limit) {
      result.stopped_by = "context full";
      break;
    }
    logits = last_logits(session, input, std::span(&tokens.back(), 1));
  }
  std::string rest = stream.finish();
  result.text += rest;
  if (on_text && !rest.empty()) on_text(rest);
  result.decode_seconds = seconds_since(start);
  return result;
}

RunArraysResult run_arrays(const std::filesystem::path& path, const RunArraysOptions& options) {
  Executor executor = executor_named(options.executor);
  auto start = std::chrono::steady_clock::now();
  Model model = load_model(path);
  TensorMap inputs;
  for (auto& [name, file] : options.inputs) inputs[name] = read_npy(file);
  std::vector<std::string> unknown, known;
  for (ValueId id : model.graph->inputs()) known.push_back(model.graph->value(id).name);
  for (auto& [name, tensor] : inputs)
    if (std::find(known.begin(), known.end(), name) == known.end()) unknown.push_back(name);
  if (!unknown.empty()) throw InvalidArgument(cat("--inputs: the model has no input ", join(unknown), "; it has: ", join(known)));
  std::map<std::string, std::filesystem::path> files;
  for (auto& output : model.graph->outputs()) {
    std::filesystem::path file = options.outputs / file_name_of(output.name);
    if (std::filesystem::exists(file) && !options.force) throw InvalidArgument(cat(file, ": exists already; --force replaces it"));
    for (auto& [name, other] : files)
      if (other == file) throw Unsupported(cat("outputs '", name, "' and '", output.name, "' would both be written as ", file));
    files[output.name] = file;
  }
  Session session(model.graph, {.executor = executor});
  RunArraysResult result;
  result.load_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  session.prepare(inputs);
  result.pack_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  TensorMap outputs = session.run(inputs);
  result.seconds = seconds_since(start);
  std::error_code error;
  std::filesystem::create_directories(options.outputs, error);
  if (error) throw IoError(cat(options.outputs, ": cannot make the directory: ", error.message()));
  for (auto& output : model.graph->outputs()) {
    const Tensor& tensor = outputs.at(output.name);
    write_npy(files[output.name], tensor);
    result.outputs.push_back({output.name, files[output.name].string(), std::string(name_of(tensor.dtype())), tensor.shape()});
  }
  return result;
}

}  // namespace lacuna
