// What the einsum pass makes of an equation computes what the equation says.
#include <gtest/gtest.h>

#include <random>

#include "graph/passes/passes.h"
#include "graph/testing.h"
#include "runtime/session.h"

namespace lacuna {
namespace {

Tensor numbers(const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-1, 1);
  std::vector<float> values(size_t(element_count(shape)));
  for (float& v : values) v = value(random);
  return Tensor::of<float>(shape, values);
}

// Sizes by letter, so that a wrong order of axes is noticed.
Shape shape_of(const std::string& labels) {
  Shape shape;
  for (char c : labels) shape.push_back(2 + c - 'a');
  return shape;
}

struct Case {
  std::string left, right, result;
  bool constant_left, constant_right;
};

Tensor computed(const Case& c, bool raised, std::string& ops) {
  auto graph = std::make_shared<Graph>();
  TensorMap inputs;
  auto operand = [&](const char* name, const std::string& labels, bool constant, unsigned seed) {
    Tensor values = numbers(shape_of(labels), seed);
    if (constant)
      return graph->add_weight(testing::add_tensor<float>(*graph, name, values.shape(), {values.data<float>().begin(), values.data<float>().end()}));
    inputs[name] = values;
    SymShape shape;
    for (char label : labels) shape.push_back(Dim::symbol(std::string(1, label)));
    for (int64_t i = 1; i < int64_t(shape.size()); i++) shape[size_t(i)] = Dim(values.dim(i));
    return graph->add_input(name, DType::kF32, shape);
  };
  ValueId a = operand("a", c.left, c.constant_left, 1), b = operand("b", c.right, c.constant_right, 2);
  graph->add_output("y", graph->add(Op::einsum, {a, b}, testing::attributes({{"equation", c.left + ", " + c.right + " -> " + c.result}})));
  infer_shapes(*graph);
  if (raised) run_passes(*graph, std::vector<std::string_view>{"einsum", "linear"});
  for (auto& node : graph->nodes()) ops += std::string(name_of(node.op)) + " ";
  return Session(graph, {.executor = Executor::kReference}).run(inputs).at("y");
}

TEST(Einsum, AsProductsComputesTheSame) {
  const Case cases[] = {{"abc", "cde", "abde", false, true},    {"abcd", "cde", "abe", false, true},    {"abcd", "dce", "abe", false, true},
                        {"abc", "dec", "abde", false, true},    {"cde", "abc", "abde", true, false},    {"abc", "cd", "abd", false, true},
                        {"acb", "cd", "dab", false, true},      {"abc", "cde", "edba", false, true},    {"abc", "ecd", "abde", false, true},
                        {"ab", "bc", "ac", false, false},       {"ab", "cb", "ca", false, false},       {"abcd", "ebcd", "ae", false, true},
                        {"aecd", "abcd", "acbe", false, false}, {"acbe", "aecd", "abcd", false, false}, {"eb", "ebd", "ed", false, false}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.left + "," + c.right + "->" + c.result);
    std::string before, after;
    Tensor wanted = computed(c, false, before), found = computed(c, true, after);
    EXPECT_EQ(before, "einsum ");
    EXPECT_EQ(found.shape(), wanted.shape());
    EXPECT_LT(relative_error(found, wanted), 1e-6);
    bool constant = c.constant_left || c.constant_right, one_block = c.right != "ecd";  // what is contracted lies between what is not
    EXPECT_EQ(after.find("linear") != std::string::npos, constant && one_block) << after;
  }
}

}  // namespace
}  // namespace lacuna
