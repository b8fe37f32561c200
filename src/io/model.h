// One door for every kind of model file: what a path holds, reading it into a Graph, and writing it back.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "lacuna/progress.h"

namespace lacuna {

enum class ModelKind { kOnnx, kHuggingFace, kGguf, kLacuna };
std::string_view name_of(ModelKind kind) noexcept;  // "onnx", "huggingface", "gguf", "lacuna"

struct Model {
  ModelKind kind;
  std::filesystem::path path;  // as given
  std::shared_ptr<Graph> graph;
  ModelKind source_kind;  // what it came from originally (a Lacuna directory remembers)
};

// Looks at the path (extension and content). Throws NotFound, or Unsupported saying what it found and what is read.
ModelKind detect_model(const std::filesystem::path& path);
// Reads headers and maps weights; no weight is touched. Throws one Unsupported that lists everything unsupported.
Model load_model(const std::filesystem::path& path);

// The files that a readable model consists of, each once: weights (external data and shards included), configuration, tokenizer. What
// merely lies in the same folder is none of it.
std::vector<std::filesystem::path> model_files(const std::filesystem::path& path);
// Bytes of model_files.
int64_t bytes_on_disk(const std::filesystem::path& path);

// Readers of each kind (load_model calls them).
std::shared_ptr<Graph> read_onnx(const std::filesystem::path& path);
std::shared_ptr<Graph> read_huggingface(const std::filesystem::path& directory);
std::shared_ptr<Graph> read_gguf(const std::filesystem::path& path);

// Writers: dense with zeros, the kind that came in. Built under a temporary name and renamed; `force` as in docs.
struct OnnxFacts {
  int64_t nodes = 0;
  int opset = 0;
};
OnnxFacts write_onnx(const Graph& graph, const std::filesystem::path& path, Progress* progress = nullptr);  // of what was written
// Of the file that the Graph was read from; nullopt if it came from no ONNX file.
std::optional<OnnxFacts> onnx_source_facts(const Graph& graph);
// config.json out of the Graph's metadata, tokenizer and other small files as they are in `source_directory` (a Hugging Face or
// Lacuna directory), weights as safetensors in their own float type (coded ones in the type that the configuration states).
void write_huggingface(const Graph& graph, const std::filesystem::path& source_directory, const std::filesystem::path& out,
                       Progress* progress = nullptr, bool force = false);
// The key-value pairs of the GGUF file (or of the Lacuna directory made from one) at `source`, matrices as `encoding`: "f16", "q8_0" or
// "q4_0", which represent zero exactly; "" keeps each in the encoding it has where that can be written (a pruned Q4_1 cannot: it has no
// code for zero), else f16; vectors as f32.
void write_gguf(const Graph& graph, const std::filesystem::path& source, const std::filesystem::path& out, std::string_view encoding,
                Progress* progress = nullptr, bool force = false);

// The files of a model directory that are neither weights nor made by Lacuna (configuration, tokenizer, licence, model card),
// relative to it, sorted. Empty if `directory` is none.
std::vector<std::filesystem::path> model_assets(const std::filesystem::path& directory);

}  // namespace lacuna
