// Padding, joining and pooling of the runtime against the reference.
#include <gtest/gtest.h>

#include <cstring>

#include "base/cat.h"
#include "base/parallel.h"
#include "graph/testing.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

using Integers = std::vector<int64_t>;

SymShape symbolic(const Shape& shape) {
  SymShape out;
  for (int64_t d : shape) out.push_back(Dim(d));
  return out;
}

// The outputs of both executors are the same bits; gives the kernel of the first step.
std::string same_as_reference(Graph graph, const Shape& shape, const std::string& what) {
  infer_shapes(graph);
  Rng rng(7);
  TensorMap values{{"x", testing::random_tensor(rng, shape)}};
  Session session(std::make_shared<const Graph>(graph));
  session.enable_profile(true);
  Tensor got = session.run(values).at("y"), want = testing::run(graph, values, Executor::kReference).at("y");
  EXPECT_EQ(got.shape(), want.shape()) << what;
  EXPECT_EQ(0, std::memcmp(got.raw(), want.raw(), size_t(std::min(got.size(), want.size())) * sizeof(float))) << what;
  return session.profile()[0].kernel;
}

TEST(PixelShuffle, EqualsTheReferenceBothWays) {
  for (int64_t b : {1, 2, 3})
    for (const char* mode : {"DCR", "CRD", "back"}) {
      const bool back = std::string(mode) == "back";
      Graph graph;
      Attributes attributes;
      attributes.set("blocksize", b);
      if (!back) attributes.set("mode", std::string(mode));
      const Shape shape = back ? Shape{2, 3, 5 * b, 20 * b} : Shape{2, 3 * b * b, 5, 20};
      ValueId x = graph.add_input("x", DType::kF32, symbolic(shape));
      graph.add_output("y", graph.add(back ? Op::space_to_depth : Op::depth_to_space, {x}, attributes));
      EXPECT_EQ(same_as_reference(std::move(graph), shape, cat(mode, " ", b)), "strided copy");
    }
}

TEST(Repeat, EqualsTheReference) {
  struct Case {
    Op op;
    Shape x;
    Integers wanted;
  };
  for (const Case& c : {Case{Op::expand, {3, 1, 5}, {2, 3, 4, 5}},
                        {Op::expand, {1}, {6, 7}},
                        {Op::expand, {4, 1}, {4, 9}},
                        {Op::expand, {2, 3}, {1, 1}},
                        {Op::tile, {2, 3}, {2, 2}},
                        {Op::tile, {3, 1, 4}, {1, 5, 1}},
                        {Op::tile, {2, 2, 3}, {3, 1, 2}},
                        {Op::tile, {7}, {1}}}) {
    Graph graph;
    ValueId x = graph.add_input("x", DType::kF32, symbolic(c.x));
    Tensor wanted = Tensor::of<int64_t>({int64_t(c.wanted.size())}, c.wanted);
    graph.add_output("y", graph.add(c.op, {x, testing::add_weight(graph, "wanted", wanted)}));
    EXPECT_EQ(same_as_reference(std::move(graph), c.x, cat(name_of(c.op), " ", to_string(c.x))), "strided copy");
  }
}

// What x becomes is known but for whether it can.
TEST(Repeat, AShapeOfTheRunThatDoesNotFitIsRefused) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {2, 3}), wanted = graph.add_input("wanted", DType::kS64, {2});
  graph.add_output("y", graph.add(Op::expand, {x, wanted}));
  infer_shapes(graph);
  TensorMap inputs{{"x", Tensor(DType::kF32, {2, 3})}, {"wanted", testing::tensor<int64_t>({2}, {7, 3})}};
  for (Executor executor : {Executor::kReference, Executor::kRuntime}) EXPECT_THROW(testing::run(graph, inputs, executor), InvalidData);
}

TEST(Pad, EqualsTheReference) {
  struct Case {
    Shape x;
    Integers pads, axes;
    float value;
  };
  std::vector<Case> cases = {{{1, 16, 16, 16}, {0, 8, 0, 0, 0, 8, 0, 0}, {}, 0},
                             {{2, 3, 5, 7}, {0, 0, 1, 2, 0, 0, 3, 4}, {}, 0.5f},
                             {{2, 3, 5, 7}, {1, 0, -1, 2, 0, 2, 1, -3}, {}, -2},
                             {{3, 4, 5}, {2, 1}, {1}, 0},
                             {{3, 4, 5}, {0, 1, 2, 0}, {-1, 0}, 9},
                             {{7}, {-2, 4}, {}, 1},
                             {{4, 6}, {0, -7, 0, 9}, {}, 3},
                             {{2, 0, 3}, {0, 1, 0, 0, 1, 0}, {}, 4},
                             {{2, 3, 4}, {0, 0, 0, 0, 0, 0}, {}, 1}};
  for (const Case& c : cases) {
    Graph graph;
    std::vector<ValueId> inputs = {graph.add_input("x", DType::kF32, symbolic(c.x)), testing::vector_of(graph, "pads", c.pads),
                                   testing::add_weight(graph, "value", testing::tensor<float>({}, {c.value}))};
    if (!c.axes.empty()) inputs.push_back(testing::vector_of(graph, "axes", c.axes));
    graph.add_output("y", graph.add(Op::pad, inputs));
    EXPECT_EQ(same_as_reference(std::move(graph), c.x, cat(to_string(c.x), " by ", c.pads)), "rows");
  }
}

TEST(Pad, OfHalvesTakesTheValue) {
  for (DType type : {DType::kF16, DType::kBF16})
    for (DType of_value : {type, DType::kF32}) {
      Graph graph;
      std::vector<ValueId> inputs = {graph.add_input("x", type, {Dim(2)}), testing::vector_of(graph, "pads", {1, 0}),
                                     testing::add_weight(graph, "value", testing::tensor<float>({}, {2}).to(of_value))};
      graph.add_output("y", graph.add(Op::pad, inputs));
      infer_shapes(graph);
      TensorMap values{{"x", testing::tensor<float>({2}, {5, 6}).to(type)}};
      Tensor y = testing::run(graph, values, Executor::kRuntime).at("y").to(DType::kF32);
      EXPECT_EQ(std::vector<float>(y.data<float>().begin(), y.data<float>().end()), (std::vector<float>{2, 5, 6})) << name_of(type);
    }
}

TEST(Concat, EqualsTheReferenceForAnyThreadCount) {
  struct Case {
    std::vector<Shape> inputs;
    int64_t axis;
  };
  std::vector<Case> cases = {{{{1, 5, 40, 44}, {1, 9, 40, 44}, {1, 1, 40, 44}}, 1},
                             {{{3, 2, 7}, {3, 5, 7}}, -2},
                             {{{4, 3}, {0, 3}, {2, 3}}, 0},
                             {{{2, 3, 1}, {2, 3, 70}, {2, 3, 0}}, -1},
                             {{{1, 300, 9, 9}, {1, 20, 9, 9}}, 1},
                             {{{5}, {6}}, 0},
                             {{{900, 3}, {900, 2}}, -1}};
  for (int threads : {1, 3}) {
    set_thread_count(threads);
    for (const Case& c : cases) {
      Graph graph;
      Rng rng(9);
      TensorMap values;
      std::vector<ValueId> inputs;
      for (const Shape& shape : c.inputs) {
        std::string name = cat("x", inputs.size());
        inputs.push_back(graph.add_input(name, DType::kF32, symbolic(shape)));
        values[name] = testing::random_tensor(rng, shape);
      }
      Attributes a;
      a.set("axis", c.axis);
      graph.add_output("y", graph.add(Op::concat, inputs, a));
      infer_shapes(graph);
      Session session(std::make_shared<const Graph>(graph));
      session.enable_profile(true);
      Tensor got = session.run(values).at("y"), want = testing::run(graph, values, Executor::kReference).at("y");
      EXPECT_EQ(session.profile()[0].kernel, "rows");
      ASSERT_EQ(got.shape(), want.shape());
      EXPECT_EQ(0, std::memcmp(got.raw(), want.raw(), size_t(got.size()) * sizeof(float))) << to_string(c.inputs[0]) << " along " << c.axis;
    }
  }
  set_thread_count(2);
}

TEST(Pool, EqualsTheReferenceForAnyThreadCount) {
  struct Case {
    Shape x;
    Integers kernel, strides, pads, dilations;
    bool ceil = false, count_padding = false;
  };
  std::vector<Case> cases = {
      {{1, 5, 112, 112}, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}}, {{1, 3, 9, 37}, {3, 3}, {2, 2}, {0, 0, 1, 1}, {1, 1}, true},
      {{3, 2, 14, 15}, {2, 2}, {2, 2}, {0, 0, 0, 0}, {1, 1}},   {{2, 4, 13, 17}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, false, true},
      {{1, 4, 20, 50}, {5, 4}, {3, 3}, {2, 1, 2, 2}, {1, 2}},   {{1, 2, 8, 8}, {3, 3}, {2, 2}, {2, 2, 2, 2}, {2, 2}, true},
      {{2, 3, 1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}}};
  for (int threads : {1, 3}) {
    set_thread_count(threads);
    for (const Case& c : cases)
      for (Op op : {Op::max_pool, Op::average_pool}) {
        Graph graph;
        Attributes a;
        a.set("kernel_shape", c.kernel), a.set("strides", c.strides), a.set("pads", c.pads), a.set("dilations", c.dilations);
        a.set("ceil_mode", int64_t(c.ceil));
        if (op == Op::average_pool) a.set("count_include_pad", int64_t(c.count_padding));
        graph.add_output("y", graph.add(op, {graph.add_input("x", DType::kF32, symbolic(c.x))}, a));
        std::string what = cat(name_of(op), " ", to_string(c.x), " under ", c.kernel, " by ", c.strides);
        if (op == Op::max_pool) {
          EXPECT_EQ(same_as_reference(std::move(graph), c.x, what), "planes");
          continue;
        }
        infer_shapes(graph);
        Rng rng(8);
        TensorMap values{{"x", testing::random_tensor(rng, c.x)}};
        EXPECT_LE(relative_error(testing::run(graph, values, Executor::kRuntime).at("y"), testing::run(graph, values, Executor::kReference).at("y")),
                  1e-6)
            << what;
      }
  }
  set_thread_count(2);
}

}  // namespace
}  // namespace lacuna
