// Writes an ONNX file, one initializer in memory at a time.
#pragma once

#include <filesystem>

#include "io/onnx/exporter.h"
#include "lacuna/progress.h"

namespace lacuna::onnx {

// Inputs, outputs and metadata come from the Graph. Values beyond `inline_limit` bytes in all go to PATH.data beside the model
// (a protobuf message ends at 2 GiB). Both files appear whole or not at all. Throws IoError.
void write_model(const OnnxModel& model, const Graph& graph, const std::filesystem::path& path, Progress* progress,
                 int64_t inline_limit = int64_t(2000) << 20);

}  // namespace lacuna::onnx
