// Short ways to build graphs in tests.
#pragma once

#include <string>

#include "graph/infer.h"
#include "lacuna/error.h"

namespace lacuna::testing {

template <class T>
WeightId add_tensor(Graph& graph, std::string name, Shape shape, const std::vector<T>& values, MatrixLayout layout = MatrixLayout::kNone) {
  WeightData data;
  data.values = Tensor::of<T>(shape, std::span<const T>(values));
  return graph.weights.add(
      {.name = std::move(name), .shape = shape, .layout = layout, .encoding = {.values = dtype_v<T>}, .source = in_memory(std::move(data))});
}

// A float weight whose values do not matter.
inline ValueId weight(Graph& graph, std::string name, Shape shape, MatrixLayout layout = MatrixLayout::kNone) {
  return graph.add_weight(add_tensor(graph, std::move(name), shape, std::vector<float>(size_t(element_count(shape)), 0.5f), layout));
}
inline ValueId vector_of(Graph& graph, std::string name, std::vector<int64_t> values) {
  return graph.add_weight(add_tensor(graph, std::move(name), {int64_t(values.size())}, values));
}
inline ValueId scalar(Graph& graph, std::string name, int64_t value) {
  return graph.add_weight(add_tensor<int64_t>(graph, std::move(name), {}, {value}));
}
inline ValueId number(Graph& graph, std::string name, float value) {
  return graph.add_weight(add_tensor<float>(graph, std::move(name), {}, {value}));
}

inline Attributes attributes(std::initializer_list<std::pair<const char*, Attribute>> list) {
  Attributes out;
  for (auto& [name, value] : list) out.set(name, value);
  return out;
}
inline Attribute integers(std::vector<int64_t> values) { return values; }

// "[batch, 64, 8, 8]", or "?" if not known, of a value after inference.
inline std::string shape_text(const Graph& graph, ValueId value, const Bindings& bindings = {}) {
  auto facts = infer_facts(graph, bindings);
  auto& shape = facts[size_t(value)].shape;
  return shape ? to_string(*shape) : "?";
}

// The message of the error that `run` throws; empty if it throws none.
template <class F>
std::string message_of(F&& run) {
  try {
    run();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace lacuna::testing
