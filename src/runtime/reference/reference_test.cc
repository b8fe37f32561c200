// Every reference op against values from outside: ONNX Runtime's (tests/fixtures/reference_ops.json, made by
// tools/fixtures/reference_ops.py) or computed by hand here.
#include "runtime/reference/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/cat.h"
#include "lacuna/error.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

using nlohmann::json;
using testing::tensor;

double number(const json& v) {
  if (!v.is_string()) return v.get<double>();
  return v == "nan" ? NAN : v == "inf" ? INFINITY : -INFINITY;
}

Tensor parse_tensor(const json& j) {
  Tensor t(DType::kF64, j["shape"].get<Shape>());
  for (int64_t i = 0; i < t.size(); i++) t.mutable_data<double>()[size_t(i)] = number(j["data"][size_t(i)]);
  return t.to(*dtype_from_name(j["dtype"].get<std::string>()));
}

Attributes parse_attributes(const json& j) {
  Attributes attributes;
  for (auto& [name, v] : j.items()) {
    if (v.is_string())
      attributes.set(name, v.get<std::string>());
    else if (v.is_number_integer())
      attributes.set(name, v.get<int64_t>());
    else if (v.is_number())
      attributes.set(name, v.get<double>());
    else
      attributes.set(name, v.get<std::vector<int64_t>>());
  }
  return attributes;
}

struct Case {
  Graph graph;
  TensorMap inputs;
  std::vector<Tensor> expected;
};

// One node; with `constants` every input but the first is a weight.
Case parse_case(const json& j, bool constants) {
  Case c;
  std::vector<ValueId> inputs;
  Op op = *op_from_name(j["op"].get<std::string>());
  for (size_t i = 0; i < j["inputs"].size(); i++) {
    if (j["inputs"][i].is_null()) {
      inputs.push_back(kNoValue);
      continue;
    }
    Tensor t = parse_tensor(j["inputs"][i]);
    std::string name = cat("x", i);
    if (constants && i > 0) {
      inputs.push_back(testing::add_weight(c.graph, name, t, op == Op::conv && i == 1 ? MatrixLayout::kConv : MatrixLayout::kNone));
      continue;
    }
    inputs.push_back(c.graph.add_input(name, t.dtype(), SymShape(t.shape().begin(), t.shape().end())));
    c.inputs[name] = t;
  }
  NodeId node = c.graph.add_node(op, inputs, j["outputs"].size(), parse_attributes(j["attributes"]));
  for (size_t i = 0; i < j["outputs"].size(); i++) {
    c.graph.add_output(cat("y", i), c.graph.node(node).outputs[i]);
    c.expected.push_back(parse_tensor(j["outputs"][i]));
  }
  return c;
}

json fixture() {
  std::ifstream file(LACUNA_SOURCE_DIR "/tests/fixtures/reference_ops.json");
  return json::parse(file);
}

void expect_equal_to_onnx_runtime(Executor executor, bool constants) {
  json cases = fixture();
  ASSERT_GT(cases.size(), 300u);
  for (size_t n = 0; n < cases.size(); n++) {
    SCOPED_TRACE(cat("case ", n, ": ", cases[n]["op"].get<std::string>(), " ", cases[n]["attributes"].dump()));
    Case c = parse_case(cases[n], constants);
    try {
      TensorMap outputs = testing::run(c.graph, c.inputs, executor);
      for (size_t i = 0; i < c.expected.size(); i++) {
        const Tensor& y = outputs.at(cat("y", i));
        EXPECT_EQ(name_of(y.dtype()), name_of(c.expected[i].dtype()));
        EXPECT_EQ(y.shape(), c.expected[i].shape());
        EXPECT_LE(relative_error(y, c.expected[i]), 2e-6) << "output " << i;
      }
    } catch (const Error& e) {
      ADD_FAILURE() << e.what();
    }
  }
}

TEST(ReferenceOps, EqualOnnxRuntime) { expect_equal_to_onnx_runtime(Executor::kReference, false); }
TEST(ReferenceOps, EqualOnnxRuntimeWithConstantInputs) { expect_equal_to_onnx_runtime(Executor::kReference, true); }
TEST(RuntimeOps, EqualOnnxRuntime) { expect_equal_to_onnx_runtime(Executor::kRuntime, false); }
TEST(RuntimeOps, EqualOnnxRuntimeWithConstantInputs) { expect_equal_to_onnx_runtime(Executor::kRuntime, true); }

// Runs one node on both executors; inputs x0, x1, ... are inputs of the graph.
Tensor run_op(Op op, std::vector<Tensor> inputs, Attributes attributes, Executor executor = Executor::kReference) {
  Graph graph;
  TensorMap map;
  std::vector<ValueId> values;
  for (size_t i = 0; i < inputs.size(); i++) {
    values.push_back(graph.add_input(cat("x", i), inputs[i].dtype(), SymShape(inputs[i].shape().begin(), inputs[i].shape().end())));
    map[cat("x", i)] = inputs[i];
  }
  graph.add_output("y", graph.add(op, values, attributes));
  return testing::run(graph, map, executor).at("y");
}

Attributes attributes(std::initializer_list<std::pair<std::string, Attribute>> list) {
  Attributes a;
  for (auto& [name, value] : list) a.set(name, value);
  return a;
}

class BothExecutors : public ::testing::TestWithParam<Executor> {};
INSTANTIATE_TEST_SUITE_P(Executors, BothExecutors, ::testing::Values(Executor::kReference, Executor::kRuntime),
                         [](auto& info) { return info.param == Executor::kReference ? "reference" : "runtime"; });

TEST_P(BothExecutors, LinearMultipliesByTheTransposedWeight) {
  Tensor x = tensor<float>({1, 2, 2}, {1, 2, 3, 4}), w = tensor<float>({3, 2}, {1, 0, 0, 1, 1, -1}), b = tensor<float>({3}, {10, 20, 30});
  EXPECT_EQ(relative_error(run_op(Op::linear, {x, w, b}, {}, GetParam()), tensor<float>({1, 2, 3}, {11, 22, 29, 13, 24, 29})), 0);
  Tensor in_out = tensor<float>({2, 3}, {1, 0, 1, 0, 1, -1});
  EXPECT_EQ(relative_error(run_op(Op::linear, {x, in_out}, attributes({{"transposed", int64_t(1)}}), GetParam()),
                           tensor<float>({1, 2, 3}, {1, 2, -1, 3, 4, -1})),
            0);
}

TEST_P(BothExecutors, EmbeddingPicksRows) {
  Tensor ids = tensor<int64_t>({1, 3}, {2, 0, 2}), table = tensor<float>({3, 2}, {0, 1, 10, 11, 20, 21});
  EXPECT_EQ(relative_error(run_op(Op::embedding, {ids, table}, {}, GetParam()), tensor<float>({1, 3, 2}, {20, 21, 0, 1, 20, 21})), 0);
  EXPECT_THROW(run_op(Op::embedding, {tensor<int64_t>({1}, {3}), table}, {}, GetParam()), InvalidData);
  EXPECT_THROW(run_op(Op::embedding, {tensor<int64_t>({1}, {-1}), table}, {}, GetParam()), InvalidData);
  Attributes from_end = attributes({{"from_end", int64_t(1)}});  // as a gather of ONNX
  EXPECT_EQ(relative_error(run_op(Op::embedding, {tensor<int64_t>({1}, {-2}), table}, from_end, GetParam()), tensor<float>({1, 2}, {10, 11})), 0);
  EXPECT_THROW(run_op(Op::embedding, {tensor<int64_t>({1}, {3}), table}, from_end, GetParam()), InvalidData);
  EXPECT_THROW(run_op(Op::embedding, {tensor<int64_t>({1}, {-4}), table}, from_end, GetParam()), InvalidData);
}

TEST_P(BothExecutors, RmsNormDividesByTheRootMeanSquare) {
  Tensor x = tensor<float>({2, 2}, {3, 4, 0, 0}), scale = tensor<float>({2}, {1, 2});
  float r = float(1 / std::sqrt(12.5 + 0.5));
  EXPECT_LE(relative_error(run_op(Op::rms_norm, {x, scale}, attributes({{"epsilon", 0.5}}), GetParam()), tensor<float>({2, 2}, {3 * r, 8 * r, 0, 0})),
            1e-6);
  EXPECT_LE(relative_error(run_op(Op::rms_norm, {x, scale}, attributes({{"epsilon", 0.5}, {"scale_offset", 1.0}}), GetParam()),
                           tensor<float>({2, 2}, {6 * r, 12 * r, 0, 0})),
            1e-6);
}

TEST_P(BothExecutors, RopeRotatesHalvesOrNeighbours) {
  Tensor x = tensor<float>({1, 1, 5}, {1, 2, 3, 4, 9}), position = tensor<int64_t>({1, 1}, {3});
  std::vector<double> inv_freq = {1.0, 0.25};
  auto rotate = [&](int64_t interleaved, double factor) {
    return run_op(Op::rope, {x, position},
                  attributes({{"heads", int64_t(1)},
                              {"head_dim", int64_t(5)},
                              {"rotary_dim", int64_t(4)},
                              {"inv_freq", inv_freq},
                              {"interleaved", interleaved},
                              {"attention_factor", factor}}),
                  GetParam());
  };
  float c0 = std::cos(3.0f), s0 = std::sin(3.0f), c1 = std::cos(0.75f), s1 = std::sin(0.75f);
  EXPECT_LE(relative_error(rotate(0, 1), tensor<float>({1, 1, 5}, {c0 - 3 * s0, 2 * c1 - 4 * s1, 3 * c0 + s0, 4 * c1 + 2 * s1, 9})), 1e-6);
  EXPECT_LE(
      relative_error(rotate(1, 2), tensor<float>({1, 1, 5}, {2 * (c0 - 2 * s0), 2 * (2 * c0 + s0), 2 * (3 * c1 - 4 * s1), 2 * (4 * c1 + 3 * s1), 9})),
      1e-6);
}

TEST_P(BothExecutors, RopeFrequenciesFollowTheta) {
  Tensor x = tensor<float>({1, 1, 4}, {1, 0, 0, 0}), position = tensor<int64_t>({1, 1}, {2});
  Tensor y = run_op(Op::rope, {x, position}, attributes({{"heads", int64_t(1)}, {"head_dim", int64_t(4)}, {"theta", 100.0}}), GetParam());
  EXPECT_LE(relative_error(y, tensor<float>({1, 1, 4}, {std::cos(2.0f), 0, std::sin(2.0f), 0})), 1e-6);
}

TEST_P(BothExecutors, PositionsCountTokensThatAreNotPadding) {
  Tensor ids = tensor<int64_t>({2, 4}, {5, 6, 7, 8, 9, 9, 1, 1}), mask = tensor<int64_t>({2, 4}, {1, 1, 1, 1, 0, 0, 1, 1});
  EXPECT_EQ(absolute_error(run_op(Op::positions, {ids}, attributes({{"offset", int64_t(2)}}), GetParam()),
                           tensor<int64_t>({2, 4}, {2, 3, 4, 5, 2, 3, 4, 5})),
            0);
  EXPECT_EQ(absolute_error(run_op(Op::positions, {ids}, attributes({{"padding_id", int64_t(1)}}), GetParam()),
                           tensor<int64_t>({2, 4}, {2, 3, 4, 5, 2, 3, 1, 1})),
            0);
  EXPECT_EQ(absolute_error(run_op(Op::positions, {ids, mask}, attributes({{"offset", int64_t(2)}}), GetParam()),
                           tensor<int64_t>({2, 4}, {2, 3, 4, 5, 1, 1, 2, 3})),
            0);
}

TEST_P(BothExecutors, TokenPoolHonoursTheMask) {
  Tensor hidden = tensor<float>({1, 3, 2}, {1, 2, 3, 4, 100, 200}), mask = tensor<int64_t>({1, 3}, {1, 1, 0});
  auto pool = [&](const char* mode) { return run_op(Op::token_pool, {hidden, mask}, attributes({{"mode", std::string(mode)}}), GetParam()); };
  EXPECT_EQ(relative_error(pool("mean"), tensor<float>({1, 2}, {2, 3})), 0);
  EXPECT_EQ(relative_error(pool("max"), tensor<float>({1, 2}, {3, 4})), 0);
  EXPECT_EQ(relative_error(pool("last"), tensor<float>({1, 2}, {3, 4})), 0);
  EXPECT_EQ(relative_error(pool("cls"), tensor<float>({1, 2}, {1, 2})), 0);
}

// Keys that are equal get equal weights, so the output is the mean of the visible values.
Tensor visible_mean(Executor executor, int64_t window, const Tensor* mask) {
  Tensor q = tensor<float>({1, 4, 2}, {1, 0, 1, 0, 1, 0, 1, 0}), v = tensor<float>({1, 4, 2}, {1, 0, 2, 0, 4, 0, 8, 0});
  std::vector<Tensor> inputs = {q, q, v};  // queries are the keys
  if (mask) inputs.push_back(*mask);
  return run_op(Op::attention, inputs, attributes({{"heads", int64_t(1)}, {"head_dim", int64_t(2)}, {"causal", int64_t(1)}, {"window", window}}),
                executor);
}

TEST_P(BothExecutors, CausalAttentionSeesThePastOnly) {
  EXPECT_LE(relative_error(visible_mean(GetParam(), 0, nullptr), tensor<float>({1, 4, 2}, {1, 0, 1.5, 0, 7 / 3.0f, 0, 3.75, 0})), 1e-6);
}
TEST_P(BothExecutors, ASlidingWindowSeesItsLastKeysOnly) {
  EXPECT_LE(relative_error(visible_mean(GetParam(), 2, nullptr), tensor<float>({1, 4, 2}, {1, 0, 1.5, 0, 3, 0, 6, 0})), 1e-6);
}
TEST_P(BothExecutors, AQueryThatSeesNothingGivesZeros) {
  Tensor mask = tensor<int64_t>({1, 4}, {0, 0, 1, 1});
  EXPECT_LE(relative_error(visible_mean(GetParam(), 0, &mask), tensor<float>({1, 4, 2}, {0, 0, 0, 0, 4, 0, 6, 0})), 1e-6);
}

TEST(ReferenceOps, EveryOpHasAFunction) {
  for (auto op : {
#define LACUNA_OP(name, help) Op::name,
#include "graph/ops.def"
#undef LACUNA_OP
       })
    EXPECT_NE(reference_of(op), nullptr) << name_of(op);
}

}  // namespace
}  // namespace lacuna
