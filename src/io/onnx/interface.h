// Names and dimensions at the border of a model: how they came, for the exporter, and what the Graph makes of them.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace lacuna::onnx {

class ModelProto;
class ValueInfoProto;

// The dim_params that are one name each.
std::set<std::string> plain_symbols(const ModelProto& model);
// The shape of a graph input: dim_param as a symbol (or an expression, "past + 1", of plain ones), an unnamed dimension N as the
// symbol INPUT_dimN.
SymShape input_shape(const ValueInfoProto& input, const std::set<std::string>& plain);

// Puts into the Graph's metadata what an exporter needs to write the model as it came: "onnx.opset", "onnx.ir_version",
// "onnx.producer", "onnx.graph_name", "onnx.metadata" and "onnx.dims" (JSON).
void remember_interface(const ModelProto& model, Graph& graph);

// Dimensions of an input or output as the source wrote them: a number, a name, or null. nullopt if the source is not ONNX or lacked them.
struct SourceDim {
  std::optional<int64_t> value;
  std::string name;  // "" if unnamed
};
std::optional<std::vector<SourceDim>> source_dims(const Graph& graph, const std::string& input_or_output);

// ONNX text is UTF-8, and so is everything the Graph is saved as.
bool is_utf8(std::string_view text) noexcept;

// The block that a node of this name belongs to: the first component that ends in a number ("/layer1/layer1.0/conv1/Conv" gives
// "layer1.0"), else the first of several ("/conv1/Conv" gives "conv1"), else "".
std::string block_path(const std::string& node_name);

}  // namespace lacuna::onnx
