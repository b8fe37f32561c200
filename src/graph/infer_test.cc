#include "graph/infer.h"

#include <gtest/gtest.h>

#include "graph/testing.h"

namespace lacuna {
namespace {

using namespace testing;
const Dim batch = Dim::symbol("batch"), tokens = Dim::symbol("tokens"), height = Dim::symbol("height");

TEST(Infer, FollowsAResidualNetwork) {
  Graph g;
  ValueId x = g.add_input("input", DType::kF32, {batch, 3, height, 32});
  ValueId w1 = weight(g, "w1", {16, 3, 3, 3}, MatrixLayout::kConv), w2 = weight(g, "w2", {32, 16, 3, 3}, MatrixLayout::kConv);
  ValueId shortcut = weight(g, "shortcut", {32, 16, 1, 1}, MatrixLayout::kConv), fc = weight(g, "fc", {10, 32}, MatrixLayout::kOutIn);
  ValueId a = g.add(Op::conv, {x, w1}, attributes({{"pads", integers({1, 1, 1, 1})}}));
  ValueId b = g.add(Op::conv, {g.add(Op::relu, {a}), w2}, attributes({{"pads", integers({1, 1, 1, 1})}, {"strides", integers({2, 2})}}));
  ValueId c = g.add(Op::conv, {a, shortcut}, attributes({{"strides", integers({2, 2})}}));
  ValueId sum = g.add(Op::add, {b, c});
  ValueId logits = g.add(Op::linear, {g.add(Op::flatten, {g.add(Op::global_average_pool, {sum})}), fc});
  g.add_output("logits", logits);
  verify(g);
  EXPECT_EQ(shape_text(g, a), "[batch, 16, height, 32]");
  EXPECT_EQ(shape_text(g, b), "[batch, 32, floor_div(height + 1, 2), 16]");
  EXPECT_EQ(shape_text(g, sum, {{"batch", 4}, {"height", 32}}), "[4, 32, 16, 16]");
  EXPECT_EQ(shape_text(g, logits), "[batch, 10]");
  EXPECT_EQ(symbols_of(g), (std::vector<std::string>{"batch", "height"}));
}

TEST(Infer, FollowsADecoderBlockWithStates) {
  Graph g;
  Dim capacity = Dim::symbol("capacity");
  ValueId ids = g.add_input("input_ids", DType::kS64, {batch, tokens});
  ValueId k_state = g.add_state("k", DType::kF32, {batch, 2, capacity, 16}), v_state = g.add_state("v", DType::kF32, {batch, 2, capacity, 16});
  ValueId x = g.add(Op::embedding, {ids, weight(g, "embed", {100, 64}, MatrixLayout::kOutIn)});
  ValueId n = g.add(Op::rms_norm, {x, weight(g, "norm", {64})});
  auto project = [&](const char* name, int64_t out) { return g.add(Op::linear, {n, weight(g, name, {out, 64}, MatrixLayout::kOutIn)}); };
  ValueId q = project("q", 64), k = project("k_proj", 32), v = project("v_proj", 32);
  ValueId at = g.add(Op::positions, {ids});
  auto heads = [](int64_t n) { return attributes({{"heads", n}, {"head_dim", int64_t(16)}}); };
  q = g.add(Op::rope, {q, at}, heads(4));
  k = g.add(Op::rope, {k, at}, heads(2));
  Attributes a = heads(4);
  a.set("kv_heads", int64_t(2));
  a.set("causal", int64_t(1));
  ValueId y = g.add(Op::attention, {q, k, v, kNoValue, k_state, v_state}, a);
  g.add_output("hidden", y);
  verify(g);
  EXPECT_EQ(shape_text(g, at), "[batch, tokens]");
  EXPECT_EQ(shape_text(g, y), "[batch, tokens, 64]");
  EXPECT_EQ(infer_facts(g)[size_t(at)].dtype, DType::kS64);
}

// Linear -> view(b, t, heads, -1) -> transpose, as PyTorch writes it with dynamic axes.
TEST(Infer, ResolvesReshapesBuiltFromShapes) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {batch, tokens, 384});
  auto size = [&](const char* name, int64_t axis) {
    ValueId d = g.add(Op::gather, {g.add(Op::shape_of, {x}), scalar(g, name, axis)}, attributes({{"axis", int64_t(0)}}));
    return g.add(Op::unsqueeze, {d}, attributes({{"axes", integers({0})}}));
  };
  ValueId shape = g.add(Op::concat, {size("zero", 0), size("one", 1), vector_of(g, "heads", {12}), vector_of(g, "open", {-1})},
                        attributes({{"axis", int64_t(0)}}));
  ValueId split = g.add(Op::reshape, {x, shape});
  ValueId moved = g.add(Op::transpose, {split}, attributes({{"perm", integers({0, 2, 1, 3})}}));
  EXPECT_EQ(shape_text(g, split), "[batch, tokens, 12, 32]");
  EXPECT_EQ(shape_text(g, moved), "[batch, 12, tokens, 32]");
}

TEST(Infer, NamesTheNodeWhoseShapesContradict) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {batch, 20});
  g.add(Op::linear, {x, weight(g, "w", {8, 30}, MatrixLayout::kOutIn)}, {}, "fc1");
  std::string message = message_of([&] { infer_facts(g); });
  EXPECT_NE(message.find("'fc1' (linear)"), std::string::npos) << message;
  EXPECT_NE(message.find("20 and 30"), std::string::npos) << message;
}

}  // namespace
}  // namespace lacuna
