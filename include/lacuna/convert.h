// Back to the kind that came in, dense with zeros; or into a Lacuna directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/progress.h"

namespace lacuna {

struct ConvertOptions {
  std::string
      to;  // onnx | huggingface | gguf | lacuna; empty: from the output's name, else the kind that came in. Files must be called so: .onnx, .gguf
  std::string encoding;  // GGUF: f16 | q8_0 | q4_0; empty: each weight as it is stored, f16 where GGUF has no code for its zeros
  bool force = false;
};
struct ConvertReport {
  struct Onnx {
    int64_t nodes = 0;
    int opset = 0;
  };
  std::string from, to, output;
  int64_t bytes = 0, weights = 0, zeros = 0;
  std::optional<Onnx> onnx_before, onnx_after;  // the ONNX file that the model came from, and the one written: patterns of nodes become one
  std::vector<std::string> needs_attention;     // what the output does not hold
};
ConvertReport convert(const std::filesystem::path& model, const std::filesystem::path& output, const ConvertOptions& options = {},
                      Progress* progress = nullptr);
std::string to_json(const ConvertReport& report);

}  // namespace lacuna
