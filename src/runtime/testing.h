// Helpers of the runtime tests: seeded tensors and weights, and a session per executor.
#pragma once

#include <cmath>

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

// A weight of s8 codes with a scale for each output. Scales are powers of two where results are to be exact in any order of sums.
inline ValueId add_coded_conv_weight(Graph& graph, Rng& rng, const std::string& name, int64_t out, int64_t in, int64_t kernel, bool exact = false) {
  WeightData data{.values = Tensor(DType::kS8, {out, in, kernel, kernel}), .scales = Tensor(DType::kF32, {out})};
  for (int8_t& v : data.values.mutable_data<int8_t>()) v = int8_t(int(rng.below(255)) - 127);
  for (float& v : data.scales.mutable_data<float>()) v = exact ? std::ldexp(1.0f, -9 - int(rng.below(3))) : float(0.0005 + 0.001 * rng.uniform());
  Weight weight{.name = name,
                .shape = data.values.shape(),
                .layout = MatrixLayout::kConv,
                .encoding = {.values = DType::kS8, .granularity = Encoding::Granularity::kRow},
                .source = in_memory(data)};
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
