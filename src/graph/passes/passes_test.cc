#include "graph/passes/passes.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/cat.h"
#include "graph/testing.h"

namespace lacuna {
namespace {

using namespace testing;
const Dim batch = Dim::symbol("batch"), tokens = Dim::symbol("tokens");

// The ops of a graph in order: "linear gelu linear".
std::string ops(const Graph& graph) {
  std::string out;
  for (const Node& node : graph.nodes()) out += cat(out.empty() ? "" : " ", name_of(node.op));
  return out;
}

void run(Graph& graph, std::initializer_list<std::string_view> names, const PassOptions& options = {}) {
  verify(graph);
  run_passes(graph, std::vector<std::string_view>(names), nullptr, options);
}

ValueId input(Graph& g, SymShape shape = {batch, tokens, 64}) { return g.add_input("x", DType::kF32, std::move(shape)); }
ValueId matrix(Graph& g, std::string name, int64_t in, int64_t out) { return weight(g, std::move(name), {in, out}); }
Attributes axes(std::vector<int64_t> values) { return attributes({{"axes", integers(std::move(values))}}); }
Attributes perm(std::vector<int64_t> values) { return attributes({{"perm", integers(std::move(values))}}); }
Attributes axis(int64_t value) { return attributes({{"axis", value}}); }

TEST(Passes, DriverTimesSkipsAndVerifies) {
  Graph g;
  g.add_output("y", g.add(Op::relu, {g.add(Op::identity, {input(g)})}));
  PassReport report;
  run_passes(g, std::vector<std::string_view>{"simplify", "dead_code"}, &report, {.skip = {"simplify"}});
  ASSERT_EQ(report.lines.size(), 2u);
  EXPECT_TRUE(report.lines[0].skipped);
  EXPECT_EQ(report.lines[1].name, "dead_code");
  EXPECT_EQ(ops(g), "identity relu");
  run_passes(g, import_passes(), &report);
  EXPECT_EQ(ops(g), "relu");
  std::string message = message_of([&] { run(g, {"nonsense"}); });
  EXPECT_NE(message.find("'nonsense'"), std::string::npos);
  EXPECT_NE(message.find("dead_code"), std::string::npos);
}

TEST(Passes, SimplifyRemovesWhatChangesNothing) {
  Graph g;
  ValueId x = input(g);
  ValueId y = g.add(Op::identity, {x});
  y = g.add(Op::cast, {y}, attributes({{"to", std::string("f32")}}));
  y = g.add(Op::transpose, {g.add(Op::transpose, {y}, perm({0, 2, 1}))}, perm({0, 2, 1}));
  y = g.add(Op::squeeze, {g.add(Op::unsqueeze, {y}, axes({1}))}, axes({1}));
  y = g.add(Op::reshape, {y, vector_of(g, "same", {0, 0, 64})});
  g.add_output("y", g.add(Op::relu, {y}));
  run(g, {"simplify"});
  EXPECT_EQ(ops(g), "relu");
  EXPECT_EQ(g.node(0).inputs[0], x);
}

TEST(Passes, SimplifyKeepsWhatChangesSomething) {
  Graph g;
  ValueId x = input(g);
  ValueId y = g.add(Op::cast, {x}, attributes({{"to", std::string("f16")}}));
  y = g.add(Op::reshape, {g.add(Op::reshape, {y, vector_of(g, "a", {-1, 64})}), vector_of(g, "b", {0, 8, 8})});
  y = g.add(Op::expand, {y, vector_of(g, "c", {1, 8, 8})});
  g.add_output("y", y);
  run(g, {"simplify"});
  EXPECT_EQ(ops(g), "cast reshape reshape expand");
}

TEST(Passes, SimplifyJoinsTransposesAndUnsqueezes) {
  Graph g;
  ValueId x = input(g);
  ValueId y = g.add(Op::transpose, {g.add(Op::transpose, {x}, perm({1, 2, 0}))}, perm({1, 2, 0}));
  ValueId z = g.add(Op::unsqueeze, {g.add(Op::unsqueeze, {y}, axes({1}))}, axes({0, 3}));
  g.add_output("z", z);
  std::string before = shape_text(g, z);
  run(g, {"simplify"});
  EXPECT_EQ(ops(g), "transpose unsqueeze");
  EXPECT_EQ(g.node(0).attributes.integers("perm"), (std::vector<int64_t>{2, 0, 1}));
  EXPECT_EQ(g.node(1).attributes.integers("axes"), (std::vector<int64_t>{0, 2, 3}));
  EXPECT_EQ(shape_text(g, z), before);
}

TEST(Passes, MatmulByAConstantAndItsBiasBecomeLinear) {
  Graph g;
  ValueId x = input(g);
  ValueId y = g.add(Op::matmul, {x, matrix(g, "fc.weight", 64, 32)}, {}, "fc/MatMul");
  y = g.add(Op::add, {weight(g, "fc.bias", {32}), y}, {}, "fc/Add");
  g.add_output("y", y);
  run(g, {"linear"});
  ASSERT_EQ(ops(g), "linear");
  EXPECT_EQ(g.node(0).name, "fc/MatMul");
  EXPECT_EQ(g.node(0).inputs.size(), 3u);
  EXPECT_EQ(g.weights[g.weights.find("fc.weight")].layout, MatrixLayout::kInOut);
  EXPECT_EQ(shape_text(g, y), "[batch, tokens, 32]");
}

TEST(Passes, MatmulByATransposedConstantIsLinearInSourceOrientation) {
  Graph g;
  ValueId table = weight(g, "embed", {100, 64}, MatrixLayout::kOutIn);
  ValueId y = g.add(Op::matmul, {input(g), g.add(Op::transpose, {table}, perm({1, 0}))});
  g.add_output("logits", y);
  run(g, {"linear"});
  EXPECT_EQ(ops(g), "linear");
  EXPECT_EQ(g.node(0).inputs[1], table);
  EXPECT_EQ(shape_text(g, y), "[batch, tokens, 100]");
}

TEST(Passes, MatmulOfActivationsAndResidualsStay) {
  Graph g;
  ValueId x = input(g);
  ValueId y = g.add(Op::add, {x, g.add(Op::matmul, {x, matrix(g, "w", 64, 64)})});
  g.add_output("y", g.add(Op::matmul, {y, g.add(Op::transpose, {x}, perm({0, 2, 1}))}));
  run(g, {"linear"});
  EXPECT_EQ(ops(g), "linear add transpose matmul");
}

TEST(Passes, GatherOfATableBecomesEmbedding) {
  Graph g;
  ValueId ids = g.add_input("ids", DType::kS64, {batch, tokens});
  g.add_output("y", g.add(Op::gather, {matrix(g, "table", 100, 64), ids}));
  run(g, {"embedding"});
  EXPECT_EQ(ops(g), "embedding");
  EXPECT_EQ(g.weights[0].layout, MatrixLayout::kOutIn);
}

TEST(Passes, FoldsSizesAndConstantSubgraphs) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {batch, 12, tokens, 64});
  // sqrt(float(shape(x)[-1])), as exports of scaled dot product attention have it
  ValueId size = g.add(Op::slice, {g.add(Op::shape_of, {x}), vector_of(g, "from", {-1}), vector_of(g, "to", {INT64_MAX})});
  ValueId root = g.add(Op::sqrt, {g.add(Op::cast, {size}, attributes({{"to", std::string("f32")}}))}, {}, "root");
  ValueId kept = g.add(Op::transpose, {matrix(g, "large", 100, 64)});
  g.add_output("y", g.add(Op::div, {x, root}));
  g.add_output("kept", kept);
  PassOptions options;
  options.evaluate = [](const Graph&, const Node& node, std::span<const Tensor> inputs) -> std::vector<Tensor> {
    if (node.op != Op::sqrt) throw Unsupported("only sqrt");
    Tensor out = inputs[0].clone();
    for (float& v : out.mutable_data<float>()) v = std::sqrt(v);
    return {out};
  };
  run(g, {"constant_folding"}, options);
  EXPECT_EQ(ops(g), "transpose div");
  WeightId folded = g.weights.find("root");
  ASSERT_GE(folded, 0);
  EXPECT_EQ(g.weights[folded].load().values.data<float>()[0], 8.0f);
}

TEST(Passes, FoldsConstantsThatAreOutputs) {
  Graph g;
  input(g);
  g.add_output("three", g.add(Op::add, {scalar(g, "one", 1), scalar(g, "two", 2)}, {}, "sum"));
  run(g, {"constant_folding"});
  EXPECT_EQ(ops(g), "");
  EXPECT_EQ(g.weight_of(g.outputs()[0].value)->load().values.data<int64_t>()[0], 3);
}

TEST(Passes, FoldedWeightsOfProductsHaveALayout) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {batch, 2, 8, 8});
  auto ones = [&](const char* name, std::vector<int64_t> shape) {
    return g.add(Op::constant_of_shape, {vector_of(g, name, shape)}, attributes({{"value", 1.0}}));
  };
  ValueId y = g.add(Op::conv, {x, ones("kernel", {4, 2, 3, 3})});
  ValueId z = g.add(Op::linear, {g.add(Op::flatten, {y}), ones("matrix", {144, 5})}, attributes({{"transposed", int64_t(1)}}));
  g.add_output("z", z);
  run(g, {"constant_folding"});
  EXPECT_EQ(ops(g), "conv flatten linear");
  EXPECT_EQ(g.weight_of(g.node(0).inputs[1])->layout, MatrixLayout::kConv);
  EXPECT_EQ(g.weight_of(g.node(2).inputs[1])->layout, MatrixLayout::kInOut);
  EXPECT_EQ(shape_text(g, z), "[batch, 5]");
}

TEST(Passes, TakesTheUnfoldedInputOfALinearAndConstantTargets) {
  Graph g;
  ValueId x = input(g);
  ValueId flat = g.add(Op::reshape, {x, vector_of(g, "flat", {-1, 64})});
  ValueId y = g.add(Op::linear, {flat, weight(g, "w", {32, 64}, MatrixLayout::kOutIn)});
  ValueId sizes = g.add(Op::concat, {g.add(Op::shape_of, {x}, attributes({{"end", int64_t(2)}})), vector_of(g, "width", {32})}, axis(0));
  g.add_output("y", g.add(Op::relu, {g.add(Op::reshape, {y, sizes})}));
  run(g, {"linear"});
  EXPECT_EQ(ops(g), "linear relu");
  Graph h;
  x = input(h);
  sizes = h.add(Op::concat, {h.add(Op::shape_of, {x}, attributes({{"end", int64_t(1)}})), vector_of(h, "four", {-1, 4, 16})}, axis(0));
  h.add_output("y", h.add(Op::relu, {h.add(Op::reshape, {x, sizes})}));
  run(h, {"simplify"});
  EXPECT_EQ(ops(h), "reshape relu");
  EXPECT_EQ(h.weights[h.weights.size() - 1].load().values.data<int64_t>()[1], 0);
  EXPECT_EQ(shape_text(h, h.outputs()[0].value), "[batch, tokens, 4, 16]");
}

// mean, variance over the last axis; `dup` writes x - mean twice.
ValueId normalised(Graph& g, ValueId x, bool dup, bool reciprocal) {
  ValueId mean = g.add(Op::reduce_mean, {x}, axes({-1}));
  ValueId d = g.add(Op::sub, {x, mean}), d2 = dup ? g.add(Op::sub, {x, mean}) : d;
  ValueId square = reciprocal ? g.add(Op::mul, {d2, d2}) : g.add(Op::pow, {d2, number(g, "two", 2)});
  ValueId root = g.add(Op::sqrt, {g.add(Op::add, {g.add(Op::reduce_mean, {square}, axes({2})), number(g, "epsilon", 1e-12f)})});
  return reciprocal ? g.add(Op::mul, {g.add(Op::reciprocal, {root}), d}) : g.add(Op::div, {d, root});
}

TEST(Passes, RaisesLayerNormInItsSpellings) {
  for (int spelling = 0; spelling < 4; spelling++) {
    Graph g;
    ValueId x = input(g);
    ValueId n = normalised(g, x, spelling & 1, spelling & 2);
    ValueId y = g.add(Op::add, {g.add(Op::mul, {n, weight(g, "scale", {64})}), weight(g, "bias", {64})});
    g.add_output("y", g.add(Op::relu, {y}));
    run(g, {"layer_norm", "rms_norm"});
    ASSERT_EQ(ops(g), "layer_norm relu") << spelling;
    EXPECT_EQ(g.node(0).inputs[0], x);
    EXPECT_EQ(g.weight_of(g.node(0).inputs[2])->name, "bias");
    EXPECT_EQ(g.node(0).attributes.integer("axis", 0), -1);
    EXPECT_NEAR(g.node(0).attributes.number("epsilon", 0), 1e-12, 1e-18);
  }
}

TEST(Passes, RaisesLayerNormWithoutParametersAndInTensorFlowsForm) {
  Graph plain;
  plain.add_output("y", normalised(plain, input(plain), false, false));
  run(plain, {"layer_norm"});
  EXPECT_EQ(ops(plain), "layer_norm");
  Graph g;
  ValueId x = input(g), mean = g.add(Op::reduce_mean, {x}, axes({-1}));
  ValueId d = g.add(Op::sub, {x, mean});
  ValueId variance = g.add(Op::reduce_mean, {g.add(Op::mul, {d, d})}, axes({-1}));
  ValueId root = g.add(Op::reciprocal, {g.add(Op::sqrt, {g.add(Op::add, {variance, number(g, "epsilon", 1e-5f)})})});
  ValueId a = g.add(Op::mul, {root, weight(g, "scale", {64})});
  ValueId shift = g.add(Op::sub, {weight(g, "bias", {64}), g.add(Op::mul, {mean, a})});
  g.add_output("y", g.add(Op::add, {g.add(Op::mul, {x, a}), shift}));
  run(g, {"layer_norm"});
  EXPECT_EQ(ops(g), "layer_norm");
  EXPECT_EQ(g.weight_of(g.node(0).inputs[1])->name, "scale");
}

TEST(Passes, KeepsANormOverOtherAxesOrOfAnotherMean) {
  Graph g;
  ValueId x = input(g), other = g.add_input("other", DType::kF32, {batch, tokens, 64});
  ValueId d = g.add(Op::sub, {x, g.add(Op::reduce_mean, {other}, axes({-1}))});
  ValueId variance = g.add(Op::reduce_mean, {g.add(Op::mul, {d, d})}, axes({-2}));
  g.add_output("y", g.add(Op::div, {d, g.add(Op::sqrt, {g.add(Op::add, {variance, number(g, "epsilon", 1e-5f)})})}));
  std::string before = ops(g);
  run(g, {"layer_norm", "rms_norm"});
  EXPECT_EQ(ops(g), before);
}

TEST(Passes, RaisesRmsNorm) {
  Graph g;
  ValueId x = input(g);
  ValueId mean = g.add(Op::reduce_mean, {g.add(Op::pow, {x, number(g, "two", 2)})}, axes({-1}));
  ValueId root = g.add(Op::sqrt, {g.add(Op::add, {mean, number(g, "epsilon", 1e-6f)})});
  ValueId n = g.add(Op::mul, {x, g.add(Op::div, {number(g, "one", 1), root})});
  g.add_output("y", g.add(Op::mul, {weight(g, "scale", {64}), n}));
  run(g, {"rms_norm"});
  EXPECT_EQ(ops(g), "rms_norm");
  EXPECT_EQ(g.node(0).inputs[0], x);
}

TEST(Passes, RaisesL2Norm) {
  Graph g;
  ValueId x = input(g, {batch, 64});
  ValueId norm = g.add(Op::clip, {g.add(Op::reduce_l2, {x}, axes({1})), number(g, "low", 1e-12f)});
  g.add_output("y", g.add(Op::div, {x, g.add(Op::expand, {norm, g.add(Op::shape_of, {x})})}));
  run(g, {"l2_norm"});
  EXPECT_EQ(ops(g), "l2_norm");
  EXPECT_EQ(g.node(0).attributes.integer("axis", 0), 1);
}

TEST(Passes, RaisesGeluInItsSpellings) {
  for (int spelling = 0; spelling < 3; spelling++) {
    Graph g;
    // x is a product itself: its factors must not be mixed with those of the pattern.
    ValueId x = g.add(Op::mul, {input(g), number(g, "factor", 3)});
    ValueId half = number(g, "half", 0.5), one = number(g, "one", 1);
    ValueId scaled =
        spelling == 1 ? g.add(Op::mul, {x, number(g, "root", float(M_SQRT1_2))}) : g.add(Op::div, {x, number(g, "root", float(M_SQRT2))});
    ValueId sum = g.add(Op::add, {g.add(Op::erf, {scaled}), one});
    ValueId y = spelling == 0   ? g.add(Op::mul, {g.add(Op::mul, {x, sum}), half})
                : spelling == 1 ? g.add(Op::mul, {g.add(Op::mul, {half, x}), sum})
                                : g.add(Op::mul, {x, g.add(Op::mul, {sum, half})});
    g.add_output("y", y);
    run(g, {"activations"});
    ASSERT_EQ(ops(g), "mul gelu") << spelling;
    EXPECT_EQ(g.node(1).inputs[0], x);
    EXPECT_EQ(g.node(1).attributes.text("approximate", ""), "none");
  }
}

TEST(Passes, RaisesGeluOfHalves) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF16, {2, 8});
  auto half = [&](const char* name, double value) {
    Weight w{.name = name, .encoding = {.values = DType::kF16}};
    w.source = in_memory({.values = Tensor::of<double>({}, std::vector<double>{value}).to(DType::kF16)});
    return g.add_weight(g.weights.add(std::move(w)));
  };
  ValueId sum = g.add(Op::add, {g.add(Op::erf, {g.add(Op::div, {x, half("root", M_SQRT2)})}), half("one", 1)});
  g.add_output("y", g.add(Op::mul, {g.add(Op::mul, {x, sum}), half("half", 0.5)}));
  run(g, {"activations"});
  EXPECT_EQ(ops(g), "gelu");
}

TEST(Passes, RaisesTheTanhFormOfGelu) {
  for (int spelling = 0; spelling < 3; spelling++) {
    Graph g;
    ValueId x = input(g), half = number(g, "half", 0.5), one = number(g, "one", 1), cubic = number(g, "cubic", 0.044715f);
    ValueId root = number(g, "root", 0.79788456f), inner;
    if (spelling == 0) {
      ValueId cube = g.add(Op::pow, {x, number(g, "three", 3)});
      inner = g.add(Op::mul, {root, g.add(Op::add, {x, g.add(Op::mul, {cubic, cube})})});
    } else if (spelling == 1) {
      ValueId cube = g.add(Op::mul, {x, g.add(Op::mul, {x, x})});
      inner = g.add(Op::mul, {g.add(Op::add, {g.add(Op::mul, {cube, cubic}), x}), root});
    } else {
      ValueId square = g.add(Op::mul, {g.add(Op::mul, {x, cubic}), x});
      inner = g.add(Op::mul, {g.add(Op::mul, {x, root}), g.add(Op::add, {one, square})});
    }
    ValueId sum = g.add(Op::add, {g.add(Op::tanh, {inner}), one});
    g.add_output("y", g.add(Op::mul, {g.add(Op::mul, {half, x}), sum}));
    run(g, {"activations"});
    ASSERT_EQ(ops(g), "gelu") << spelling;
    EXPECT_EQ(g.node(0).attributes.text("approximate", ""), "tanh");
  }
}

TEST(Passes, RaisesGatedActivations) {
  Graph g;
  ValueId x = input(g);
  ValueId silu = g.add(Op::mul, {g.add(Op::sigmoid, {x}), x});
  ValueId mish = g.add(Op::mul, {silu, g.add(Op::tanh, {g.add(Op::softplus, {silu})})});
  ValueId gate = g.add(Op::hard_sigmoid, {mish}, attributes({{"alpha", 1.0 / 6}}));
  ValueId swish = g.add(Op::mul, {mish, gate});
  ValueId clipped = g.add(Op::clip, {g.add(Op::add, {swish, number(g, "three", 3)})}, attributes({{"min", 0.0}, {"max", 6.0}}));
  ValueId swish2 = g.add(Op::div, {g.add(Op::mul, {swish, clipped}), number(g, "six", 6)});
  ValueId clipped2 = g.add(Op::clip, {g.add(Op::add, {swish2, number(g, "three'", 3)}), number(g, "low", 0), number(g, "high", 6)});
  g.add_output("y", g.add(Op::div, {clipped2, number(g, "six'", 6)}));
  run(g, {"activations"});
  EXPECT_EQ(ops(g), "silu mish hard_swish hard_swish hard_sigmoid");
}

// Attention over 4 heads of 16 as exporters write it.
struct AttentionGraph {
  Graph g;
  ValueId x, y;
  enum Scale { kDivided, kSplit };
  enum Mask { kNone, kAdded, kKept, kDropped, kBoth };

  AttentionGraph(Scale scale, Mask mask, bool constant_shapes) {
    x = input(g);
    auto project = [&](const char* name) {
      return g.add(Op::add, {g.add(Op::matmul, {x, matrix(g, std::string(name) + ".weight", 64, 64)}), weight(g, std::string(name) + ".bias", {64})});
    };
    auto target = [&](std::vector<int64_t> tail) {
      if (constant_shapes) {
        std::vector<int64_t> all = {0, 0};
        all.insert(all.end(), tail.begin(), tail.end());
        return vector_of(g, "target" + std::to_string(g.values().size()), all);
      }
      ValueId leading = g.add(Op::shape_of, {x}, attributes({{"end", int64_t(2)}}));
      return g.add(Op::concat, {leading, vector_of(g, "target" + std::to_string(g.values().size()), tail)}, axis(0));
    };
    auto heads = [&](ValueId v, std::vector<int64_t> order) { return g.add(Op::transpose, {g.add(Op::reshape, {v, target({4, 16})})}, perm(order)); };
    ValueId q = heads(project("q"), {0, 2, 1, 3}), k = heads(project("k"), {0, 2, 3, 1}), v = heads(project("v"), {0, 2, 1, 3});
    if (scale == kSplit) {
      q = g.add(Op::mul, {q, number(g, "scale_q", 0.5f)});
      k = g.add(Op::mul, {k, number(g, "scale_k", 0.5f)});
    }
    ValueId scores = g.add(Op::matmul, {q, k});
    if (scale == kDivided) scores = g.add(Op::div, {scores, number(g, "root", 4)});
    if (mask == kKept || mask == kDropped || mask == kBoth) {
      ValueId condition = g.add_input("condition", DType::kBool, {1, 1, tokens, tokens}), fill = number(g, "fill", -1e9f);
      scores = g.add(Op::where, mask == kDropped ? std::vector{condition, fill, scores} : std::vector{condition, scores, fill});
    }
    if (mask == kAdded || mask == kBoth) scores = g.add(Op::add, {scores, g.add_input("mask", DType::kF32, {batch, 1, 1, tokens})});
    ValueId probabilities = g.add(Op::softmax, {scores}, axis(3), "softmax");
    ValueId context = g.add(Op::transpose, {g.add(Op::matmul, {probabilities, v})}, perm({0, 2, 1, 3}));
    y = g.add(Op::reshape, {context, target({64})});
    g.add_output("y", g.add(Op::matmul, {y, matrix(g, "out.weight", 64, 64)}));
  }
};

TEST(Passes, RaisesAttentionOfBert) {
  for (bool constant_shapes : {false, true})
    for (auto scale : {AttentionGraph::kDivided, AttentionGraph::kSplit})
      for (auto mask : {AttentionGraph::kNone, AttentionGraph::kAdded}) {
        AttentionGraph a(scale, mask, constant_shapes);
        verify(a.g);
        run_passes(a.g, import_passes());
        ASSERT_EQ(ops(a.g), "linear linear linear attention linear");
        const Node& node = a.g.node(3);
        EXPECT_EQ(node.name, "softmax");
        EXPECT_EQ(node.inputs.size(), mask == AttentionGraph::kNone ? 3u : 4u);
        EXPECT_EQ(node.attributes.integer("heads", 0), 4);
        EXPECT_EQ(node.attributes.integer("head_dim", 0), 16);
        EXPECT_EQ(node.attributes.number("scale", 0), 0.25);
        EXPECT_EQ(shape_text(a.g, a.y), "[batch, tokens, 64]");
      }
}

TEST(Passes, RaisesMaskedFillsOfAttention) {
  AttentionGraph kept(AttentionGraph::kDivided, AttentionGraph::kKept, false);
  run_passes(kept.g, import_passes());
  EXPECT_EQ(ops(kept.g), "linear linear linear attention linear");
  AttentionGraph dropped(AttentionGraph::kDivided, AttentionGraph::kDropped, false);
  run_passes(dropped.g, import_passes());
  EXPECT_EQ(ops(dropped.g), "linear linear linear logical_not attention linear");
  AttentionGraph both(AttentionGraph::kDivided, AttentionGraph::kBoth, false);
  run_passes(both.g, import_passes());
  EXPECT_EQ(ops(both.g), "linear linear linear where attention linear");
}

// One product for q, k and v, as vision transformers have it.
TEST(Passes, RaisesAttentionOfOneFusedProjection) {
  Graph g;
  ValueId qkv = g.add(Op::linear, {input(g, {batch, 197, 64}), weight(g, "qkv", {192, 64}, MatrixLayout::kOutIn)});
  qkv = g.add(Op::transpose, {g.add(Op::reshape, {qkv, vector_of(g, "split", {0, 197, 3, 4, 16})})}, perm({2, 0, 3, 1, 4}));
  auto part = [&](int64_t i) { return g.add(Op::gather, {qkv, scalar(g, "part" + std::to_string(i), i)}, axis(0)); };
  ValueId q = part(0), k = g.add(Op::transpose, {part(1)}, perm({0, 1, 3, 2})), v = part(2);
  ValueId p = g.add(Op::softmax, {g.add(Op::mul, {g.add(Op::matmul, {q, k}), number(g, "scale", 0.25f)})}, axis(-1));
  ValueId y = g.add(Op::transpose, {g.add(Op::matmul, {p, v})}, perm({0, 2, 1, 3}));
  y = g.add(Op::reshape, {y, vector_of(g, "join", {-1, 197, 64})});
  g.add_output("y", y);
  run_passes(g, import_passes());
  EXPECT_EQ(ops(g), "linear reshape transpose gather gather gather transpose reshape transpose reshape transpose reshape attention");
  EXPECT_EQ(shape_text(g, y), "[batch, 197, 64]");
}

// Sequence first, as torch.nn.MultiheadAttention has it, with the scale computed from the size of a head.
TEST(Passes, RaisesAttentionOfSequencesFirst) {
  Graph g;
  ValueId x = input(g, {9, batch, 64});
  auto heads = [&](const char* name, std::vector<int64_t> order) {
    ValueId v = g.add(Op::linear, {x, weight(g, name, {64, 64}, MatrixLayout::kOutIn)});
    v = g.add(Op::transpose, {g.add(Op::reshape, {v, vector_of(g, cat(name, ".folded"), {9, -1, 16})})}, perm({1, 0, 2}));
    return g.add(Op::transpose, {g.add(Op::reshape, {v, vector_of(g, cat(name, ".split"), {-1, 4, 9, 16})})}, perm(order));
  };
  ValueId q = heads("q", {0, 1, 2, 3}), k = heads("k", {0, 1, 3, 2}), v = heads("v", {0, 1, 2, 3});
  ValueId size = g.add(Op::gather, {g.add(Op::shape_of, {q}), scalar(g, "last", -1)});
  ValueId root = g.add(Op::sqrt, {g.add(Op::cast, {size}, attributes({{"to", std::string("f32")}}))});
  ValueId scale = g.add(Op::sqrt, {g.add(Op::div, {number(g, "one", 1), root})});
  ValueId p = g.add(Op::softmax, {g.add(Op::matmul, {g.add(Op::mul, {q, scale}), g.add(Op::mul, {k, scale})})}, axis(-1));
  ValueId y = g.add(Op::transpose, {g.add(Op::matmul, {p, v})}, perm({2, 0, 1, 3}));
  y = g.add(Op::relu, {g.add(Op::reshape, {y, vector_of(g, "join", {9, -1, 64})})});
  g.add_output("y", y);
  run_passes(g, import_passes());
  EXPECT_EQ(shape_text(g, y), "[9, batch, 64]");
  EXPECT_EQ(ops(g).find("softmax"), std::string::npos) << ops(g);
  EXPECT_TRUE(ops(g).ends_with("attention reshape transpose reshape relu")) << ops(g);
  for (const Node& node : g.nodes()) EXPECT_NEAR(node.attributes.number("scale", 0.25), 0.25, 1e-6);
}

TEST(Passes, KeepsAnAttentionWhoseProbabilitiesAreAnOutput) {
  AttentionGraph a(AttentionGraph::kDivided, AttentionGraph::kNone, true);
  for (const Node& node : a.g.nodes())
    if (node.op == Op::softmax) a.g.add_output("probabilities", node.outputs[0]);
  run_passes(a.g, import_passes());
  EXPECT_NE(ops(a.g).find("softmax"), std::string::npos);
}

// Keras: x [b, t, c] and kernels [c, heads, d] (query, key, value) and [heads, d, c] (output).
TEST(Passes, AttentionWrittenAsEinsumsBecomesLinearAndAttention) {
  Graph g;
  auto einsum = [&](std::string equation, ValueId a, ValueId b) { return g.add(Op::einsum, {a, b}, attributes({{"equation", equation}})); };
  ValueId x = input(g), projected[3];
  for (int i = 0; i < 3; i++) {
    std::string name(1, "qkv"[i]);
    projected[i] = g.add(Op::add, {einsum("abc,cde->abde", x, weight(g, name, {64, 4, 16})), weight(g, name + "_bias", {4, 16})});
  }
  ValueId q = g.add(Op::mul, {projected[0], number(g, "scale", 0.25f)});
  ValueId p = g.add(Op::softmax, {einsum("aecd,abcd->acbe", projected[1], q)}, axis(-1));
  ValueId y = einsum("abcd,cde->abe", einsum("acbe,aecd->abcd", p, projected[2]), weight(g, "o", {4, 16, 64}));
  g.add_output("y", g.add(Op::add, {y, weight(g, "o_bias", {64})}));
  run(g, {"einsum", "linear", "attention", "simplify", "dead_code"});
  EXPECT_EQ(ops(g), "linear linear linear attention linear");
  for (const Node& node : g.nodes()) {
    if (node.op != Op::linear) continue;
    EXPECT_EQ(node.inputs.size(), 3u) << node.name;
    EXPECT_EQ(g.weight_of(node.inputs[1])->shape, (Shape{64, 64})) << node.name;
  }
}

TEST(Passes, EinsumsThatAreNoProductsStay) {
  for (std::string equation : {"ij,jk", "...ij,...jk->...ik", "ii,ij->j", "ij,jk->k", "ij,kl->ijkl", "ab,cb->abc", "abc,cab->b"}) {
    Graph g;
    SymShape shape(equation == "abc,cab->b" ? 3 : 2, Dim(4));
    ValueId a = g.add_input("a", DType::kF32, shape), b = g.add_input("b", DType::kF32, shape);
    g.add_output("y", g.add(Op::einsum, {a, b}, attributes({{"equation", equation}})));
    run(g, {"einsum"});
    EXPECT_EQ(ops(g), "einsum") << equation;
  }
}

}  // namespace
}  // namespace lacuna
