#include "io/onnx/files.h"

#include <set>
#include <string>

#include "io/onnx/lacuna_onnx.pb.h"
#include "io/onnx/model_file.h"

namespace lacuna::onnx {
namespace {

using Locations = std::set<std::string>;

void collect(const TensorProto& tensor, Locations& out) {
  if (tensor.data_location() != 1) return;
  for (auto& entry : tensor.external_data())
    if (entry.key() == "location") out.insert(entry.value());
}

void collect(const GraphProto& graph, Locations& out);

void collect(const NodeProto& node, Locations& out) {
  for (auto& attribute : node.attribute()) {
    if (attribute.has_t()) collect(attribute.t(), out);
    if (attribute.has_g()) collect(attribute.g(), out);
    for (auto& tensor : attribute.tensors()) collect(tensor, out);
    for (auto& graph : attribute.graphs()) collect(graph, out);
  }
}

void collect(const GraphProto& graph, Locations& out) {
  for (auto& tensor : graph.initializer()) collect(tensor, out);
  for (auto& node : graph.node()) collect(node, out);
}

}  // namespace

std::vector<std::filesystem::path> files_of_model(const std::filesystem::path& path) {
  ModelFile file = open_model(path);
  Locations locations;
  collect(file.model->graph(), locations);
  for (auto& function : file.model->functions())
    for (auto& node : function.node()) collect(node, locations);
  std::vector<std::filesystem::path> out = {path};
  for (auto& location : locations) out.push_back(path.parent_path() / location);
  return out;
}

}  // namespace lacuna::onnx
