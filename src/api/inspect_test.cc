#include "lacuna/inspect.h"

#include "base/cat.h"
#include "graph/infer.h"
#include "io/lacuna_directory.h"
#include "io/testing.h"

namespace lacuna {
namespace {

// A Lacuna directory of one linear layer.
std::filesystem::path one_layer(const TemporaryDirectory& directory, Shape shape, Encoding encoding, WeightData data) {
  Graph graph;
  WeightId id =
      graph.weights.add({.name = "w", .shape = shape, .layout = MatrixLayout::kOutIn, .encoding = encoding, .source = in_memory(std::move(data))});
  ValueId x = graph.add_input("x", DType::kF32, {Dim(1), Dim(shape[1])});
  graph.add_output("y", graph.add(Op::linear, {x, graph.add_weight(id)}));
  infer_shapes(graph);
  Model model{.kind = ModelKind::kHuggingFace, .path = directory.path(), .graph = std::make_shared<Graph>(graph)};
  save_lacuna(model, directory / "model", false);
  return directory / "model";
}

TEST(Inspect, AZeroWhoseCodeIsNotZeroCountsAsRemoved) {
  TemporaryDirectory directory;
  Encoding encoding{.values = DType::kU8, .granularity = Encoding::Granularity::kTensor, .has_minima = true};
  WeightData data{.values = Tensor::of<uint8_t>({2, 4}, std::vector<uint8_t>{0, 1, 2, 3, 2, 5, 6, 7}),
                  .scales = Tensor::of<float>({1}, std::vector<float>{0.5f}),
                  .minima = Tensor::of<float>({1}, std::vector<float>{-1})};
  auto path = one_layer(directory, {2, 4}, encoding, std::move(data));
  WeightSummary weight = inspect(path, {.weights = true}).weights.at(0);
  EXPECT_EQ(weight.sparsity, 0.25);  // both codes 2
  EXPECT_EQ(weight.max_magnitude, 2.5);
  EXPECT_EQ(weight.format_bytes.at("bitmask"), 2 + 6);
}

}  // namespace
}  // namespace lacuna
