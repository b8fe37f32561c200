// Tensors as ONNX test data and tools exchange them: a TensorProto alone in a file (.pb).
#pragma once

#include <filesystem>
#include <string>

#include "tensor/tensor.h"

namespace lacuna {

struct NamedTensor {
  std::string name;
  Tensor values;
};

// Throws NotFound, IoError, InvalidData, and Unsupported for element types Lacuna does not have.
NamedTensor read_onnx_tensor(const std::filesystem::path& path);

}  // namespace lacuna
