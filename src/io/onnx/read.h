// The importer's entry for callers that hold a parsed file (tests, fuzzing).
#pragma once

#include <memory>

#include "graph/graph.h"
#include "io/onnx/model_file.h"

namespace lacuna::onnx {

// The Graph as the source has it: nothing raised, weights claimed. Throws one Unsupported that lists everything unsupported, and
// InvalidData naming the file.
std::shared_ptr<Graph> import_model(const ModelFile& file);

}  // namespace lacuna::onnx
