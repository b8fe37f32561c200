#include "api/open.h"

#include <nlohmann/json.hpp>

#include "base/cat.h"
#include "base/parallel.h"
#include "io/gguf.h"
#include "lacuna/error.h"

namespace lacuna {

Executor executor_named(const std::string& name) {
  if (name == "runtime") return Executor::kRuntime;
  if (name == "reference") return Executor::kReference;
  throw InvalidArgument(cat("executor '", name, "' is unknown; known: runtime, reference"));
}

void require_threads(int threads) {
  if (threads < 1 || threads > thread_count())
    throw InvalidArgument(cat("--threads ", threads, ": wanted 1 to ", thread_count(), ", the CPUs that this process may run on"));
}

namespace {
GgufVocabulary vocabulary_of(const std::filesystem::path& path) {
  GgufTokenizer t = gguf_tokenizer(path);
  return {.model = std::move(t.model),
          .pre = std::move(t.pre),
          .tokens = std::move(t.tokens),
          .scores = std::move(t.scores),
          .types = std::move(t.types),
          .merges = std::move(t.merges),
          .bos = t.bos,
          .eos = t.eos,
          .unk = t.unk,
          .add_bos = t.add_bos,
          .add_eos = t.add_eos,
          .add_space_prefix = t.add_space_prefix};
}
}  // namespace

std::unique_ptr<Tokenizer> open_tokenizer(const Model& model) {
  if (model.kind == ModelKind::kOnnx) throw NotFound(cat(model.path, ": an ONNX file carries no tokenizer"));
  if (model.kind == ModelKind::kGguf || std::filesystem::exists(model.path / kGgufHeaderFile)) return tokenizer_from_gguf(vocabulary_of(model.path));
  return load_tokenizer(model.path);
}

std::vector<int32_t> end_of_sequence_ids(const Graph& graph) {
  auto it = graph.metadata.find("eos_token_ids");
  std::vector<int32_t> ids;
  if (it == graph.metadata.end()) return ids;
  auto json = nlohmann::json::parse(it->second, nullptr, false);
  if (json.is_array())
    for (auto& id : json)
      if (id.is_number_integer()) ids.push_back(id.get<int32_t>());
  return ids;
}

int64_t max_tokens_of(const Graph& graph) {
  auto it = graph.metadata.find("max_tokens");
  return it == graph.metadata.end() ? 0 : std::strtoll(it->second.c_str(), nullptr, 10);
}

}  // namespace lacuna
