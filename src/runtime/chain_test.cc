// Convolutions that run as chains give what they give one by one, and what a chain keeps to itself takes no memory.
#include <gtest/gtest.h>

#include <cmath>

#include "base/cat.h"
#include "base/cpu.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

using testing::add_weight;
using testing::random_tensor;

constexpr int64_t kSize = 32;  // enough panels for several threads

struct Net {
  Graph graph;
  Rng rng{11};
  int count = 0;
  ValueId x = graph.add_input("x", DType::kF32, {Dim::symbol("batch"), 8, kSize, kSize});

  // Four of five weights are zero.
  ValueId conv(ValueId from, int64_t in, int64_t out, int64_t k, bool with_bias = true) {
    Tensor w = random_tensor(rng, {out, in, k, k}, 2 / std::sqrt(float(in * k * k)));
    for (float& v : w.mutable_data<float>())
      if (rng.uniform() < 0.8) v = 0;
    std::vector<ValueId> inputs = {from, add_weight(graph, cat("w", count++), w, MatrixLayout::kConv)};
    if (with_bias) inputs.push_back(add_weight(graph, cat("b", count++), random_tensor(rng, {out})));
    Attributes attributes;
    attributes.set("pads", std::vector<int64_t>(4, k / 2));
    return graph.add(Op::conv, inputs, attributes);
  }
  ValueId relu(ValueId v) { return graph.add(Op::relu, {v}); }
  ValueId add(ValueId a, ValueId b) { return graph.add(Op::add, {a, b}); }

  // Both executors agree; returns the bytes of the arena.
  int64_t check(int64_t batch) {
    infer_shapes(graph);
    TensorMap inputs = {{"x", random_tensor(rng, {batch, 8, kSize, kSize})}};
    TensorMap wanted = testing::run(graph, inputs, Executor::kReference);
    Session session(std::make_shared<const Graph>(graph), {.split_batches = false});
    for (int run = 0; run < 2; run++)  // the second finds what the first left
      for (auto& [name, value] : session.run(inputs)) EXPECT_LE(relative_error(value, wanted.at(name)), 1e-5) << name << " run " << run;
    return session.arena_bytes();
  }
};

bool has_chains() { return cpu_features().avx2; }
constexpr int64_t kPlane = kSize * kSize * int64_t(sizeof(float));

TEST(Chain, WhatOnlyTheNextConvolutionReadsTakesNoMemory) {
  Net net;
  ValueId wide = net.relu(net.conv(net.x, 8, 96, 3));
  ValueId back = net.relu(net.conv(wide, 96, 8, 1));
  net.graph.add_output("y", net.conv(net.relu(back), 8, 8, 3));
  int64_t bytes = net.check(1);
  if (has_chains()) {
    EXPECT_LT(bytes, 96 * kPlane);
  }
}

TEST(Chain, BottlenecksWithResidualsGiveWhatTheReferenceGives) {
  for (int64_t batch : {1, 3}) {
    Net net;
    ValueId wide = net.relu(net.conv(net.x, 8, 48, 1));
    for (int block = 0; block < 3; block++) {
      ValueId narrow = net.relu(net.conv(net.relu(net.conv(wide, 48, 16, 1)), 16, 16, 3));
      wide = net.relu(net.add(net.conv(narrow, 16, 48, 1), wide));
    }
    net.graph.add_output("y", net.conv(wide, 48, 5, 1));
    net.check(batch);
  }
}

TEST(Chain, WhatOthersReadOrTheGraphGivesOutIsStored) {
  Net net;
  ValueId a = net.relu(net.conv(net.x, 8, 24, 3));
  ValueId b = net.relu(net.conv(a, 24, 40, 1));
  ValueId c = net.relu(net.conv(b, 40, 24, 1));
  net.graph.add_output("b", b);
  net.graph.add_output("later", net.conv(net.add(c, a), 24, 6, 3));
  net.check(2);
}

TEST(Chain, AResidualMadeWithinTheChainIsRead) {
  Net net;
  ValueId a = net.relu(net.conv(net.x, 8, 24, 3));
  ValueId b = net.relu(net.conv(a, 24, 24, 1));
  ValueId c = net.relu(net.add(net.conv(b, 24, 24, 1), a));
  net.graph.add_output("y", net.add(net.conv(c, 24, 8, 1), net.x));
  net.check(1);
}

TEST(Chain, AnEarlierConvolutionDoesNotTakeTheMemoryOfALaterOnesResidual) {
  for (bool first_bias : {false, true})
    for (bool second_bias : {false, true}) {
      SCOPED_TRACE(cat("biases ", first_bias, " ", second_bias));
      Net net;
      ValueId residual = net.graph.add(Op::sigmoid, {net.x});
      ValueId a = net.relu(net.conv(net.x, 8, 8, 3, first_bias));
      ValueId b = net.relu(net.add(net.conv(a, 8, 8, 1, second_bias), residual));
      net.graph.add_output("y", net.add(net.conv(b, 8, 8, 3), a));
      net.check(1);
    }
}

TEST(Chain, ConvolutionsWithoutChannelsGiveTheirBiases) {
  for (auto [between, last] : {std::pair<int64_t, int64_t>{0, 8}, {8, 0}}) {
    Net net;
    net.graph.add_output("y", net.conv(net.conv(net.x, 8, between, 3), between, last, 1));
    net.check(1);
  }
}

TEST(Chain, ActivationsAndEpiloguesOfAllKindsAreKept) {
  Net net;
  ValueId a = net.graph.add(Op::silu, {net.conv(net.x, 8, 24, 3)});
  ValueId b = net.graph.add(Op::sigmoid, {net.conv(a, 24, 30, 1)});
  net.graph.add_output("y", net.graph.add(Op::tanh, {net.conv(b, 30, 10, 1)}));
  net.check(2);
}

TEST(Chain, TheProfileHasALineForEachConvolution) {
  Net net;
  net.graph.add_output("y", net.conv(net.relu(net.conv(net.relu(net.conv(net.x, 8, 24, 3)), 24, 40, 1)), 40, 8, 1));
  infer_shapes(net.graph);
  Session session(std::make_shared<const Graph>(net.graph), {.split_batches = false});
  session.enable_profile(true);
  session.run({{"x", random_tensor(net.rng, {1, 8, kSize, kSize})}});
  auto lines = session.profile();
  ASSERT_EQ(lines.size(), 3u);
  for (auto& line : lines) {
    EXPECT_EQ(line.op, "conv");
    EXPECT_GT(line.microseconds, 0);
    EXPECT_FALSE(line.problem.empty());
    EXPECT_GE(line.plan_line, 0);
  }
}

}  // namespace
}  // namespace lacuna
