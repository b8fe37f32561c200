// Arithmetic of elements and norms of channels: the runtime against the reference.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "graph/testing.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

// y of the runtime; the op has a kernel of its own.
Tensor run_fast(Graph& graph, const TensorMap& inputs) {
  infer_shapes(graph);
  Session session(std::make_shared<const Graph>(graph));
  session.enable_profile(true);
  Tensor y = session.run(inputs).at("y");
  for (auto& line : session.profile()) EXPECT_NE(line.kernel, "reference") << line.op;
  return y;
}

// max |runtime - reference| over the largest of the reference; the op has a kernel of its own.
double error_of(Graph& graph, const TensorMap& inputs) {
  Tensor got = run_fast(graph, inputs);
  return relative_error(got, testing::run(graph, inputs, Executor::kReference).at("y"));
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What the runtime gives is what the reference gives, bit by bit; zeros of both signs are one. The op has a kernel of its own.
void expect_same(Graph& graph, const TensorMap& inputs, const std::string& what, bool fast = true) {
  infer_shapes(graph);
  Session session(std::make_shared<const Graph>(graph));
  session.enable_profile(true);
  Tensor got = session.run(inputs).at("y"), want = testing::run(graph, inputs, Executor::kReference).at("y");
  for (auto& line : session.profile()) EXPECT_EQ(line.kernel != "reference", fast) << what;
  ASSERT_EQ(got.dtype(), want.dtype()) << what;
  ASSERT_EQ(got.shape(), want.shape()) << what;
  if (got.dtype() != DType::kF32) {
    EXPECT_EQ(0, std::memcmp(got.raw(), want.raw(), got.size_bytes())) << what;
    return;
  }
  for (int64_t i = 0; i < got.size(); i++) {
    const float found = got.data<float>()[size_t(i)], wanted = want.data<float>()[size_t(i)];
    ASSERT_TRUE(found == wanted || (std::isnan(found) && std::isnan(wanted))) << what << " at " << i << ": " << found << ", wanted " << wanted;
  }
}

ValueId add_input(Graph& graph, const char* name, const Tensor& t) {
  return graph.add_input(name, t.dtype(), SymShape(t.shape().begin(), t.shape().end()));
}

// Numbers of every kind: ends of floats and of integers, halves, both zeros, small and large ones.
Tensor numbers_of_all_kinds(Rng& rng, Shape shape, float scale = 4) {
  static constexpr float kSome[] = {0.0f,
                                    -0.0f,
                                    1,
                                    -1,
                                    0.5f,
                                    1.5f,
                                    2.5f,
                                    -0.5f,
                                    -1.5f,
                                    NAN,
                                    3e38f,
                                    1e-30f,
                                    255,
                                    256,
                                    -3e38f,
                                    127.7f,
                                    2147483520.0f,
                                    2147483648.0f,
                                    -2147483648.0f,
                                    8388609.0f,
                                    254.9f,
                                    1e10f,
                                    -1e10f,
                                    9.2233715e18f,
                                    9.223372e18f,
                                    -9.223372e18f,
                                    kInfinity,
                                    -kInfinity};
  Tensor t = testing::random_tensor(rng, std::move(shape), scale);
  for (float& v : t.mutable_data<float>())
    if (rng.below(4) == 0) v = kSome[rng.below(std::size(kSome))];
  return t;
}

Tensor random_truths(Rng& rng, Shape shape) {
  Tensor t(DType::kBool, std::move(shape));
  for (int64_t i = 0; i < t.size(); i++) t.mutable_raw()[i] = std::byte(rng.below(2));
  return t;
}

// Of any type the loops know; 64-bit integers also beyond what floats and 32 bits hold.
Tensor random_of(Rng& rng, DType type, const Shape& shape) {
  if (type == DType::kBool) return random_truths(rng, shape);
  if (type == DType::kF32) return numbers_of_all_kinds(rng, shape);
  Tensor t(type, shape);
  if (type == DType::kS64)
    for (int64_t& v : t.mutable_data<int64_t>())
      v = rng.below(3) ? rng.below(5) - 2 : (rng.below(1 << 30) - (1 << 29)) * (int64_t(1) << rng.below(33));
  if (type == DType::kS32)
    for (int32_t& v : t.mutable_data<int32_t>()) v = int32_t(rng.below(3) ? rng.below(5) - 2 : rng.below(int64_t(1) << 32) - (int64_t(1) << 31));
  if (type == DType::kU8)
    for (uint8_t& v : t.mutable_data<uint8_t>()) v = uint8_t(rng.below(256));
  return t;
}

// Of both, or of three: the same, one number, one for each channel, rows, columns, nothing at all, rank 0.
const std::vector<std::array<Shape, 3>> kBroadcasts = {{Shape{3, 7, 61}, Shape{3, 7, 61}, Shape{3, 7, 61}},
                                                       {Shape{2, 5, 3, 90}, Shape{}, Shape{2, 5, 3, 90}},
                                                       {Shape{}, Shape{3, 300}, Shape{}},
                                                       {Shape{2, 5, 40, 500}, Shape{1, 5, 1, 1}, Shape{5, 1, 1}},
                                                       {Shape{1, 5, 1, 1}, Shape{2, 5, 9, 11}, Shape{}},
                                                       {Shape{4, 1}, Shape{70}, Shape{4, 70}},
                                                       {Shape{1, 70}, Shape{4, 1}, Shape{1}},
                                                       {Shape{3, 0, 20}, Shape{3, 1, 20}, Shape{}},
                                                       {Shape{}, Shape{}, Shape{}},
                                                       {Shape{2, 1, 4, 1}, Shape{3, 1, 9}, Shape{2, 3, 4, 9}}};

TEST(Comparisons, EqualTheReference) {
  for (Op op : {Op::equal, Op::less, Op::less_equal, Op::greater, Op::greater_equal, Op::logical_and, Op::logical_or, Op::logical_xor})
    for (DType type : {DType::kF32, DType::kS64, DType::kS32, DType::kU8, DType::kBool})
      for (const auto& shapes : kBroadcasts) {
        const bool logical = op == Op::logical_and || op == Op::logical_or || op == Op::logical_xor;
        if (logical && type != DType::kBool) continue;
        Rng rng(30);
        Graph graph;
        TensorMap inputs{{"a", random_of(rng, type, shapes[0])}, {"b", random_of(rng, type, shapes[1])}};
        ValueId a = add_input(graph, "a", inputs["a"]), b = add_input(graph, "b", inputs["b"]);
        graph.add_output("y", graph.add(op, {a, b}));
        expect_same(graph, inputs, cat(name_of(op), " ", name_of(type), " ", to_string(shapes[0]), " ", to_string(shapes[1])));
      }
}

TEST(Comparisons, KnowNanAndBothZeros) {
  Graph graph;
  Tensor x = testing::tensor<float>({4}, {NAN, -0.0f, 1, kInfinity}), z = testing::tensor<float>({4}, {NAN, 0.0f, 2, kInfinity});
  ValueId a = add_input(graph, "a", x), b = add_input(graph, "b", z);
  graph.add_output("equal", graph.add(Op::equal, {a, b}));
  graph.add_output("greater", graph.add(Op::greater, {a, b}));
  graph.add_output("less_equal", graph.add(Op::less_equal, {a, b}));
  graph.add_output("same", graph.add(Op::equal, {a, a}));
  infer_shapes(graph);
  TensorMap y = testing::run(graph, {{"a", x}, {"b", z}}, Executor::kRuntime);
  auto is = [&](const char* name, std::array<bool, 4> want) { EXPECT_EQ(0, std::memcmp(y.at(name).raw(), want.data(), 4)) << name; };
  is("equal", {false, true, false, true});
  is("greater", {false, false, false, false});
  is("less_equal", {false, true, true, true});
  is("same", {false, true, true, true});
}

TEST(LogicalNot, EqualsTheReference) {
  for (const Shape& shape : {Shape{3, 7001}, {0}, {}}) {
    Rng rng(31);
    Graph graph;
    TensorMap inputs{{"a", random_truths(rng, shape)}};
    graph.add_output("y", graph.add(Op::logical_not, {add_input(graph, "a", inputs["a"])}));
    expect_same(graph, inputs, to_string(shape));
  }
}

TEST(Where, EqualsTheReference) {
  for (DType type : {DType::kF32, DType::kS64, DType::kS32, DType::kU8, DType::kBool})
    for (const auto& shapes : kBroadcasts)
      for (size_t turn = 0; turn < 3; turn++) {
        Rng rng(32);
        Graph graph;
        TensorMap inputs{{"c", random_truths(rng, shapes[turn])},
                         {"a", random_of(rng, type, shapes[(turn + 1) % 3])},
                         {"b", random_of(rng, type, shapes[(turn + 2) % 3])}};
        ValueId c = add_input(graph, "c", inputs["c"]), a = add_input(graph, "a", inputs["a"]), b = add_input(graph, "b", inputs["b"]);
        graph.add_output("y", graph.add(Op::where, {c, a, b}));
        expect_same(graph, inputs, cat(name_of(type), " ", to_string(shapes[0]), " turned by ", turn));
      }
}

// The result may take the memory of either side, and both may be one value.
TEST(Where, WorksInPlace) {
  Rng rng(33);
  for (size_t side : {1, 2}) {
    Graph graph;
    TensorMap inputs{{"c", random_truths(rng, {3, 701})}, {"a", testing::random_tensor(rng, {3, 701})}, {"b", testing::random_tensor(rng, {3, 701})}};
    ValueId c = add_input(graph, "c", inputs["c"]), a = add_input(graph, "a", inputs["a"]), b = add_input(graph, "b", inputs["b"]);
    ValueId made = graph.add(Op::neg, {a});
    ValueId first = graph.add(Op::where, side == 1 ? std::vector<ValueId>{c, made, b} : std::vector<ValueId>{c, b, made});
    ValueId second = graph.add(Op::abs, {first});
    graph.add_output("y", graph.add(Op::where, {c, second, second}));
    expect_same(graph, inputs, cat("side ", side));
  }
}

TEST(Cast, EqualsTheReference) {
  for (DType from : {DType::kF32, DType::kS64, DType::kS32, DType::kU8, DType::kBool})
    for (DType to : {DType::kF32, DType::kS64, DType::kS32, DType::kU8, DType::kBool})
      for (const Shape& shape : {Shape{3, 7001}, {0}, {}}) {
        if (from == to) continue;
        Rng rng(34);
        Graph graph;
        TensorMap inputs{{"a", random_of(rng, from, shape)}};
        Attributes attributes;
        attributes.set("to", std::string(name_of(to)));
        graph.add_output("y", graph.add(Op::cast, {add_input(graph, "a", inputs["a"])}, attributes));
        expect_same(graph, inputs, cat(name_of(from), " to ", name_of(to), " ", to_string(shape)));
      }
}

TEST(Cast, OfFloatsSaturates) {
  Graph graph;
  Tensor x = testing::tensor<float>({8}, {NAN, kInfinity, -kInfinity, 1e10f, -1e10f, 2.9f, -2.9f, 300});
  ValueId a = add_input(graph, "a", x);
  for (const char* type : {"s32", "u8", "bool"}) {
    Attributes attributes;
    attributes.set("to", std::string(type));
    graph.add_output(type, graph.add(Op::cast, {a}, attributes));
  }
  infer_shapes(graph);
  TensorMap y = testing::run(graph, {{"a", x}}, Executor::kRuntime);
  auto words = y.at("s32").data<int32_t>();
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max(), kLeast = std::numeric_limits<int32_t>::min();
  EXPECT_EQ(std::vector<int32_t>(words.begin(), words.end()), (std::vector<int32_t>{0, kMost, kLeast, kMost, kLeast, 2, -2, 300}));
  auto bytes = y.at("u8").data<uint8_t>();
  EXPECT_EQ(std::vector<uint8_t>(bytes.begin(), bytes.end()), (std::vector<uint8_t>{0, 255, 0, 255, 0, 2, 0, 255}));
  for (int64_t i = 0; i < 8; i++) EXPECT_EQ(y.at("bool").raw()[i], std::byte(1)) << i;  // NaN too
}

TEST(Unary, ExactOnesEqualTheReference) {
  for (Op op : {Op::sqrt, Op::reciprocal, Op::abs, Op::neg, Op::sign, Op::floor, Op::ceil, Op::round, Op::softsign})
    for (const Shape& shape : {Shape{3, 7001}, {0}, {}}) {
      Rng rng(35);
      Graph graph;
      TensorMap inputs{{"x", numbers_of_all_kinds(rng, shape)}};
      graph.add_output("y", graph.add(op, {add_input(graph, "x", inputs["x"])}));
      expect_same(graph, inputs, cat(name_of(op), " ", to_string(shape)));
    }
}

TEST(Unary, SeluAndCeluEqualTheReference) {
  for (Op op : {Op::selu, Op::celu})
    for (double alpha : {0.0, 0.5, 1.0, 3.0}) {  // 0: not given
      Rng rng(36);
      Graph graph;
      Attributes attributes;
      if (alpha > 0) attributes.set("alpha", alpha);
      graph.add_output("y", graph.add(op, {graph.add_input("x", DType::kF32, {3, 7001})}, attributes));
      EXPECT_LE(error_of(graph, {{"x", testing::random_tensor(rng, {3, 7001}, 4)}}), 2e-7) << name_of(op) << alpha;
    }
}

// Units in the last place between a float and what it should be; both ends of a range are one unit apart.
double ulps(float found, double want) {
  if (std::isnan(want) || std::isinf(float(want))) return std::isnan(want) ? !std::isnan(found) : found != float(want);
  const double unit = std::max(std::ldexp(1.0, std::ilogb(want == 0 ? 1e-37 : want) - 23), 1e-44);
  return std::abs(double(found) - want) / unit;
}

// Over the whole range of floats, in steps of a prime number of floats.
TEST(Unary, LogSinAndCosAreExactToAFewUnits) {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += 49999)
    if (float v = std::bit_cast<float>(uint32_t(bits)); v == 0 || std::abs(v) >= std::numeric_limits<float>::min() || std::isnan(v)) x.push_back(v);
  for (float v : {0.0f, -0.0f, kInfinity, -kInfinity, NAN, 1.0f, std::numeric_limits<float>::min(), std::numeric_limits<float>::max()})
    x.push_back(v);
  for (int i = 1; i < 6000; i++) x.push_back(float(i * 1.5707963267948966));  // where one of both vanishes
  const Shape shape = {int64_t(x.size())};
  struct Function {
    Op op;
    double (*exact)(double);
  };
  for (const Function& f : {Function{Op::log, [](double v) { return std::log(v); }}, Function{Op::sin, [](double v) { return std::sin(v); }},
                            Function{Op::cos, [](double v) { return std::cos(v); }}}) {
    Graph graph;
    graph.add_output("y", graph.add(f.op, {graph.add_input("x", DType::kF32, {shape[0]})}));
    TensorMap inputs{{"x", Tensor::of<float>(shape, x)}};
    infer_shapes(graph);
    Session session(std::make_shared<const Graph>(graph));
    session.enable_profile(true);
    Tensor y = session.run(inputs).at("y");
    EXPECT_EQ(session.profile()[0].kernel, "vector");
    double worst = 0;
    float at = 0;
    for (size_t i = 0; i < x.size(); i++)
      if (double error = ulps(y.data<float>()[i], f.exact(double(x[i]))); error > worst) worst = error, at = x[i];
    EXPECT_LE(worst, 3) << name_of(f.op) << " of " << at;
  }
}

TEST(Reductions, EqualTheReference) {
  struct Case {
    Shape x;
    std::vector<int64_t> axes;
  };
  for (Op op : {Op::reduce_max, Op::reduce_min, Op::reduce_sum, Op::reduce_mean})
    for (const Case& c : {Case{{2, 6, 5, 7}, {3}},
                          {{2, 6, 5, 7}, {1}},
                          {{2, 6, 5, 7}, {1, 2}},
                          {{2, 6, 5, 7}, {0}},
                          {{2, 6, 5, 7}, {-1, -2}},
                          {{1, 6, 1, 7}, {0, 1}},
                          {{3, 700, 3}, {1}},
                          {{1, 64, 33, 31}, {1}},
                          {{1000, 9}, {0}},
                          {{2, 3, 2000}, {1}},
                          {{7, 300}, {1}},
                          {{5}, {0}},
                          {{1, 1}, {0}},
                          {{2, 3, 4}, {0, 1, 2}}}) {
      Rng rng(37);
      Graph graph;
      Attributes attributes;
      attributes.set("axes", c.axes);
      graph.add_output("y", graph.add(op, {graph.add_input("x", DType::kF32, SymShape(c.x.begin(), c.x.end()))}, attributes));
      TensorMap inputs{{"x", testing::random_tensor(rng, c.x)}};
      const std::string what = cat(name_of(op), " ", to_string(c.x), " over ", c.axes);
      if (op == Op::reduce_sum || op == Op::reduce_mean) {
        EXPECT_LE(error_of(graph, inputs), 1e-6) << what;
        continue;
      }
      expect_same(graph, inputs, what);
      for (float special : {float(NAN), kInfinity, -kInfinity}) {
        for (float& v : inputs["x"].mutable_data<float>())
          if (rng.below(9) == 0) v = special;
        expect_same(graph, inputs, cat(what, " with ", special));
      }
    }
}

TEST(CumSum, EqualsTheReference) {
  for (const Shape& shape : {Shape{2, 40, 9, 31}, {3, 7, 600}, {1, 1}, {7}})
    for (int64_t axis = -1; axis < int64_t(shape.size()); axis++)
      for (int64_t how = 0; how < 4; how++) {
        Rng rng(42);
        Graph graph;
        Attributes attributes;
        attributes.set("exclusive", how & 1), attributes.set("reverse", how >> 1);
        const int64_t inner = axis < 0 ? 1 : element_count(std::span(shape).subspan(size_t(axis) + 1));
        TensorMap inputs{{"x", numbers_of_all_kinds(rng, shape)}};
        graph.add_output("y", graph.add(Op::cum_sum, {add_input(graph, "x", inputs["x"]), testing::scalar(graph, "axis", axis)}, attributes));
        expect_same(graph, inputs, cat(to_string(shape), " along ", axis, ", ", how), inner >= 16);
      }
}

TEST(GlobalMaxPool, EqualsTheReference) {
  for (const Shape& shape : {Shape{2, 3, 5, 7}, {1, 40, 64, 64}, {3, 4, 1}, {2, 3, 200, 200}, {1, 2, 0, 3}})
    for (bool special : {false, true}) {
      Rng rng(38);
      Graph graph;
      TensorMap inputs{{"x", special ? numbers_of_all_kinds(rng, shape) : testing::random_tensor(rng, shape)}};
      graph.add_output("y", graph.add(Op::global_max_pool, {add_input(graph, "x", inputs["x"])}));
      if (element_count(shape) > 0)
        expect_same(graph, inputs, to_string(shape));
      else
        EXPECT_EQ(testing::run(graph, inputs, Executor::kRuntime).at("y").data<float>()[0], -kInfinity);
    }
}

// Channels that do not fill whole blocks: what fills them must not become infinite and reach the next convolution.
TEST(Unary, BetweenConvolutionsEqualsTheReference) {
  for (Op op : {Op::log, Op::sqrt, Op::reciprocal, Op::cos, Op::celu, Op::sign})
    for (int64_t channels : {16, 21}) {
      Rng rng(39);
      Graph graph;
      Tensor first = testing::random_tensor(rng, {channels, 3, 3, 3}), second = testing::random_tensor(rng, {channels, channels, 3, 3});
      for (float& v : first.mutable_data<float>()) v = std::abs(v);
      ValueId x = graph.add_input("x", DType::kF32, {1, 3, 20, 20});
      ValueId conv = graph.add(Op::conv, {x, testing::add_weight(graph, "first", first, MatrixLayout::kConv)});
      ValueId y = graph.add(Op::conv, {graph.add(op, {conv}), testing::add_weight(graph, "second", second, MatrixLayout::kConv)});
      graph.add_output("y", graph.add(Op::global_max_pool, {y}));
      TensorMap inputs{{"x", testing::random_tensor(rng, {1, 3, 20, 20})}};
      for (float& v : inputs["x"].mutable_data<float>()) v = std::abs(v);
      EXPECT_LE(error_of(graph, inputs), 2e-4) << name_of(op) << channels;
    }
}

TEST(LogSoftmax, EqualsTheReference) {
  for (const Shape& shape : {Shape{3, 7, 64}, {1, 1}, {2, 3000}, {7}, {2, 40, 9, 11}}) {
    Rng rng(40);
    Graph graph;
    TensorMap inputs{{"x", testing::random_tensor(rng, shape, 5)}};
    graph.add_output("y", graph.add(Op::log_softmax, {add_input(graph, "x", inputs["x"])}));
    EXPECT_LE(error_of(graph, inputs), 5e-7) << to_string(shape);
  }
}

TEST(Softmax, AlongAnyAxisEqualsTheReference) {
  for (Op op : {Op::softmax, Op::log_softmax})
    for (const Shape& shape : {Shape{2, 40, 9, 31}, {3, 7, 600}, {700, 8}, {300, 1, 16}})
      for (int64_t axis = 0; axis < int64_t(shape.size()); axis++) {
        Rng rng(41);
        Graph graph;
        Attributes attributes;
        attributes.set("axis", axis);
        TensorMap inputs{{"x", testing::random_tensor(rng, shape, 5)}};
        graph.add_output("y", graph.add(op, {add_input(graph, "x", inputs["x"])}, attributes));
        EXPECT_LE(error_of(graph, inputs), 1e-6) << name_of(op) << to_string(shape) << axis;
      }
}

// A column of -inf alone is zeros, NaN stays in its column.
TEST(Softmax, OfColumnsKnowsTheEnds) {
  Graph graph;
  Attributes attributes;
  attributes.set("axis", int64_t(0));
  Tensor x = testing::tensor<float>({2, 8}, {-kInfinity, NAN, -kInfinity, 90, 0, 0, 0, 0, -kInfinity, 1, 3, 90, 0, 0, 0, 0});
  graph.add_output("y", graph.add(Op::softmax, {add_input(graph, "x", x)}, attributes));
  Tensor out = run_fast(graph, {{"x", x}});
  auto y = out.data<float>();
  for (size_t row : {0, 8}) {
    EXPECT_EQ(y[row], 0);
    EXPECT_TRUE(std::isnan(y[row + 1]));
    EXPECT_EQ(y[row + 2], row ? 1 : 0);
    EXPECT_EQ(y[row + 3], 0.5f);
  }
}

// What lies far below the largest keeps its distance; -inf stays.
TEST(LogSoftmax, KnowsTheEnds) {
  Graph graph;
  constexpr int64_t kRow = 10;
  Tensor x(DType::kF32, {3, kRow});
  auto rows = x.mutable_data<float>();
  std::fill(rows.begin(), rows.end(), -kInfinity);
  rows[0] = 0, rows[1] = -500, rows[kRow] = rows[kRow + 1] = 1e30f, rows[kRow + 2] = 0, rows[2 * kRow + 1] = NAN, rows[2 * kRow + 2] = 1;
  graph.add_output("y", graph.add(Op::log_softmax, {add_input(graph, "x", x)}));
  Tensor out = run_fast(graph, {{"x", x}});
  auto y = out.data<float>();
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[1], -500);
  EXPECT_EQ(y[2], -kInfinity);
  EXPECT_NEAR(y[kRow], -std::log(2), 1e-6);
  EXPECT_EQ(y[kRow + 2], -1e30f);
  for (size_t i = 2 * kRow; i < 3 * kRow; i++) EXPECT_TRUE(std::isnan(y[i]));
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
