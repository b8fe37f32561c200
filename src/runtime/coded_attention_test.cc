// Attention between quantize and dequantize nodes, as ONNX Runtime's quantizer writes it, against the graph taken node by node.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/cat.h"
#include "base/cpu.h"
#include "kernels/dispatch.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

struct Case {
  int64_t batch, heads, queries, keys, dim, value_dim;
  DType type;
  int zero;
  bool everywhere;   // scores are rounded after each node, too
  bool split_scale;  // q and k are scaled before the product, as torch exports it
  bool masked;
  bool chosen;        // by where, in place of an addition
  bool tokens_first;  // the result is turned to [batch, tokens, heads, columns]
};

Graph attention_graph(const Case& c) {
  Graph graph;
  testing::Quantizer operand{graph, 0x1p-5f, c.zero, c.type, "operand"}, scores{graph, 0x1p-1f, c.zero, c.type, "scores"},
      scaled{graph, 0x1p-4f, c.zero, c.type, "scaled"}, weights{graph, 1.0f / 255, 0, DType::kU8, "weights"},
      result{graph, 0x1p-6f, c.zero, c.type, "result"};
  auto turned = [&](ValueId v, std::vector<int64_t> perm) {
    Attributes a;
    a.set("perm", std::move(perm));
    return graph.add(Op::transpose, {v}, a);
  };
  auto times = [&](ValueId v, float by, const char* name) {
    return graph.add(Op::mul, {v, testing::add_weight(graph, name, testing::tensor<float>({}, {by}))});
  };
  ValueId q = turned(graph.add_input("q", DType::kF32, {c.batch, c.queries, c.heads, c.dim}), {0, 2, 1, 3});
  ValueId k = turned(turned(graph.add_input("k", DType::kF32, {c.batch, c.keys, c.heads, c.dim}), {0, 2, 1, 3}), {0, 1, 3, 2});
  ValueId v = turned(graph.add_input("v", DType::kF32, {c.batch, c.keys, c.heads, c.value_dim}), {0, 2, 1, 3});
  if (c.split_scale) q = times(q, 0.5f, "half"), k = times(k, 0.5f, "half too");
  // As it comes where a rounding stands between the transposes and the scale, and that scale is coded.
  if (c.split_scale && c.everywhere) {
    testing::Quantizer early{graph, 0x1p-6f, c.zero, c.type, "early"};
    Tensor code(DType::kS8, {});
    code.mutable_data<int8_t>()[0] = 2;
    k = graph.add(Op::mul, {early(k), graph.add(Op::dequantize, {testing::add_weight(graph, "code", code),
                                                                 testing::add_weight(graph, "unit", testing::tensor<float>({}, {0.5f}))})});
  }
  ValueId s = scores(graph.add(Op::matmul, {operand(q), operand(k)}));
  if (!c.split_scale) s = graph.add(Op::div, {s, testing::add_weight(graph, "root", testing::tensor<float>({}, {4}))});
  if (c.everywhere && !c.split_scale) s = scaled(s);
  if (c.masked && !c.chosen) s = graph.add(Op::add, {s, graph.add_input("mask", DType::kF32, {c.batch, 1, 1, c.keys})});
  if (c.masked && c.chosen) {
    ValueId mask = graph.add_input("mask", DType::kBool, {c.batch, 1, 1, c.keys}),
            fill = testing::add_weight(graph, "fill", testing::tensor<float>({}, {-1e9f}));
    s = graph.add(Op::where, c.everywhere ? std::vector<ValueId>{mask, s, fill} : std::vector<ValueId>{mask, fill, s});
  }
  if (c.masked && c.everywhere) s = scaled(s);
  Attributes last;
  last.set("axis", int64_t(-1));
  ValueId y = graph.add(Op::matmul, {weights(graph.add(Op::softmax, {s}, last)), operand(v)});
  if (c.everywhere) y = result(y);
  graph.add_output("y", c.tokens_first ? turned(y, {0, 2, 1, 3}) : y);
  infer_shapes(graph);
  return graph;
}

TEST(CodedAttention, IsThatOfTheGraph) {
  // Masked, everything else of a row is rounded to the lowest code; its weight is nothing, as in the graph.
  std::vector<Case> cases;
  for (auto [type, zero] : {std::pair(DType::kS8, 0), std::pair(DType::kU8, 128), std::pair(DType::kU8, 117), std::pair(DType::kS8, -7)})
    for (bool everywhere : {false, true})
      for (auto [masked, chosen] : {std::pair(false, false), {true, false}, {true, true}})
        cases.insert(cases.end(), {{2, 3, 21, 37, 20, 24, type, zero, everywhere, false, masked, chosen, true},
                                   {1, 2, 130, 130, 64, 64, type, zero, everywhere, true, masked, chosen, true},
                                   {1, 1, 1, 65, 66, 130, type, zero, everywhere, false, masked, chosen, false},
                                   {3, 4, 7, 1, 1, 1, type, zero, everywhere, true, masked, chosen, false}});
  for (const Case& c : cases) {
    std::string what =
        cat(name_of(c.type), " zero ", c.zero, " keys ", c.keys, c.everywhere ? " everywhere" : "", c.masked ? c.chosen ? " chosen" : " masked" : "");
    Graph graph = attention_graph(c);
    Rng rng(3);
    TensorMap inputs{{"q", testing::random_tensor(rng, {c.batch, c.queries, c.heads, c.dim})},
                     {"k", testing::random_tensor(rng, {c.batch, c.keys, c.heads, c.dim})},
                     {"v", testing::random_tensor(rng, {c.batch, c.keys, c.heads, c.value_dim})}};
    if (c.masked) {
      Tensor mask(c.chosen ? DType::kBool : DType::kF32, {c.batch, 1, 1, c.keys});
      for (int64_t i = 0; i < mask.size(); i++) {
        bool seen = i % c.keys <= c.keys / 2 && (c.batch == 1 || i >= c.keys);  // none of the first item
        if (c.chosen)
          mask.mutable_raw()[i] = std::byte(seen == c.everywhere);
        else
          mask.mutable_data<float>()[size_t(i)] = seen ? 0 : -1e4f;
      }
      inputs["mask"] = mask;
    }
    Tensor want = testing::run(graph, inputs, Executor::kReference).at("y");
    Session session(std::make_shared<const Graph>(graph));
    session.enable_profile(true);
    Tensor got = session.run(inputs).at("y");
    bool fused = std::ranges::any_of(session.profile(), [](auto& line) { return line.op == "attention" && line.kernel == "codes"; });
    EXPECT_EQ(fused, !kernels::lacks(cpu_features(), "avx512_vnni")) << what;
    ASSERT_EQ(got.shape(), want.shape()) << what;
    // A weight that falls between two codes may become either: one code of it is 1/255 of a value. Products are exact.
    int64_t others = 0;
    double largest = 0;
    for (size_t i = 0; i < got.data<float>().size(); i++) {
      double off = std::abs(double(got.data<float>()[i]) - double(want.data<float>()[i]));
      others += off > 1e-5, largest = std::max(largest, off);
    }
    EXPECT_LE(others, got.size() / 20) << what;
    EXPECT_LE(largest, c.everywhere ? 0x1p-6 + 1e-6 : 3 * 4.0 / 255) << what;
  }
}

// What something else reads stays: the scores here are an output as well.
TEST(CodedAttention, LeavesScoresThatAnOutputReads) {
  Graph graph = attention_graph({1, 2, 5, 6, 8, 8, DType::kS8, 0, true, false, false, false, true});
  for (const Node& node : graph.nodes())
    if (node.op == Op::softmax) graph.add_output("weights", node.outputs[0]);
  infer_shapes(graph);
  Rng rng(4);
  TensorMap inputs{{"q", testing::random_tensor(rng, {1, 5, 2, 8})},
                   {"k", testing::random_tensor(rng, {1, 6, 2, 8})},
                   {"v", testing::random_tensor(rng, {1, 6, 2, 8})}};
  TensorMap got = testing::run(graph, inputs, Executor::kRuntime), want = testing::run(graph, inputs, Executor::kReference);
  EXPECT_LE(relative_error(got.at("weights"), want.at("weights")), 1e-5);
}

// Constants only, no queries, and a mask that makes more rows of scores than there are queries.
TEST(CodedAttention, OddGraphsRunToo) {
  auto attention = [](Graph& graph, ValueId q, ValueId k, ValueId v, ValueId mask) {
    testing::Quantizer round{graph, 0x1p-5f, -7, DType::kS8};
    Attributes turn;
    turn.set("perm", std::vector<int64_t>{0, 1, 3, 2});
    ValueId s = graph.add(Op::matmul, {round(q), round(graph.add(Op::transpose, {k}, turn))});
    if (mask != kNoValue) s = graph.add(Op::add, {s, mask});
    graph.add_output("y", graph.add(Op::matmul, {round(graph.add(Op::softmax, {s})), round(v)}));
    infer_shapes(graph);
  };
  Rng rng(6);
  {
    Graph graph;
    ValueId x = graph.add(Op::mul, {testing::add_weight(graph, "w", testing::random_tensor(rng, {1, 2, 40, 64})),
                                    testing::add_weight(graph, "half", testing::tensor<float>({}, {0.5f}))});
    attention(graph, x, x, x, kNoValue);
    EXPECT_LE(relative_error(testing::run(graph, {}, Executor::kRuntime).at("y"), testing::run(graph, {}, Executor::kReference).at("y")), 1e-2);
  }
  {
    Graph graph;
    ValueId k = graph.add_input("k", DType::kF32, {1, 1, 5, 8});
    attention(graph, graph.add_input("q", DType::kF32, {1, 1, 0, 8}), k, k, kNoValue);
    TensorMap inputs{{"q", Tensor(DType::kF32, {1, 1, 0, 8})}, {"k", testing::random_tensor(rng, {1, 1, 5, 8})}};
    EXPECT_EQ(testing::run(graph, inputs, Executor::kRuntime).at("y").shape(), (Shape{1, 1, 0, 8}));
  }
  {
    Graph graph;
    ValueId k = graph.add_input("k", DType::kF32, {1, 1, 5, 8});
    attention(graph, graph.add_input("q", DType::kF32, {1, 1, 1, 8}), k, k, graph.add_input("mask", DType::kF32, {1, 1, 3, 5}));
    TensorMap inputs{{"q", testing::random_tensor(rng, {1, 1, 1, 8})},
                     {"k", testing::random_tensor(rng, {1, 1, 5, 8})},
                     {"mask", testing::random_tensor(rng, {1, 1, 3, 5})}};
    EXPECT_LE(relative_error(testing::run(graph, inputs, Executor::kRuntime).at("y"), testing::run(graph, inputs, Executor::kReference).at("y")),
              1e-5);
  }
  {
    // Far below the lowest code.
    Graph graph;
    ValueId v = graph.add_input("v", DType::kF32, {1, 1, 5, 8});
    attention(graph, graph.add_input("q", DType::kF32, {1, 1, 2, 8}), v, v, kNoValue);
    TensorMap inputs{{"q", testing::random_tensor(rng, {1, 1, 2, 8})}, {"v", testing::random_tensor(rng, {1, 1, 5, 8}, 1e12f)}};
    EXPECT_LE(relative_error(testing::run(graph, inputs, Executor::kRuntime).at("y"), testing::run(graph, inputs, Executor::kReference).at("y")),
              1e-2);
  }
}

}  // namespace
}  // namespace lacuna
