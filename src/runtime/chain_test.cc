// Convolutions that run as chains give what they give one by one, and what a chain keeps to itself takes no memory.
#include <gtest/gtest.h>

#include <cmath>

#include "base/cat.h"
#include "base/cpu.h"
#include "base/parallel.h"
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

// The first convolution of a net and the pool after it, in bands of rows.
struct Stem {
  int64_t batch, channels, in_h, in_w, kernel, stride, pad, out;
  Op pool;
  std::vector<int64_t> window, strides, pads;
  bool in_bands = true;
  int64_t ceil = 0;
};

TEST(Stem, RunsWithItsPoolInBandsAndGivesWhatTheReferenceGives) {
  std::vector<Stem> stems = {{1, 3, 224, 224, 7, 2, 3, 64, Op::max_pool, {3, 3}, {2, 2}, {1, 1, 1, 1}},
                             {2, 3, 97, 128, 3, 1, 1, 40, Op::max_pool, {2, 2}, {2, 2}, {0, 0, 0, 0}},
                             {1, 1, 80, 96, 5, 1, 2, 33, Op::average_pool, {3, 3}, {2, 2}, {1, 1, 1, 1}, true, 1},
                             {3, 4, 120, 128, 3, 2, 1, 24, Op::max_pool, {3, 2}, {3, 1}, {0, 1, 2, 0}},
                             {1, 3, 129, 127, 3, 1, 1, 16, Op::average_pool, {5, 5}, {3, 3}, {2, 2, 2, 2}},
                             {1, 3, 32, 64, 3, 1, 1, 16, Op::max_pool, {9, 9}, {1, 1}, {4, 4, 4, 4}, false},   // most rows would be made twice
                             {1, 3, 64, 20, 3, 1, 1, 16, Op::max_pool, {2, 2}, {2, 2}, {0, 0, 0, 0}, false}};  // rows too short for the lanes
  for (int threads : {1, 2, 5})
    for (const Stem& s : stems) {
      SCOPED_TRACE(cat(threads, " threads, ", s.channels, " x ", s.in_h, " x ", s.in_w, ", ", name_of(s.pool), " of ", s.window));
      set_thread_count(threads);
      Graph graph;
      Rng rng(5);
      ValueId x = graph.add_input("x", DType::kF32, {Dim(s.batch), Dim(s.channels), Dim(s.in_h), Dim(s.in_w)});
      Tensor w = random_tensor(rng, {s.out, s.channels, s.kernel, s.kernel});
      for (float& v : w.mutable_data<float>())
        if (rng.uniform() < 0.9) v = 0;
      Attributes conv, pool;
      conv.set("pads", std::vector<int64_t>(4, s.pad)), conv.set("strides", std::vector<int64_t>(2, s.stride));
      pool.set("kernel_shape", s.window), pool.set("strides", s.strides), pool.set("pads", s.pads), pool.set("ceil_mode", s.ceil);
      ValueId sums =
          graph.add(Op::conv, {x, add_weight(graph, "w", w, MatrixLayout::kConv), add_weight(graph, "b", random_tensor(rng, {s.out}))}, conv);
      ValueId pooled = graph.add(s.pool, {graph.add(Op::relu, {sums})}, pool);
      Tensor next = random_tensor(rng, {8, s.out, 1, 1});
      for (int64_t i = 0; i < next.size(); i++)
        if (i % 5) next.mutable_data<float>()[size_t(i)] = 0;
      graph.add_output("y", graph.add(Op::conv, {pooled, add_weight(graph, "next", next, MatrixLayout::kConv)}));
      infer_shapes(graph);
      TensorMap inputs = {{"x", random_tensor(rng, {s.batch, s.channels, s.in_h, s.in_w})}};
      Session session(std::make_shared<const Graph>(graph), {.split_batches = false});
      session.enable_profile(true);
      Tensor wanted = testing::run(graph, inputs, Executor::kReference).at("y");
      for (int run = 0; run < 2; run++) EXPECT_LE(relative_error(session.run(inputs).at("y"), wanted), 1e-5);
      auto lines = session.profile();
      ASSERT_EQ(lines.size(), 3u);
      EXPECT_EQ(lines[1].op, name_of(s.pool));
      for (auto& line : lines) EXPECT_GT(line.microseconds, 0);
      // What is made in bands takes no memory of the arena.
      int64_t made = s.batch * s.out * ((s.in_h + 2 * s.pad - s.kernel) / s.stride + 1) * ((s.in_w + 2 * s.pad - s.kernel) / s.stride + 1) * 4;
      if (has_chains()) {
        EXPECT_EQ(session.arena_bytes() < made, s.in_bands);
      }
    }
  set_thread_count(2);
}

TEST(Stem, NoChannelsGiveNothing) {
  Graph graph;
  Rng rng(3);
  ValueId x = graph.add_input("x", DType::kF32, {Dim(1), 3, 64, 64});
  Attributes pool;
  pool.set("kernel_shape", std::vector<int64_t>{2, 2}), pool.set("strides", std::vector<int64_t>{2, 2});
  ValueId conv = graph.add(Op::conv, {x, add_weight(graph, "w", random_tensor(rng, {0, 3, 3, 3}), MatrixLayout::kConv)});
  graph.add_output("y", graph.add(Op::max_pool, {conv}, pool));
  infer_shapes(graph);
  EXPECT_EQ(testing::run(graph, {{"x", random_tensor(rng, {1, 3, 64, 64})}}, Executor::kRuntime).at("y").shape(), (Shape{1, 0, 31, 31}));
}

TEST(Stem, WhatOthersReadOrTheGraphGivesOutIsMadeWhole) {
  for (bool output : {false, true}) {
    Net net;
    net.x = net.graph.add_input("wide", DType::kF32, {Dim(1), 3, 64, 64});
    ValueId a = net.relu(net.conv(net.x, 3, 16, 3));
    Attributes pool;
    pool.set("kernel_shape", std::vector<int64_t>{2, 2}), pool.set("strides", std::vector<int64_t>{2, 2});
    net.graph.add_output("pooled", net.graph.add(Op::max_pool, {a}, pool));
    net.graph.add_output("other", output ? a : net.graph.add(Op::sigmoid, {a}));
    infer_shapes(net.graph);
    TensorMap inputs = {{"x", random_tensor(net.rng, {1, 8, kSize, kSize})}, {"wide", random_tensor(net.rng, {1, 3, 64, 64})}};
    TensorMap wanted = testing::run(net.graph, inputs, Executor::kReference);
    for (auto& [name, value] : testing::run(net.graph, inputs, Executor::kRuntime)) EXPECT_LE(relative_error(value, wanted.at(name)), 1e-5) << name;
  }
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
