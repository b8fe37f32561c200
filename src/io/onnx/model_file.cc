#include "io/onnx/model_file.h"

#include <climits>

#include "base/cat.h"
#include "io/onnx/lacuna_onnx.pb.h"
#include "io/onnx/wire.h"
#include "lacuna/error.h"

namespace lacuna::onnx {

ModelFile::ModelFile() = default;
ModelFile::ModelFile(ModelFile&&) noexcept = default;
ModelFile::~ModelFile() = default;

ModelFile parse_model(std::filesystem::path path, Bytes bytes) {
  ModelFile file;
  file.model = std::make_unique<ModelProto>();
  std::string messages = without_payloads(bytes.span(), path.string());
  if (messages.size() > size_t(INT_MAX))
    throw InvalidData(cat(path, ": has ", messages.size(), " bytes besides its weights, at most ", INT_MAX, " can be read"));
  if (!file.model->ParseFromArray(messages.data(), int(messages.size())))
    throw InvalidData(cat(path, ": is not an ONNX model: its messages cannot be read"));
  if (!file.model->has_graph() || file.model->opset_import_size() == 0)
    throw InvalidData(cat(path, ": is not an ONNX model: it has ", file.model->has_graph() ? "no operator set" : "no graph"));
  file.path = std::move(path);
  file.bytes = std::move(bytes);
  return file;
}

ModelFile open_model(const std::filesystem::path& path) { return parse_model(path, map_file(path)); }

}  // namespace lacuna::onnx
