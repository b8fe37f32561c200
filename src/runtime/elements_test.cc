// Arithmetic of elements and norms of channels: the runtime against the reference.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "graph/testing.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

// max |runtime - reference| over the largest of the reference; the op has a kernel of its own.
double error_of(Graph& graph, const TensorMap& inputs) {
  infer_shapes(graph);
  Session session(std::make_shared<const Graph>(graph));
  session.enable_profile(true);
  Tensor got = session.run(inputs).at("y");
  for (auto& line : session.profile()) EXPECT_NE(line.kernel, "reference") << line.op;
  return relative_error(got, testing::run(graph, inputs, Executor::kReference).at("y"));
}

TEST(Powers, OfConstantExponentsEqualTheReference) {
  for (float exponent : {2.0f, 3.0f, 0.5f, -1.0f, 2.5f}) {
    Rng rng(20);
    Graph graph;
    ValueId x = graph.add_input("x", DType::kF32, {3, 7000});
    graph.add_output("y", graph.add(Op::pow, {x, testing::add_weight(graph, "exponent", testing::tensor<float>({}, {exponent}))}));
    TensorMap inputs{{"x", testing::random_tensor(rng, {3, 7000})}};
    if (exponent != std::floor(exponent))
      for (float& v : inputs["x"].mutable_data<float>()) v = std::abs(v);
    EXPECT_LE(error_of(graph, inputs), 1e-7) << exponent;
  }
}

TEST(Unary, EqualsTheReference) {
  for (Op op : {Op::erf, Op::elu, Op::mish, Op::softplus, Op::exp}) {
    Rng rng(21);
    Graph graph;
    graph.add_output("y", graph.add(op, {graph.add_input("x", DType::kF32, {3, 7001})}));
    TensorMap inputs{{"x", testing::random_tensor(rng, {3, 7001}, 4)}};
    EXPECT_LE(error_of(graph, inputs), 5e-7) << name_of(op);
  }
}

// Small results are as exact as large ones, and the ends are those of the function.
TEST(Unary, SoftplusKeepsItsDigits) {
  Graph graph;
  graph.add_output("y", graph.add(Op::softplus, {graph.add_input("x", DType::kF32, {9})}));
  infer_shapes(graph);
  std::vector<float> x = {-80, -20, -5, -1e-3f, 0, 1e-3f, 3, 40, 1e30f};
  Tensor y = testing::run(graph, {{"x", Tensor::of<float>({9}, x)}}, Executor::kRuntime).at("y");
  for (size_t i = 0; i < x.size(); i++) {
    double want = x[i] > 30 ? double(x[i]) : std::log1p(std::exp(double(x[i])));
    EXPECT_NEAR(y.data<float>()[i], want, 5e-7 * want) << x[i];
  }
}

// Whole range, and the ends: nothing is cut that floats hold.
TEST(Unary, ExpKeepsItsDigitsAndEnds) {
  Graph graph;
  graph.add_output("y", graph.add(Op::exp, {graph.add_input("x", DType::kF32, {9})}));
  infer_shapes(graph);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> x = {-kInfinity, -200, -80, -1e-3f, 0, 1, 88.5f, 90, kInfinity};
  Tensor y = testing::run(graph, {{"x", Tensor::of<float>({9}, x)}}, Executor::kRuntime).at("y");
  for (size_t i = 0; i < x.size(); i++) {
    float want = float(std::exp(double(x[i]))), found = y.data<float>()[i];
    if (std::isinf(want) || want < 1e-37f)
      EXPECT_EQ(found, want < 1e-37f ? 0 : want) << x[i];
    else
      EXPECT_NEAR(found, want, 5e-7 * want) << x[i];
  }
}

// NaN of either operand is kept, also where one is a number for each channel.
TEST(Extremes, EqualTheReference) {
  for (Op op : {Op::minimum, Op::maximum})
    for (const Shape& second : {Shape{2, 3, 37}, {1, 3, 1}, {37}, {}}) {
      Rng rng(23);
      Graph graph;
      graph.add_output("y", graph.add(op, {graph.add_input("x", DType::kF32, {2, 3, 37}),
                                           graph.add_input("z", DType::kF32, SymShape(second.begin(), second.end()))}));
      TensorMap inputs{{"x", testing::random_tensor(rng, {2, 3, 37})}, {"z", testing::random_tensor(rng, second)}};
      EXPECT_EQ(error_of(graph, inputs), 0) << name_of(op) << to_string(second);
      for (const char* name : {"x", "z"}) {
        TensorMap with_nan = inputs;
        with_nan[name].mutable_data<float>()[0] = NAN;
        Tensor y = testing::run(graph, with_nan, Executor::kRuntime).at("y");
        EXPECT_TRUE(std::isnan(y.data<float>()[0])) << name << name_of(op) << to_string(second);
      }
    }
}

TEST(GroupNorm, EqualsTheReference) {
  struct Case {
    Shape x;
    int64_t groups;  // 0: an instance norm
  };
  for (const Case& c :
       {Case{{2, 6, 5, 7}, 0}, {{2, 6, 5, 7}, 1}, {{1, 12, 33, 31}, 3}, {{3, 8, 50}, 4}, {{2, 4}, 2}, {{1, 5, 1, 1}, 0}, {{1, 2, 200, 200}, 0}}) {
    Rng rng(22);
    Graph graph;
    Attributes attributes;
    if (c.groups) attributes.set("groups", c.groups);
    SymShape shape(c.x.begin(), c.x.end());
    ValueId scale = testing::add_weight(graph, "scale", testing::random_tensor(rng, {c.x[1]}));
    ValueId bias = testing::add_weight(graph, "bias", testing::random_tensor(rng, {c.x[1]}));
    graph.add_output("y",
                     graph.add(c.groups ? Op::group_norm : Op::instance_norm, {graph.add_input("x", DType::kF32, shape), scale, bias}, attributes));
    TensorMap inputs{{"x", testing::random_tensor(rng, c.x)}};
    for (float& v : inputs["x"].mutable_data<float>()) v += 2;
    EXPECT_LE(error_of(graph, inputs), 2e-6) << to_string(c.x) << " in " << c.groups;
  }
}

}  // namespace
}  // namespace lacuna
