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

TEST(Inspect, BreakEvenIsTheSmallestSparsityThatSavesAByte) {
  TemporaryDirectory directory;
  auto break_even = [&](Shape shape, DType type) {
    auto path = one_layer(directory, shape, {.values = type}, {.values = Tensor(type, shape)});
    auto found = inspect(path).weights.at(0).break_even;
    std::filesystem::remove_all(path);
    return found;
  };
  using Shares = std::map<std::string, double>;
  // Dense 1024 bytes. A mask of 32: 32 + 4 kept < 1024 up to 247. Five row offsets of a byte while at most 255 are kept: 5 + 5 kept < 1024 up to 203.
  EXPECT_EQ(break_even({4, 64}, DType::kF32), (Shares{{"bitmask", 1 - 247.0 / 256}, {"csr", 1 - 203.0 / 256}}));
  // Dense 48 bytes. Three columns still take a byte of mask per row: 4 + 4 kept < 48 up to 10; 5 + 5 kept < 48 up to 8.
  EXPECT_EQ(break_even({4, 3}, DType::kF32), (Shares{{"bitmask", 1 - 10.0 / 12}, {"csr", 1 - 8.0 / 12}}));
  // Dense 100 bytes of one column: the mask alone is as large, the row offsets are larger.
  EXPECT_EQ(break_even({100, 1}, DType::kU8), Shares{});
}

}  // namespace
}  // namespace lacuna
