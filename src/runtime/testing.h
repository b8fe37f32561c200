// Helpers of the runtime tests: seeded tensors and weights, and a session per executor.
#pragma once

#include "base/cat.h"
#include "base/rng.h"
#include "graph/infer.h"
#include "runtime/session.h"

namespace lacuna::testing {

inline Tensor random_tensor(Rng& rng, Shape shape, float scale = 1) {
  Tensor t(DType::kF32, std::move(shape));
  for (float& v : t.mutable_data<float>()) v = float(rng.normal()) * scale;
  return t;
}

inline Tensor random_ids(Rng& rng, Shape shape, int64_t high) {
  Tensor t(DType::kS64, std::move(shape));
  for (int64_t& v : t.mutable_data<int64_t>()) v = rng.below(high);
  return t;
}

template <class T>
Tensor tensor(Shape shape, std::initializer_list<T> values) {
  return Tensor::of<T>(std::move(shape), std::span<const T>(values.begin(), values.size()));
}

// Adds a weight with these values and returns its value.
inline ValueId add_weight(Graph& graph, const std::string& name, const Tensor& values, MatrixLayout layout = MatrixLayout::kNone) {
  Weight weight{
      .name = name, .shape = values.shape(), .layout = layout, .encoding = {.values = values.dtype()}, .source = in_memory({.values = values})};
  return graph.add_weight(graph.weights.add(std::move(weight)));
}

// Rounds values to codes and back, as graphs of quantize and dequantize nodes do.
struct Quantizer {
  Graph& graph;
  float scale;
  int zero;
  DType type;
  std::string prefix = "q";  // of the weights it adds
  int made = 0;
  // dequantize(quantize(x))
  ValueId operator()(ValueId x) {
    Tensor zero_point(type, {});
    zero_point.mutable_raw()[0] = std::byte(zero);
    std::string name = cat(prefix, ++made);
    ValueId s = add_weight(graph, name + "_scale", tensor<float>({}, {scale})), z = add_weight(graph, name + "_zero", zero_point);
    return graph.add(Op::dequantize, {graph.add(Op::quantize, {x, s, z}), s, z});
  }
};

inline TensorMap run(const Graph& graph, const TensorMap& inputs, Executor executor) {
  Session session(std::make_shared<const Graph>(graph), {.executor = executor});
  return session.run(inputs);
}

}  // namespace lacuna::testing
