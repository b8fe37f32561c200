#include "api/sample_inputs.h"

#include <algorithm>
#include <cctype>

#include "base/cat.h"
#include "base/rng.h"
#include "graph/infer.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

bool contains(std::string text, std::string_view part) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text.find(part) != std::string::npos;
}

// Rows of the table that the ids index, through casts and the like; 2 if they index none (a flag, a length).
int64_t vocabulary_of(const Graph& graph, ValueId ids) {
  for (NodeId user : graph.users(ids)) {
    const Node& node = graph.node(user);
    if (node.op == Op::embedding && node.inputs[0] == ids)
      if (const Weight* table = graph.weight_of(node.inputs[1])) return table->shape[0];
    if (node.op == Op::gather && node.inputs.size() > 1 && node.inputs[1] == ids)
      if (const Weight* table = graph.weight_of(node.inputs[0])) return table->shape[0];
    if (node.op == Op::cast || node.op == Op::identity || node.op == Op::reshape || node.op == Op::unsqueeze || node.op == Op::squeeze) {
      int64_t found = vocabulary_of(graph, node.outputs[0]);
      if (found > 2) return found;
    }
  }
  return 2;
}

}  // namespace

Bindings bind_symbols(const Graph& graph, const Bindings& wanted, int64_t batch, int64_t tokens) {
  Bindings out;
  std::vector<std::string> symbols = symbols_of(graph);
  for (auto& name : symbols) {
    if (auto it = wanted.find(name); it != wanted.end()) out[name] = it->second;
    else if (contains(name, "batch") || name == "N" || name.ends_with("_dim0")) out[name] = batch;
    else if (contains(name, "seq") || contains(name, "token") || contains(name, "len")) out[name] = tokens;
    else if (contains(name, "height") || contains(name, "width") || name.ends_with("_dim2") || name.ends_with("_dim3")) out[name] = 224;
    else if (name.ends_with("_dim1")) out[name] = tokens;
    else out[name] = batch;
  }
  for (auto& [name, value] : wanted)
    if (!out.contains(name)) throw InvalidArgument(cat("the model has no dimension '", name, "'; it has: ", join(symbols)));
  return out;
}

TensorMap sample_inputs(const Graph& graph, const Bindings& bindings, uint64_t seed) {
  TensorMap inputs;
  for (ValueId id : graph.inputs()) {
    const Value& value = graph.value(id);
    if (graph.metadata.contains(cat("optional:", value.name))) continue;
    if (!value.shape) throw Unsupported(cat("input '", value.name, "' has no known rank: give it with --inputs to `lacuna run`"));
    Shape shape;
    for (auto& d : *value.shape) {
      Dim bound = d.bind(bindings);
      if (!bound.is_constant()) throw InvalidArgument(cat("input '", value.name, "' ", to_string(*value.shape), ": give its dimensions with --dim NAME=N"));
      shape.push_back(bound.value());
    }
    Rng rng(seed + uint64_t(id) * 1000003);
    Tensor t(DType::kF32, shape);
    auto data = t.mutable_data<float>();
    bool mask = contains(value.name, "mask"), types = contains(value.name, "type");
    int64_t vocabulary = is_float(value.dtype) ? 0 : vocabulary_of(graph, id);
    for (float& v : data) v = is_float(value.dtype) ? float(rng.normal()) : mask ? 1.0f : types ? 0.0f : float(rng.below(vocabulary));
    inputs[value.name] = t.to(value.dtype);
  }
  return inputs;
}

}  // namespace lacuna
