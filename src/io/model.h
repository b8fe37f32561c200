// One door for every kind of model file: what a path holds, reading it into a Graph, and writing it back.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "graph/graph.h"
#include "lacuna/progress.h"

namespace lacuna {

enum class ModelKind { kOnnx, kHuggingFace, kGguf, kLacuna };
std::string_view name_of(ModelKind kind) noexcept;  // "onnx", "huggingface", "gguf", "lacuna"

struct Model {
  ModelKind kind;
  std::filesystem::path path;       // as given
  std::shared_ptr<Graph> graph;
  ModelKind source_kind;            // what it came from originally (a Lacuna directory remembers)
};

// Looks at the path (extension and content). Throws NotFound, or Unsupported saying what it found and what is read.
ModelKind detect_model(const std::filesystem::path& path);
// Reads headers and maps weights; no weight is touched. Throws one Unsupported that lists everything unsupported.
Model load_model(const std::filesystem::path& path);

// Readers of each kind (load_model calls them).
std::shared_ptr<Graph> read_onnx(const std::filesystem::path& path);
std::shared_ptr<Graph> read_huggingface(const std::filesystem::path& directory);
std::shared_ptr<Graph> read_gguf(const std::filesystem::path& path);

// Writers: dense with zeros, the kind that came in. Built under a temporary name and renamed; `force` as in docs.
void write_onnx(const Graph& graph, const std::filesystem::path& path, Progress* progress = nullptr);
// Writes config.json and tokenizer files from the Graph's metadata/`assets` directory plus sharded safetensors.
void write_huggingface(const Graph& graph, const std::filesystem::path& source_directory, const std::filesystem::path& out, Progress* progress = nullptr);
void write_gguf(const Graph& graph, const std::filesystem::path& path, std::string_view encoding, Progress* progress = nullptr);  // "f16" | "q8_0" | "q4_0"

}  // namespace lacuna
