#include "io/model.h"

#include <algorithm>
#include <fstream>

#include "base/cat.h"
#include "io/lacuna_directory.h"
#include "lacuna/error.h"

namespace lacuna {
namespace fs = std::filesystem;

std::string_view name_of(ModelKind kind) noexcept {
  switch (kind) {
    case ModelKind::kOnnx: return "onnx";
    case ModelKind::kHuggingFace: return "huggingface";
    case ModelKind::kGguf: return "gguf";
    case ModelKind::kLacuna: return "lacuna";
  }
  return "?";
}

namespace {

constexpr const char* kRead =
    "a model is a .onnx file, a .gguf file, a Hugging Face directory (config.json with safetensors), or a Lacuna directory (lacuna.json)";

ModelKind detect_directory(const fs::path& path) {
  if (fs::exists(path / "lacuna.json")) return ModelKind::kLacuna;
  if (fs::exists(path / "config.json") || fs::exists(path / "modules.json")) return ModelKind::kHuggingFace;
  std::vector<std::string> found;
  for (auto& entry : fs::directory_iterator(path)) found.push_back(entry.path().filename().string());
  std::sort(found.begin(), found.end());
  throw Unsupported(
      cat(path, ": has neither lacuna.json nor config.json; it holds ", found.empty() ? "nothing" : join(found, ", ", 20), "; ", kRead));
}

}  // namespace

ModelKind detect_model(const fs::path& path) {
  std::error_code error;
  fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) throw NotFound(cat(path, ": does not exist"));
  if (fs::is_directory(status)) return detect_directory(path);
  if (fs::is_regular_file(status) && fs::file_size(path, error) == 0) throw InvalidData(cat(path, ": is empty (0 bytes)"));
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, 4);
  if (std::string_view(magic, 4) == "GGUF") return ModelKind::kGguf;
  std::string extension = path.extension().string();
  if (extension == ".gguf") throw InvalidData(cat(path, ": does not start with GGUF"));
  if (extension == ".onnx") return ModelKind::kOnnx;
  if (extension == ".safetensors" || path.filename() == "config.json" || path.filename() == "lacuna.json")
    throw Unsupported(cat(path, ": give the directory it is in"));
  throw Unsupported(cat(path, ": is not a model file that Lacuna knows; ", kRead));
}

Model load_model(const fs::path& path) {
  Model model{.kind = detect_model(path), .path = path};
  model.source_kind = model.kind;
  switch (model.kind) {
    case ModelKind::kOnnx: model.graph = read_onnx(path); break;
    case ModelKind::kHuggingFace: model.graph = read_huggingface(path); break;
    case ModelKind::kGguf: model.graph = read_gguf(path); break;
    case ModelKind::kLacuna: return read_lacuna(path);
  }
  return model;
}

}  // namespace lacuna
