// lacuna.json's "graph" object:
//   family, metadata {name: text},
//   values  [{kind: "input" | "state", name, dtype, shape: ["batch", "3"]} | {kind: "weight", weight: NAME} | {kind: "result", name}],
//   nodes   [{op, name, block?, inputs: [index or -1], outputs: [index or -1], attributes?: {name: value}}],
//   outputs [{name, value: index}].
// Indices are positions in `values`. Shapes and types of results are inferred again when read. A number that JSON cannot
// write is a text: "inf", "-inf", "nan".
#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/cat.h"
#include "base/json_depth.h"
#include "graph/infer.h"
#include "lacuna/error.h"

namespace lacuna {

using Json = nlohmann::json;

namespace {

constexpr int kMaxDepth = 8;  // object, nodes, node, attributes, list; a little more for those who come later

Json number_to_json(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  return v;
}

Json attribute_to_json(const Attribute& value) {
  if (auto* numbers = std::get_if<std::vector<double>>(&value)) {
    Json list = Json::array();
    for (double v : *numbers) list.push_back(number_to_json(v));
    return list;
  }
  if (auto* number = std::get_if<double>(&value)) return number_to_json(*number);
  return std::visit([](auto& v) { return Json(v); }, value);
}

Json value_to_json(const Graph& graph, const Value& value) {
  if (value.kind == ValueKind::kResult) return {{"kind", "result"}, {"name", value.name}};
  if (value.kind == ValueKind::kWeight) return {{"kind", "weight"}, {"weight", graph.weights[value.weight].name}};
  Json shape = Json::array();
  if (value.shape)
    for (const Dim& d : *value.shape) shape.push_back(d.to_string());
  return {{"kind", value.kind == ValueKind::kInput ? "input" : "state"}, {"name", value.name}, {"dtype", name_of(value.dtype)}, {"shape", shape}};
}

// Reading: every step says where it is, so that a message names the place.
[[noreturn]] void fail(const std::string& where, const std::string& what) { throw InvalidData(cat("graph: ", where, ": ", what)); }

const Json& member(const Json& object, const char* name, const std::string& where) {
  if (!object.is_object()) fail(where, "is not an object");
  auto it = object.find(name);
  if (it == object.end()) fail(where, cat("has no '", name, "'"));
  return *it;
}

std::string text(const Json& json, const std::string& where) {
  if (!json.is_string()) fail(where, cat("is ", json.type_name(), ", wanted text"));
  return json.get<std::string>();
}

int64_t integer(const Json& json, const std::string& where) {
  bool too_large = json.is_number_unsigned() && json.get<uint64_t>() > uint64_t(std::numeric_limits<int64_t>::max());
  if (!json.is_number_integer() || too_large) fail(where, cat("is ", json.type_name(), ", wanted a 64-bit integer"));
  return json.get<int64_t>();
}

double number(const Json& json, const std::string& where) {
  if (json.is_number()) return json.get<double>();
  if (json == "inf") return std::numeric_limits<double>::infinity();
  if (json == "-inf") return -std::numeric_limits<double>::infinity();
  if (json == "nan") return std::numeric_limits<double>::quiet_NaN();
  fail(where, cat("is ", json.type_name(), ", wanted a number"));
}

const Json& list(const Json& json, const std::string& where) {
  if (!json.is_array()) fail(where, cat("is ", json.type_name(), ", wanted a list"));
  return json;
}

ValueId value_index(const Json& json, size_t count, bool optional, const std::string& where) {
  int64_t i = integer(json, where);
  if (i >= int64_t(count) || i < (optional ? -1 : 0)) fail(where, cat("refers to value ", i, ", there are ", count));
  return ValueId(i);
}

Attribute attribute_from_json(const std::string& name, const Json& json, const std::string& where) {
  auto kind = attribute_kind(name);
  if (!kind) fail(where, "is an unknown attribute");
  switch (*kind) {
    case AttributeKind::kInteger: return integer(json, where);
    case AttributeKind::kNumber: return json.is_number_integer() ? Attribute(integer(json, where)) : Attribute(number(json, where));
    case AttributeKind::kText: return text(json, where);
    case AttributeKind::kIntegers: {
      std::vector<int64_t> out;
      for (auto& v : list(json, where)) out.push_back(integer(v, where));
      return out;
    }
    case AttributeKind::kNumbers: {
      std::vector<double> out;
      for (auto& v : list(json, where)) out.push_back(number(v, where));
      return out;
    }
  }
  fail(where, "is an unknown attribute");
}

Json parse(std::string_view json) {
  if (json_depth(json) > kMaxDepth) throw InvalidData(cat("graph: is nested deeper than ", kMaxDepth, " levels"));
  try {
    return Json::parse(json);
  } catch (const Json::exception& e) {
    throw InvalidData(cat("graph: ", e.what()));
  }
}

Node node_from_json(const Json& json, size_t values, const std::string& where) {
  std::string op_name = text(member(json, "op", where), where + ": op");
  auto op = op_from_name(op_name);
  if (!op) fail(where, cat("op '", op_name, "' is unknown"));
  Node node{.op = *op, .name = text(member(json, "name", where), where + ": name")};
  if (json.contains("block")) node.block = text(json["block"], where + ": block");
  for (auto& v : list(member(json, "inputs", where), where + ": inputs")) node.inputs.push_back(value_index(v, values, true, where + ": inputs"));
  for (auto& v : list(member(json, "outputs", where), where + ": outputs")) node.outputs.push_back(value_index(v, values, true, where + ": outputs"));
  if (json.contains("attributes")) {
    if (!json["attributes"].is_object()) fail(where, "attributes are not an object");
    for (auto& [name, value] : json["attributes"].items())
      node.attributes.set(name, attribute_from_json(name, value, cat(where, ": attribute '", name, "'")));
  }
  return node;
}

}  // namespace

std::string graph_to_json(const Graph& graph) {
  // Only values that something refers to are written, in their order.
  std::vector<bool> used(graph.values().size());
  auto use = [&](ValueId v) {
    if (v != kNoValue) used[size_t(v)] = true;
  };
  for (auto ids : {graph.inputs(), graph.states()}) std::for_each(ids.begin(), ids.end(), use);
  for (const Node& node : graph.nodes()) {
    std::for_each(node.inputs.begin(), node.inputs.end(), use);
    std::for_each(node.outputs.begin(), node.outputs.end(), use);
  }
  for (auto& output : graph.outputs()) use(output.value);
  std::vector<ValueId> index(used.size(), kNoValue);
  Json values = Json::array(), nodes = Json::array(), outputs = Json::array();
  for (size_t i = 0; i < used.size(); i++) {
    if (!used[i]) continue;
    index[i] = ValueId(values.size());
    values.push_back(value_to_json(graph, graph.values()[i]));
  }
  auto indices = [&](const std::vector<ValueId>& ids) {
    Json out = Json::array();
    for (ValueId v : ids) out.push_back(v == kNoValue ? kNoValue : index[size_t(v)]);
    return out;
  };
  for (const Node& node : graph.nodes()) {
    Json json = {{"op", name_of(node.op)}, {"name", node.name}, {"inputs", indices(node.inputs)}, {"outputs", indices(node.outputs)}};
    if (!node.block.empty()) json["block"] = node.block;
    for (auto& [name, value] : node.attributes.all()) json["attributes"][name] = attribute_to_json(value);
    nodes.push_back(std::move(json));
  }
  for (auto& output : graph.outputs()) outputs.push_back({{"name", output.name}, {"value", index[size_t(output.value)]}});
  Json json = {{"family", graph.family}, {"metadata", graph.metadata}, {"values", values}, {"nodes", nodes}, {"outputs", outputs}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Graph graph_from_json(std::string_view text_of_graph, WeightTable weights) {
  Json json = parse(text_of_graph);
  Graph graph;
  graph.weights = std::move(weights);
  std::map<std::string, WeightId> weight_ids;
  for (WeightId id = 0; id < graph.weights.size(); id++) weight_ids.emplace(graph.weights[id].name, id);

  graph.family = text(member(json, "family", "graph"), "family");
  const Json& metadata = member(json, "metadata", "graph");
  if (!metadata.is_object()) fail("metadata", "is not an object");
  for (auto& [name, value] : metadata.items()) graph.metadata[name] = text(value, cat("metadata '", name, "'"));

  std::vector<std::string> missing;
  const Json& values = list(member(json, "values", "graph"), "values");
  for (size_t i = 0; i < values.size(); i++) {
    std::string where = cat("value ", i), kind = text(member(values[i], "kind", where), where + ": kind");
    if (kind == "weight") {
      std::string name = text(member(values[i], "weight", where), where + ": weight");
      auto it = weight_ids.find(name);
      if (it == weight_ids.end())
        missing.push_back(cat("'", name, "'"));
      else if (graph.weight_values_.contains(it->second))
        fail(where, cat("weight '", name, "' is listed twice"));
      else
        graph.add_weight(it->second);
      continue;
    }
    std::string name = text(member(values[i], "name", where), where + ": name");
    if (kind == "result") {
      graph.values_.push_back({.name = name, .kind = ValueKind::kResult});
      continue;
    }
    if (kind != "input" && kind != "state") fail(where, cat("kind '", kind, "' is unknown, known are input, state, weight, result"));
    std::string type = text(member(values[i], "dtype", where), where + ": dtype");
    auto dtype = dtype_from_name(type);
    if (!dtype) fail(where, cat("dtype '", type, "' is unknown"));
    SymShape shape;
    for (auto& d : list(member(values[i], "shape", where), where + ": shape")) shape.push_back(Dim::parse(text(d, where + ": shape")));
    if (kind == "input")
      graph.add_input(name, *dtype, std::move(shape));
    else
      graph.add_state(name, *dtype, std::move(shape));
  }
  if (!missing.empty()) throw InvalidData(cat("graph: weights without data: ", join(missing, ", ", 20)));

  std::vector<Node> nodes;
  for (auto& node : list(member(json, "nodes", "graph"), "nodes")) nodes.push_back(node_from_json(node, values.size(), cat("node ", nodes.size())));
  graph.set_nodes(std::move(nodes));
  for (auto& output : list(member(json, "outputs", "graph"), "outputs"))
    graph.add_output(text(member(output, "name", "outputs"), "outputs"),
                     value_index(member(output, "value", "outputs"), values.size(), false, "outputs"));
  verify(graph);
  infer_shapes(graph);
  return graph;
}

}  // namespace lacuna
