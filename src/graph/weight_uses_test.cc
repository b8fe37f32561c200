#include <gtest/gtest.h>

#include <ctime>

#include "base/cat.h"
#include "graph/testing.h"

namespace lacuna {
namespace {

TEST(WeightUses, OfManyResidualLayersTakeTimeInProportion) {
  std::clock_t start = std::clock();
  Graph graph;
  constexpr int kLayers = 10'000;
  ValueId x = graph.add_input("x", DType::kF32, {Dim(1), Dim(2)});
  for (int i = 0; i < kLayers; i++)
    x = graph.add(Op::add, {x, graph.add(Op::linear, {x, testing::weight(graph, cat("w", i), {2, 2}, MatrixLayout::kOutIn)})});
  graph.add_output("y", x);
  infer_shapes(graph);
  auto uses = weight_uses(graph);
  ASSERT_EQ(uses.size(), size_t(kLayers));
  for (auto& use : uses) EXPECT_TRUE(use.prunable) << use.reason;
  EXPECT_LT(double(std::clock() - start) / CLOCKS_PER_SEC, 10);  // closures of every layer take minutes
}

TEST(WeightUses, MatricesOfAnLstmAreRecurrentAndItsBiasIsABias) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {Dim(5), Dim(1), Dim(8)});
  ValueId w = testing::weight(graph, "w", {2, 16, 8}, MatrixLayout::kOutIn), r = testing::weight(graph, "r", {2, 16, 4}, MatrixLayout::kOutIn);
  NodeId lstm = graph.add_node(Op::lstm, {x, w, r, testing::weight(graph, "b", {2, 32})}, 3,
                               testing::attributes({{"direction", std::string("bidirectional")}, {"hidden_size", int64_t(4)}}), "lstm");
  graph.add_output("y", graph.node(lstm).outputs[0]);
  infer_shapes(graph);
  auto uses = weight_uses(graph);
  ASSERT_EQ(uses.size(), 3u);
  for (size_t i = 0; i < 3; i++) {
    EXPECT_EQ(uses[i].op_type, i < 2 ? "LSTM" : "Bias");
    EXPECT_EQ(uses[i].reason, i < 2 ? "recurrent" : "bias or norm");
  }
}

TEST(WeightUses, AVeryLongWayToTheOutputEnds) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {Dim(1), Dim(2)});
  x = graph.add(Op::linear, {x, testing::weight(graph, "w", {3, 2}, MatrixLayout::kOutIn)});
  for (int i = 0; i < 200'000; i++) x = graph.add(Op::relu, {x});
  graph.add_output("y", x);
  infer_shapes(graph);
  EXPECT_EQ(weight_uses(graph).size(), 1u);
}

}  // namespace
}  // namespace lacuna
