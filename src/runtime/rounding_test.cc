// Products of rounded activations: both executors against loops of the test's own.
#include "runtime/rounding.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/cat.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

// A weight of s8 codes with a scale per row, or of s4 codes in groups of 32; sparse ones keep a third.
struct Coded {
  Weight weight;
  std::vector<double> values;  // [rows, cols]
};
Coded coded_weight(Rng& rng, DType type, int64_t rows, int64_t cols, bool sparse) {
  int64_t group = type == DType::kS4 ? 32 : cols, groups = (cols + group - 1) / group;
  WeightData data{.values = Tensor(type, {rows, cols}), .scales = Tensor(DType::kF32, groups > 1 ? Shape{rows, groups} : Shape{rows})};
  for (float& s : data.scales.mutable_data<float>()) s = float(0.001 + 0.01 * rng.uniform());
  if (sparse) data.mask = Mask(rows, cols, true);
  Coded out{.values = std::vector<double>(size_t(rows * cols))};
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) {
      bool kept = !sparse || rng.uniform() < 0.33;
      if (!kept) data.mask->set(r, c, false);
      int code = !kept ? 0 : type == DType::kS4 ? int(rng.below(16)) - 8 : int(rng.below(255)) - 127;
      auto* raw = reinterpret_cast<uint8_t*>(data.values.mutable_raw());
      if (type == DType::kS8) raw[r * cols + c] = uint8_t(int8_t(code));
      else raw[r * ((cols + 1) / 2) + c / 2] = uint8_t(raw[r * ((cols + 1) / 2) + c / 2] | (code & 15) << (c % 2 * 4));
      out.values[size_t(r * cols + c)] = code * double(data.scales.data<float>()[size_t(r * groups + c / group)]);
    }
  using enum Encoding::Granularity;
  Encoding encoding{.values = type, .granularity = groups > 1 ? kGroup : kRow, .group = groups > 1 ? group : 0};
  out.weight = {.name = "w", .shape = {rows, cols}, .layout = MatrixLayout::kOutIn, .encoding = encoding, .source = in_memory(data)};
  return out;
}

TEST(Rounding, LinearLayersOfRoundedTokensMultiplyIntegers) {
  Rng rng(7);
  for (DType type : {DType::kS8, DType::kS4})
    for (bool sparse : {false, true})
      for (int64_t tokens : {1, 5, 40}) {
        int64_t rows = 48, cols = 96;
        Coded w = coded_weight(rng, type, rows, cols, sparse);
        Graph graph;
        ValueId x = graph.add_input("x", DType::kF32, {Dim::symbol("n"), cols});
        Attributes attributes;
        attributes.set("activations", std::string("s8"));
        graph.add_output("y", graph.add(Op::linear, {x, graph.add_weight(graph.weights.add(w.weight))}, attributes));
        infer_shapes(graph);
        Tensor input = testing::random_tensor(rng, {tokens, cols});
        std::vector<float> wanted;
        for (int64_t t = 0; t < tokens; t++) {
          const float* token = input.data<float>().data() + t * cols;
          double largest = 0;
          for (int64_t c = 0; c < cols; c++) largest = std::max(largest, double(std::abs(token[c])));
          for (int64_t r = 0; r < rows; r++) {
            double sum = 0;
            for (int64_t c = 0; c < cols; c++) sum += std::nearbyint(token[c] * (127.0f / float(largest))) * (largest / 127) * w.values[size_t(r * cols + c)];
            wanted.push_back(float(sum));
          }
        }
        Tensor want = Tensor::of<float>({tokens, rows}, std::span<const float>(wanted));
        std::string what = cat(name_of(type), sparse ? " sparse " : " dense ", tokens);
        Session runtime(std::make_shared<const Graph>(graph));
        EXPECT_LE(relative_error(runtime.run({{"x", input}}).at("y"), want), 1e-5) << what;
        EXPECT_LE(relative_error(testing::run(graph, {{"x", input}}, Executor::kReference).at("y"), want), 1e-5) << what;
        EXPECT_TRUE(runtime.plan()[0].problem.find(type == DType::kS4 ? "s4" : "s8") != std::string::npos) << runtime.plan()[0].problem;
      }
}

TEST(Rounding, AFloatWeightIsNotRoundedWithItsInput) {
  Rng rng(8);
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {4, 64});
  Attributes attributes;
  attributes.set("activations", std::string("s8"));
  graph.add_output("y", graph.add(Op::linear, {x, testing::add_weight(graph, "w", testing::random_tensor(rng, {32, 64}), MatrixLayout::kOutIn)}, attributes));
  infer_shapes(graph);
  TensorMap inputs{{"x", testing::random_tensor(rng, {4, 64})}};
  EXPECT_LE(relative_error(testing::run(graph, inputs, Executor::kRuntime).at("y"), testing::run(graph, inputs, Executor::kReference).at("y")), 1e-5);
}

}  // namespace
}  // namespace lacuna
