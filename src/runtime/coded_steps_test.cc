// What is done to codes between convolutions: the runtime against the reference, by powers of two, so that the results must be the same floats.
#include <gtest/gtest.h>

#include <cmath>

#include "base/cpu.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

struct Net {
  Graph graph;
  Rng rng{35};
  int count = 0;
  ValueId rounded(ValueId v, int bits, int zero = 3) {
    return testing::Quantizer{graph, std::ldexp(1.0f, -bits), zero, DType::kS8, cat("q", count++, "_")}(v);
  }
  ValueId convolved(ValueId v, int64_t from, int64_t to) {
    return graph.add(Op::conv, {v, testing::add_coded_conv_weight(graph, rng, cat("w", count++), to, from, 1, true)});
  }
  ValueId resized(ValueId v, ValueId scales, ValueId sizes = kNoValue) {
    Attributes a;
    a.set("mode", std::string("nearest")), a.set("nearest_mode", std::string("floor"));
    a.set("coordinate_transformation_mode", std::string("asymmetric"));
    return graph.add(Op::resize, {v, kNoValue, scales, sizes}, a);
  }
  // The kernel of the last node of each operator.
  std::map<std::string, std::string> expect_same(const TensorMap& inputs) {
    infer_shapes(graph);
    TensorMap want = testing::run(graph, inputs, Executor::kReference);
    Session runtime(std::make_shared<const Graph>(graph), {.split_batches = false});
    runtime.enable_profile(true);
    TensorMap got = runtime.run(inputs);
    for (auto& [name, tensor] : want) {
      EXPECT_EQ(got.at(name).shape(), tensor.shape()) << name;
      EXPECT_EQ(relative_error(got.at(name), tensor), 0) << name;
    }
    std::map<std::string, std::string> kernels;
    for (auto& line : runtime.profile()) kernels[line.op] = line.kernel;
    return kernels;
  }
};

// Blocks as of a detector: a split, sums, joined parts, a pyramid of pools, pictures made larger, a gate for each channel; each value rounded in
// its own way, by powers of two, so that the results must be the same floats.
TEST(CodedSteps, WhatLiesBetweenConvolutionsIsDoneToTheirCodes) {
  for (DType type : {DType::kS8, DType::kU8})
    for (int64_t batch : {1, 3}) {
      Rng rng(33);
      Graph graph;
      int count = 0;
      auto rounded = [&](ValueId v, int bits) {
        int zero = (type == DType::kU8 ? 120 : 0) + bits;
        return testing::Quantizer{graph, std::ldexp(1.0f, -bits), zero, type, cat("q", count++, "_")}(v);
      };
      auto convolved = [&](ValueId v, int64_t from, int64_t to, int64_t k, int bits) {
        Attributes a;
        a.set("pads", std::vector<int64_t>(4, k / 2));
        return rounded(graph.add(Op::conv, {v, testing::add_coded_conv_weight(graph, rng, cat("w", count++), to, from, k, true)}, a), bits);
      };
      auto along = [](int64_t axis) {
        Attributes a;
        a.set("axis", axis);
        return a;
      };
      ValueId x = rounded(graph.add_input("x", DType::kF32, {Dim(batch), 3, 12, 10}), 5);
      ValueId wide = convolved(x, 3, 40, 3, 4);
      ValueId sizes = testing::add_weight(graph, "sizes", testing::tensor<int64_t>({2}, {17, 23}));
      auto parts = graph.node(graph.add_node(Op::split, {wide, sizes}, 2, along(1))).outputs;
      ValueId a = rounded(parts[0], 4), b = rounded(parts[1], 3);
      Attributes pool, twice;
      pool.set("kernel_shape", std::vector<int64_t>{5, 5}), pool.set("pads", std::vector<int64_t>(4, 2));
      ValueId sum = rounded(graph.add(Op::add, {b, rounded(graph.add(Op::max_pool, {b}, pool), 3)}), 2);
      ValueId joined = rounded(graph.add(Op::concat, {a, sum, wide}, along(-3)), 3);
      ValueId largest = rounded(graph.add(Op::max_pool, {joined}, pool), 3);
      ValueId mean = rounded(graph.add(Op::global_average_pool, {largest}), 4);
      ValueId gated = rounded(graph.add(Op::mul, {convolved(mean, 80, 80, 1, 5), largest}), 2);
      ValueId moved = rounded(graph.add(Op::add, {convolved(mean, 80, 80, 1, 4), gated}), 2);  // larger than what the convolution gives
      twice.set("mode", std::string("nearest")), twice.set("nearest_mode", std::string("floor"));
      twice.set("coordinate_transformation_mode", std::string("asymmetric"));
      ValueId scales = testing::add_weight(graph, "scales", testing::tensor<float>({4}, {1, 1, 3, 2}));
      ValueId larger = rounded(graph.add(Op::resize, {moved, kNoValue, scales}, twice), 2);
      graph.add_output("y", convolved(larger, 80, 16, 3, 1));
      graph.add_output("joined", joined);
      graph.add_output("mean", graph.add(Op::global_average_pool, {sum}));
      infer_shapes(graph);
      TensorMap inputs{{"x", testing::random_tensor(rng, {batch, 3, 12, 10}, 2)}};
      TensorMap want = testing::run(graph, inputs, Executor::kReference);
      Session runtime(std::make_shared<const Graph>(graph), {.split_batches = false});
      runtime.enable_profile(true);
      TensorMap got = runtime.run(inputs);
      for (auto& [name, tensor] : want) EXPECT_LE(relative_error(got.at(name), tensor), name == "mean" ? 1e-6 : 0) << name << " " << name_of(type);
      if (!cpu_features().avx512_vnni && !cpu_features().amx_int8) continue;
      std::map<std::string, int> on_codes;
      for (auto& line : runtime.profile()) on_codes[line.op] += line.kernel == "codes" ? 1 : 100;
      for (auto [op, wanted] : {std::pair("split", 2), {"add", 2}, {"concat", 1}, {"max_pool", 2}, {"mul", 1}, {"resize", 1}})
        EXPECT_EQ(on_codes[op], wanted) << op;
    }
}

// Constants that are known when the batch is: a step whose inputs are all such is no arithmetic of bare codes.
TEST(CodedSteps, OfConstantsHaveTheirScales) {
  for (Op op : {Op::add, Op::mul, Op::concat, Op::split, Op::resize}) {
    Net net;
    ValueId x = net.graph.add_input("x", DType::kF32, {Dim::symbol("n"), 8, 4, 5});
    auto constant = [&](const std::string& name) {
      ValueId one = testing::add_weight(net.graph, name, testing::random_tensor(net.rng, {1, 8, 4, 5}));
      return net.graph.add(Op::expand, {one, net.graph.add(Op::shape_of, {x})});
    };
    ValueId a = net.rounded(constant("a"), 5), b = net.rounded(constant("b"), 4, -7);
    Attributes channels;
    channels.set("axis", int64_t(1));
    if (op == Op::split) {
      ValueId sizes = testing::add_weight(net.graph, "sizes", testing::tensor<int64_t>({2}, {3, 5}));
      auto parts = net.graph.node(net.graph.add_node(op, {a, sizes}, 2, channels)).outputs;
      for (size_t i = 0; i < 2; i++) net.graph.add_output(cat("y", i), net.convolved(net.rounded(parts[i], 4), i ? 5 : 3, 8));
    } else if (op == Op::resize) {
      ValueId scales = testing::add_weight(net.graph, "scales", testing::tensor<float>({4}, {1, 1, 2, 2}));
      net.graph.add_output("y", net.convolved(net.rounded(net.resized(a, scales), 5), 8, 8));
    } else {
      ValueId both = net.graph.add(op, {a, b}, op == Op::concat ? channels : Attributes());
      net.graph.add_output("y", net.convolved(net.rounded(both, 2, 9), op == Op::concat ? 16 : 8, 8));
    }
    net.graph.add_output("of a", net.convolved(a, 8, 4));
    net.graph.add_output("of b", net.convolved(b, 8, 4));
    net.graph.add_output("of x", net.convolved(net.rounded(x, 4), 8, 4));
    SCOPED_TRACE(name_of(op));
    net.expect_same({{"x", testing::random_tensor(net.rng, {2, 8, 4, 5})}});
  }
}

TEST(CodedSteps, AResizeToNothingWritesNothing) {
  Net net;
  ValueId x = net.rounded(net.graph.add_input("x", DType::kF32, {2, 8, 12, 700}), 4);
  ValueId scales = testing::add_weight(net.graph, "scales", testing::tensor<float>({4}, {1, 1, 0.05f, 1}));
  ValueId none = net.rounded(net.resized(net.rounded(net.convolved(x, 8, 16), 3), scales), 3);
  net.graph.add_output("none", none);
  net.graph.add_output("y", net.convolved(x, 8, 4));
  auto kernels = net.expect_same({{"x", testing::random_tensor(net.rng, {2, 8, 12, 700})}});
  EXPECT_NE(kernels["resize"], "codes");
}

// A convolution of a picture whose size only the run can tell runs as the reference: its rounding stays a node.
TEST(CodedSteps, OfUnknownSizesStayNodes) {
  Net net;
  ValueId x = net.graph.add_input("x", DType::kF32, {2, 8, 3, 4}), sizes = net.graph.add_input("sizes", DType::kS64, {4});
  ValueId larger = net.rounded(net.resized(x, kNoValue, sizes), 2);
  net.graph.add_output("y", net.convolved(larger, 8, 4));
  net.expect_same({{"x", testing::random_tensor(net.rng, {2, 8, 3, 4})}, {"sizes", testing::tensor<int64_t>({4}, {2, 8, 6, 4})}});
}

}  // namespace
}  // namespace lacuna
