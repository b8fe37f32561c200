// The files an ONNX model lies in.
#pragma once

#include <filesystem>
#include <vector>

namespace lacuna::onnx {

// The model and every file of external data that a tensor in it names, those of constants and subgraphs included.
// Throws NotFound, IoError, InvalidData as open_model.
std::vector<std::filesystem::path> files_of_model(const std::filesystem::path& path);

}  // namespace lacuna::onnx
