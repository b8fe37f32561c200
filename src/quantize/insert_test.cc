#include "quantize/insert.h"

#include <gtest/gtest.h>

#include <cmath>

#include "graph/infer.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

// relu(x) -> conv -> relu -> conv, plus the first relu: a residual that the first convolution reads too.
struct Net {
  Graph graph;
  ValueId start, middle, sum;
  NodeId first, second;
  Net() {
    Rng rng(3);
    auto conv = [&](ValueId x, const std::string& name) {
      ValueId w = testing::add_weight(graph, name, testing::random_tensor(rng, {4, 4, 1, 1}, 0.5f), MatrixLayout::kConv);
      return graph.add(Op::conv, {x, w}, {}, name);
    };
    ValueId x = graph.add_input("x", DType::kF32, {1, 4, 5, 5});
    start = graph.add(Op::relu, {x});
    ValueId a = conv(start, "a");
    middle = graph.add(Op::relu, {a});
    ValueId b = conv(middle, "b");
    sum = graph.add(Op::add, {b, start});
    graph.add_output("y", sum);
    infer_shapes(graph);
    first = graph.value(a).producer, second = graph.value(b).producer;
  }
};

TEST(InsertRounding, ProductsAndTheResidualReadTheSameRoundedValue) {
  Net net;
  RoundingPlan plan = plan_rounding(net.graph, {net.first, net.second});
  ASSERT_EQ(plan.readers.size(), 2u);
  EXPECT_EQ(plan.readers.at(net.middle), std::vector<NodeId>{net.second});
  EXPECT_EQ(plan.readers.at(net.start).size(), 2u);  // the first convolution and the addition

  Graph before = net.graph;
  insert_rounding(net.graph, plan, {{net.start, 0.02f}, {net.middle, 0.03f}});
  infer_shapes(net.graph);
  verify(net.graph);
  EXPECT_EQ(net.graph.nodes().size(), before.nodes().size() + 4);
  // Values move by no more than what rounding can do: half a step of each input, through weights of a few units.
  Rng rng(4);
  TensorMap inputs{{"x", testing::random_tensor(rng, {1, 4, 5, 5}, 0.5f)}};
  Tensor exact = testing::run(before, inputs, Executor::kReference).at("y"), rounded = testing::run(net.graph, inputs, Executor::kReference).at("y");
  double off = absolute_error(rounded, exact);
  EXPECT_GT(off, 0);
  EXPECT_LT(off, 0.3);
  EXPECT_LE(relative_error(testing::run(net.graph, inputs, Executor::kRuntime).at("y"), rounded), 1e-5);
}

TEST(InsertRounding, WhatIsRoundedAlreadyIsLeftAlone) {
  Net net;
  insert_rounding(net.graph, plan_rounding(net.graph, {net.first, net.second}), {{net.start, 0.02f}, {net.middle, 0.03f}});
  infer_shapes(net.graph);
  std::set<NodeId> products;
  for (NodeId n = 0; n < NodeId(net.graph.nodes().size()); n++)
    if (net.graph.node(n).op == Op::conv) products.insert(n);
  EXPECT_TRUE(plan_rounding(net.graph, products).readers.empty());
}

}  // namespace
}  // namespace lacuna
