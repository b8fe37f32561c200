// An ONNX file as messages, its weights left in the mapped file.
#pragma once

#include <filesystem>
#include <memory>

#include "base/buffer.h"

namespace lacuna::onnx {

class ModelProto;

struct ModelFile {
  ModelFile();
  ModelFile(ModelFile&&) noexcept;
  ~ModelFile();
  std::filesystem::path path;
  Bytes bytes;
  std::unique_ptr<ModelProto> model;  // long raw_data replaced by mapped_offset and mapped_size
};

// Throws NotFound, IoError, and InvalidData where the bytes are no ONNX model with a graph.
ModelFile open_model(const std::filesystem::path& path);
// The same from bytes in memory; `path` names them in messages and says where external data lies.
ModelFile parse_model(std::filesystem::path path, Bytes bytes);

}  // namespace lacuna::onnx
