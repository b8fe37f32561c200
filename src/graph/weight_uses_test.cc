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
