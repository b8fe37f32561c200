#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "graph/testing.h"

namespace lacuna {
namespace {

using namespace testing;

Graph example() {
  Graph g;
  Dim batch = Dim::symbol("batch"), tokens = Dim::symbol("tokens");
  g.family = "llama";
  g.metadata["config.json"] = "{\"a\": \"\u00e9\"}";
  ValueId ids = g.add_input("ids", DType::kS64, {batch, tokens * Dim(2) + Dim(1)});
  ValueId k = g.add_state("k", DType::kF32, {batch, 2, Dim::symbol("capacity"), 8}),
          v = g.add_state("v", DType::kF32, {batch, 2, Dim::symbol("capacity"), 8});
  ValueId table = weight(g, "embed", {10, 16}, MatrixLayout::kOutIn);
  ValueId x = g.add(Op::embedding, {ids, table}, {}, "embed", "model");
  ValueId r = g.add(
      Op::rope, {x, g.add(Op::positions, {ids})},
      attributes({{"heads", int64_t(2)}, {"head_dim", int64_t(8)}, {"theta", 10000.5}, {"inv_freq", std::vector<double>{1, 0.1, 1e-17, 1.0 / 3}}}));
  x = g.add(Op::attention, {r, r, x, kNoValue, k, v}, attributes({{"heads", int64_t(2)}, {"head_dim", int64_t(8)}, {"scale", int64_t(1)}}), "attend",
            "layers.0");
  x = g.add(Op::clip, {x}, attributes({{"min", -std::numeric_limits<double>::infinity()}, {"max", 6.0}}));
  g.add(Op::relu, {x}, {}, "unused");
  NodeId pool = g.add_node(Op::lstm, {x, weight(g, "w", {1, 16, 16}), weight(g, "r", {1, 16, 4})}, 2,
                           attributes({{"activations", std::string("Sigmoid,Tanh,Tanh")}}));
  g.edit_node(pool).outputs[0] = kNoValue;
  g.add_output("logits", g.add(Op::linear, {x, table}));
  g.add_output("last", g.node(pool).outputs[1]);
  return g;
}

TEST(GraphJson, ReadsWhatItWrites) {
  Graph g = example();
  std::string json = graph_to_json(g);
  Graph back = graph_from_json(json, g.weights);
  EXPECT_EQ(graph_to_json(back), json);
  EXPECT_EQ(back.family, "llama");
  EXPECT_EQ(back.metadata, g.metadata);
  ASSERT_EQ(back.nodes().size(), g.nodes().size());
  for (size_t i = 0; i < g.nodes().size(); i++) {
    EXPECT_EQ(back.node(NodeId(i)).attributes, g.node(NodeId(i)).attributes) << g.node(NodeId(i)).name;
    EXPECT_EQ(back.node(NodeId(i)).block, g.node(NodeId(i)).block);
  }
  EXPECT_EQ(back.states().size(), 2u);
  EXPECT_EQ(symbols_of(back), symbols_of(g));
  EXPECT_EQ(to_string(*back.value(back.outputs()[0].value).shape), "[batch, 2*tokens + 1, 10]");
}

TEST(GraphJson, LeavesOutValuesThatNothingUses) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {4});
  g.add_output("y", g.add(Op::relu, {x}));
  std::string json = graph_to_json(g);
  g.add_weight(add_tensor<float>(g, "unused", {1}, {1.0f}));
  EXPECT_EQ(graph_to_json(g), json);
}

// A small valid graph in which `from` is replaced by `to`.
std::string message_with(std::string from, std::string to) {
  std::string json =
      R"({"family":"f","metadata":{},"nodes":[{"attributes":{"axis":1},"inputs":[0],"name":"n","op":"softmax","outputs":[1]}],)"
      R"("outputs":[{"name":"y","value":1}],"values":[{"dtype":"f32","kind":"input","name":"x","shape":["batch","4"]},{"kind":"result","name":"r"}]})";
  size_t at = json.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  json.replace(at, from.size(), to);
  try {
    graph_from_json(json, {});
  } catch (const InvalidData& e) {
    return e.what();
  }
  return "accepted";
}

TEST(GraphJson, RefusesHostileText) {
  EXPECT_EQ(message_with("softmax", "softmax"), "accepted");
  struct Case {
    const char *from, *to, *message;
  };
  for (auto [from, to, message] :
       std::initializer_list<Case>{{"softmax", "sofmax", "op 'sofmax' is unknown"},
                                   {"\"axis\":1", "\"axis\":\"1\"", "wanted a 64-bit integer"},
                                   {"\"axis\":1", "\"axis\":1.5", "wanted a 64-bit integer"},
                                   {"\"axis\":1", "\"axis\":18446744073709551615", "wanted a 64-bit integer"},
                                   {"\"axis\":1", "\"axis\":7", "axis 7 is outside"},
                                   {"\"axis\":1", "\"axes\":[1]", "unknown attribute 'axes'"},
                                   {"\"axis\":1", "\"nonsense\":1", "is an unknown attribute"},
                                   {"\"axis\":1", "\"axis\":[[[[[[[[[[1]]]]]]]]]]", "nested deeper"},
                                   {"\"inputs\":[0]", "\"inputs\":[5]", "refers to value 5, there are 2"},
                                   {"\"inputs\":[0]", "\"inputs\":[-2]", "refers to value -2"},
                                   {"\"inputs\":[0]", "\"inputs\":[-1]", "lacks input 0"},
                                   {"\"inputs\":[0]", "\"inputs\":[1]", "before it is produced"},
                                   {"\"inputs\":[0]", "\"inputs\":0", "wanted a list"},
                                   {"\"outputs\":[1]", "\"outputs\":[0]", "which is no result"},
                                   {"\"outputs\":[1]", "\"outputs\":[]", "has 0 outputs"},
                                   {"\"outputs\":[1]", "\"outputs\":[-1]", "lacks its output"},
                                   {"\"value\":1", "\"value\":-1", "refers to value -1"},
                                   {"\"value\":1", "\"value\":4294967296", "refers to value 4294967296"},
                                   {"\"f32\"", "\"f33\"", "dtype 'f33' is unknown"},
                                   {"\"input\"", "\"weight\"", "has no 'weight'"},
                                   {"\"kind\":\"input\"", "\"kind\":\"weight\",\"weight\":\"w\"", "weights without data: 'w'"},
                                   {"\"4\"", "\"4)\"", "cannot be read at column 2"},
                                   {"\"4\"", "\"-4\"", "negative size"},
                                   {"\"4\"", "\"a*9223372036854775807*3\"", "dimension"},
                                   {"\"4\"", "4", "wanted text"},
                                   {"\"metadata\":{}", "\"metadata\":[]", "not an object"},
                                   {"\"family\":\"f\",", "", "has no 'family'"},
                                   {"{\"family\"", "{,\"family\"", "parse error"},
                                   {"\"nodes\":[{", "\"nodes\":[{\"x\":\"\xff\",", "parse error"}})
    EXPECT_NE(message_with(from, to).find(message), std::string::npos) << to << ": " << message_with(from, to);
}

TEST(GraphJson, RefusesEveryTruncation) {
  Graph g = example();
  std::string json = graph_to_json(g);
  for (size_t n = 0; n < json.size(); n += 7) EXPECT_THROW(graph_from_json(json.substr(0, n), g.weights), InvalidData) << n;
}

}  // namespace
}  // namespace lacuna
