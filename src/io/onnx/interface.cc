#include "io/onnx/interface.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/cat.h"
#include "io/onnx/lacuna_onnx.pb.h"
#include "lacuna/error.h"

namespace lacuna::onnx {
namespace {

using nlohmann::json;

json dims_of(const ValueInfoProto& info) {
  if (!info.type().has_tensor_type() || !info.type().tensor_type().has_shape()) return nullptr;
  json dims = json::array();
  for (auto& d : info.type().tensor_type().shape().dim()) {
    if (!d.dim_param().empty())
      dims.push_back(d.dim_param());
    else if (d.has_dim_value() && d.dim_value() > 0)
      dims.push_back(d.dim_value());
    else
      dims.push_back(nullptr);
  }
  return dims;
}

bool reads_as_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == ':' || c == '/'; }

bool is_plain(const std::string& text) {
  return text.size() <= 100 && std::all_of(text.begin(), text.end(), reads_as_name) && !std::isdigit(static_cast<unsigned char>(text[0]));
}

Dim symbol_of(const std::string& text) {
  std::string name = text.substr(0, 100);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !reads_as_name(c); }, '_');
  if (std::isdigit(static_cast<unsigned char>(name[0]))) name.insert(0, "_");
  return Dim::symbol(name);
}

// "?" and the like name nothing.
bool names_something(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return std::isalpha(c); });
}

// An expression counts as one only if each of its symbols is bound by another dimension.
Dim dim_of_param(const std::string& text, const std::set<std::string>& plain) {
  if (is_plain(text) || text.size() > 100) return symbol_of(text);
  try {
    Dim parsed = Dim::parse(text);
    std::set<std::string> symbols;
    parsed.collect_symbols(symbols);
    if (!symbols.empty() && std::includes(plain.begin(), plain.end(), symbols.begin(), symbols.end())) return parsed;
  } catch (const InvalidData&) {
  }
  return symbol_of(text);
}

}  // namespace

std::set<std::string> plain_symbols(const ModelProto& model) {
  std::set<std::string> out;
  for (auto& input : model.graph().input())
    for (auto& d : input.type().tensor_type().shape().dim())
      if (names_something(d.dim_param()) && is_plain(d.dim_param())) out.insert(d.dim_param());
  return out;
}

SymShape input_shape(const ValueInfoProto& input, const std::set<std::string>& plain) {
  SymShape shape;
  for (auto& d : input.type().tensor_type().shape().dim()) {
    if (names_something(d.dim_param()))
      shape.push_back(dim_of_param(d.dim_param(), plain));
    else if (d.has_dim_value() && d.dim_value() > 0)
      shape.push_back(Dim(d.dim_value()));
    else
      shape.push_back(symbol_of(cat(input.name(), "_dim", shape.size())));
  }
  return shape;
}

void remember_interface(const ModelProto& model, Graph& graph) {
  graph.family = "onnx";
  for (auto& import : model.opset_import())
    if (import.domain().empty() || import.domain() == "ai.onnx") graph.metadata["onnx.opset"] = std::to_string(import.version());
  graph.metadata["onnx.nodes"] = std::to_string(model.graph().node_size());
  graph.metadata["onnx.ir_version"] = std::to_string(model.ir_version());
  graph.metadata["onnx.producer"] =
      json::array({model.producer_name(), model.producer_version()}).dump(-1, ' ', false, json::error_handler_t::replace);
  graph.metadata["onnx.graph_name"] = model.graph().name();
  json properties = json::object();
  for (auto& entry : model.metadata_props()) properties[entry.key()] = entry.value();
  if (!properties.empty()) graph.metadata["onnx.metadata"] = properties.dump(-1, ' ', false, json::error_handler_t::replace);
  json dims = json::object();
  for (auto& info : model.graph().input()) dims[info.name()] = dims_of(info);
  for (auto& info : model.graph().output()) dims[info.name()] = dims_of(info);
  graph.metadata["onnx.dims"] = dims.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::optional<std::vector<SourceDim>> source_dims(const Graph& graph, const std::string& name) {
  auto it = graph.metadata.find("onnx.dims");
  if (it == graph.metadata.end()) return std::nullopt;
  json all = json::parse(it->second, nullptr, false);
  if (!all.is_object() || !all.contains(name) || !all[name].is_array()) return std::nullopt;
  std::vector<SourceDim> dims;
  for (auto& d : all[name]) {
    if (d.is_number_integer())
      dims.push_back({d.get<int64_t>(), ""});
    else
      dims.push_back({std::nullopt, d.is_string() ? d.get<std::string>() : ""});
  }
  return dims;
}

bool is_utf8(std::string_view text) noexcept {
  for (size_t i = 0; i < text.size();) {
    auto byte = [&](size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u; };
    unsigned first = byte(0);
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; k++)
      if ((byte(k) & 0xc0) != 0x80) return false;
    bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
    bool beyond = (first == 0xed && byte(1) >= 0xa0) || (first == 0xf4 && byte(1) >= 0x90);
    if (overlong || beyond) return false;
    i += length;
  }
  return true;
}

std::string block_path(const std::string& node_name) {
  std::vector<std::string> parts;
  std::string part;
  for (char c : node_name + "/") {
    if (c != '/') {
      part += c;
    } else if (!part.empty()) {
      parts.push_back(std::move(part));
      part.clear();
    }
  }
  if (parts.size() < 2) return "";
  parts.pop_back();  // the op itself
  for (auto& p : parts) {
    size_t dot = p.rfind('.');
    if (dot != std::string::npos && dot + 1 < p.size() &&
        std::all_of(p.begin() + long(dot) + 1, p.end(), [](unsigned char c) { return std::isdigit(c); }))
      return p;
  }
  return parts[0];
}

}  // namespace lacuna::onnx
