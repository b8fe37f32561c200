#include "graph/graph.h"

#include <gtest/gtest.h>

#include "base/buffer.h"
#include "base/cat.h"
#include "graph/infer.h"
#include "graph/passes/passes.h"
#include "graph/testing.h"

namespace lacuna {
namespace {

using namespace testing;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Graph, SortsNodesByWhatTheyRead) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {4});
  ValueId a = g.add(Op::relu, {x}, {}, "a"), b = g.add(Op::exp, {a}, {}, "b"), c = g.add(Op::neg, {b}, {}, "c");
  g.add_output("y", c);
  std::vector<Node> nodes(g.nodes().begin(), g.nodes().end());
  g.set_nodes({nodes[2], nodes[0], nodes[1]});
  EXPECT_THROW(verify(g), InvalidData);
  g.sort_topologically();
  verify(g);
  EXPECT_EQ(g.node(0).name, "a");
  EXPECT_EQ(g.node(2).name, "c");
  EXPECT_EQ(g.value(c).producer, 2);
}

TEST(Graph, NamesANodeOfACycle) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {4});
  ValueId a = g.add(Op::add, {x, x}, {}, "first"), b = g.add(Op::relu, {a}, {}, "second");
  g.edit_node(0).inputs[1] = b;
  EXPECT_TRUE(contains(message_of([&] { g.sort_topologically(); }), "'first' is part of a cycle"));
}

TEST(Graph, ForgetsWeightsAndResultsThatNothingReads) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {4}), unused = g.add_input("unused", DType::kF32, {4});
  weight(g, "dead", {4});
  ValueId dropped = g.add(Op::relu, {x}, {}, "dropped"), live = weight(g, "live", {4});
  g.add_output("y", g.add(Op::add, {x, live}, {}, "sum"));
  g.replace_uses(dropped, x);
  g.set_nodes({g.node(1)});
  g.forget_unread();
  verify(g);
  EXPECT_EQ(g.weights.size(), 1);
  EXPECT_EQ(g.values().size(), 4u);
  EXPECT_EQ(g.inputs()[1], unused);
  EXPECT_EQ(g.weight_of(g.node(0).inputs[1])->name, "live");
  EXPECT_EQ(g.value(g.outputs()[0].value).producer, 0);
  EXPECT_EQ(g.add_weight(0), g.node(0).inputs[1]);
}

TEST(Verify, ListsAllProblems) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {4, 4});
  g.add(Op::relu, {x, x}, {}, "two inputs");
  g.add(Op::softmax, {x}, attributes({{"axes", integers({1})}}), "odd attribute");
  g.add(Op::softmax, {x}, attributes({{"axis", std::string("last")}}), "odd type");
  g.add(Op::linear, {x, weight(g, "w", {4, 4})}, {}, "no layout");
  g.add(Op::exp, {ValueId(99)}, {}, "no value");
  g.add(Op::layer_norm, {x}, {}, "same");
  g.add(Op::layer_norm, {x}, {}, "same");
  g.add(Op::conv, {x, kNoValue}, {}, "no weight");
  g.add_output("y", 1000);
  g.add_output("y", x);
  std::string message = message_of([&] { verify(g); });
  for (auto part : {"'two inputs' (relu) has 2 inputs, wanted 1", "unknown attribute 'axes', known are: axis, flatten", "'axis' of the wrong type",
                    "weight 'w' [4, 4] has layout none, wanted a matrix, out_in or in_out", "reads value 99", "two nodes are named 'same'",
                    "'no weight' (conv) lacks input 1", "output 'y' is value 1000", "two outputs are named 'y'"})
    EXPECT_TRUE(contains(message, part)) << part << "\n" << message;
}

TEST(Verify, FindsValuesReadTooEarlyOrProducedTwice) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {4});
  ValueId a = g.add(Op::relu, {x}, {}, "a"), b = g.add(Op::exp, {x}, {}, "b");
  g.edit_node(0).inputs[0] = b;
  g.edit_node(1).outputs = {a};
  std::string message = message_of([&] { verify(g); });
  EXPECT_TRUE(contains(message, "'a' (relu) reads 'b' before it is produced")) << message;
  EXPECT_TRUE(contains(message, "'a' has two producers")) << message;
}

std::vector<Op> all_ops() {
  return {
#define LACUNA_OP(name, help) Op::name,
#include "graph/ops.def"
#undef LACUNA_OP
  };
}

TEST(Schemas, EveryAttributeHasAKind) {
  for (Op op : all_ops()) {
    EXPECT_EQ(schema_of(op).op, op);
    EXPECT_EQ(op_from_name(name_of(op)), op);
    for (auto attribute : schema_of(op).attributes) EXPECT_TRUE(attribute_kind(attribute)) << name_of(op) << " " << attribute;
  }
  EXPECT_EQ(op_from_name("nonsense"), std::nullopt);
}

// docs/ops.md has a row for every op, and names every attribute in it; passes have theirs.
TEST(Schemas, EveryOpIsOnItsPage) {
  std::string page = read_text_file(LACUNA_SOURCE_DIR "/docs/ops.md");
  for (Op op : all_ops()) {
    size_t at = page.find(cat("\n| `", name_of(op), "`"));
    ASSERT_NE(at, std::string::npos) << name_of(op);
    std::string row = page.substr(at + 1, page.find('\n', at + 1) - at - 1);
    for (auto attribute : schema_of(op).attributes) EXPECT_TRUE(contains(row, cat("`", attribute, "`"))) << name_of(op) << " " << attribute;
  }
  for (const Pass& pass : all_passes()) EXPECT_TRUE(contains(page.substr(page.find("## Raising")), std::string(pass.name))) << pass.name;
}

// name -> reason, or "prunable"
std::map<std::string, std::string> reasons(const Graph& g) {
  std::map<std::string, std::string> out;
  for (auto& use : weight_uses(g)) out[g.weights[use.weight].name] = use.prunable ? "prunable" : use.reason;
  return out;
}

TEST(WeightUses, OfAClassifier) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("batch"), 3, 32, 32});
  auto grouped = [](int64_t groups) { return attributes({{"groups", groups}}); };
  x = g.add(Op::conv, {x, weight(g, "stem", {16, 3, 3, 3}, MatrixLayout::kConv), weight(g, "stem.bias", {16})}, grouped(1));
  x = g.add(Op::conv, {x, weight(g, "depthwise", {16, 1, 3, 3}, MatrixLayout::kConv)}, grouped(16));
  x = g.add(Op::conv, {x, weight(g, "grouped", {32, 4, 1, 1}, MatrixLayout::kConv)}, grouped(4));
  x = g.add(Op::batch_norm, {x, weight(g, "bn.scale", {32}), weight(g, "bn.bias", {32}), weight(g, "bn.mean", {32}), weight(g, "bn.var", {32})});
  x = g.add(Op::flatten, {g.add(Op::global_average_pool, {x})});
  x = g.add(Op::relu, {g.add(Op::linear, {x, weight(g, "hidden", {64, 32}, MatrixLayout::kOutIn)})});
  x = g.add(Op::add, {g.add(Op::linear, {x, weight(g, "fc", {10, 64}, MatrixLayout::kOutIn)}), weight(g, "fc.bias", {10})});
  g.add_output("probabilities", g.add(Op::softmax, {x}));
  auto found = reasons(g);
  EXPECT_EQ(found["stem"], "prunable");
  EXPECT_EQ(found["stem.bias"], "bias or norm");
  EXPECT_EQ(found["depthwise"], "depthwise convolution");
  EXPECT_EQ(found["grouped"], "prunable");
  EXPECT_EQ(found["bn.mean"], "bias or norm");
  EXPECT_EQ(found["hidden"], "prunable");
  EXPECT_EQ(found["fc"], "output head");
  auto uses = weight_uses(g);
  EXPECT_EQ(uses[0].op_type, "Conv2d");
  EXPECT_EQ(uses[1].op_type, "Bias");
}

TEST(WeightUses, OfADetectorWithPointwiseHeads) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("batch"), 16, Dim::symbol("h"), Dim::symbol("w")});
  auto conv = [&](ValueId from, const char* name, int64_t out, int64_t k) {
    return g.add(Op::conv, {from, weight(g, name, {out, 16, k, k}, MatrixLayout::kConv)});
  };
  x = g.add(Op::add, {x, conv(x, "square residual", 16, 1)});
  x = g.add(Op::relu, {conv(x, "inner", 16, 1)});
  ValueId boxes = g.add(Op::sigmoid, {conv(x, "boxes", 4, 1)}), size = g.add(Op::shape_of, {boxes});
  ValueId grid = g.add(Op::range, {weight(g, "zero", {}), g.add(Op::gather, {size, weight(g, "three", {})}), weight(g, "one", {})});
  boxes = g.add(Op::concat, {g.add(Op::add, {boxes, grid}), g.add(Op::mul, {boxes, boxes}), boxes}, attributes({{"axis", int64_t(1)}}));
  g.add_output("boxes", boxes);
  g.add_output("coarse", g.add(Op::resize, {conv(x, "segments", 5, 1), kNoValue, weight(g, "scales", {4})}));
  g.add_output("picture", conv(x, "pixels", 3, 3));
  auto found = reasons(g);
  EXPECT_EQ(found["square residual"], "prunable");
  EXPECT_EQ(found["inner"], "prunable");
  EXPECT_EQ(found["boxes"], "output head");
  EXPECT_EQ(found["segments"], "output head");
  EXPECT_EQ(found["pixels"], "prunable");
}

TEST(WeightUses, OfADynamicallyQuantizedClassifier) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("batch"), 16});
  NodeId codes = g.add_node(Op::dynamic_quantize, {x}, 3);
  ValueId product = g.add(Op::linear, {g.add(Op::cast, {g.node(codes).outputs[0]}, attributes({{"to", std::string("f32")}})),
                                       weight(g, "fc", {10, 16}, MatrixLayout::kOutIn)});
  ValueId scale = g.add(Op::mul, {g.node(codes).outputs[1], weight(g, "scale", {})});
  g.add_output("y", g.add(Op::mul, {product, scale}));
  infer_shapes(g);
  EXPECT_EQ(reasons(g)["fc"], "output head");
}

TEST(WeightUses, OfADecoderWithTiedEmbeddings) {
  for (bool tied : {true, false}) {
    Graph g;
    ValueId ids = g.add_input("ids", DType::kS64, {1, Dim::symbol("tokens")});
    ValueId table = weight(g, "embed", {64, 64}, MatrixLayout::kOutIn);
    ValueId x = g.add(Op::embedding, {ids, table});
    // A residual, a square projection and a norm: no head although the width is the vocabulary's.
    x = g.add(Op::add, {x, g.add(Op::linear, {x, weight(g, "down", {64, 64}, MatrixLayout::kOutIn)})});
    x = g.add(Op::rms_norm, {x, weight(g, "norm", {64})});
    g.add_output("logits", g.add(Op::linear, {x, tied ? table : weight(g, "lm_head", {64, 64}, MatrixLayout::kOutIn)}));
    auto found = reasons(g);
    EXPECT_EQ(found["down"], "prunable");
    EXPECT_EQ(found["norm"], "bias or norm");
    EXPECT_EQ(found["embed"], tied ? "embedding, tied to an output head" : "embedding");
    EXPECT_EQ(found["lm_head"], tied ? "" : "output head");
  }
}

TEST(WeightUses, OfAnEncoderWithPoolerAndOfARouter) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {1, Dim::symbol("tokens"), 32});
  ValueId y = g.add(Op::add, {x, g.add(Op::linear, {x, weight(g, "dense", {32, 32}, MatrixLayout::kOutIn)})});
  y = g.add(Op::layer_norm, {y, weight(g, "scale", {32})});
  g.add_output("hidden", y);
  g.add_output("pooled", g.add(Op::tanh, {g.add(Op::linear, {g.add(Op::token_pool, {y}, attributes({{"mode", std::string("cls")}})),
                                                             weight(g, "pooler", {32, 32}, MatrixLayout::kOutIn)})}));
  ValueId scores = g.add(Op::softmax, {g.add(Op::linear, {y, weight(g, "router", {8, 32}, MatrixLayout::kOutIn)})});
  NodeId top = g.add_node(Op::top_k, {scores, vector_of(g, "two", {2})}, 2);
  g.add_output("mixed", g.add(Op::matmul, {g.node(top).outputs[0], g.add(Op::transpose, {y}, attributes({{"perm", integers({0, 2, 1})}}))}));
  auto found = reasons(g);
  EXPECT_EQ(found["dense"], "prunable");
  EXPECT_EQ(found["pooler"], "prunable");
  EXPECT_EQ(found["router"], "router");
  EXPECT_EQ(found["two"], "indices or sizes");
}

}  // namespace
}  // namespace lacuna
