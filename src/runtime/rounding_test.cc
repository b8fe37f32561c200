// Products of rounded activations: both executors against loops of the test's own.
#include "runtime/rounding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/cat.h"
#include "base/cpu.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

// A weight of s8 codes with a scale per row, or of s4 codes in groups of 32; sparse ones keep a third.
struct Coded {
  Weight weight;
  std::vector<double> values;  // [rows, cols]
};
Coded coded_weight(Rng& rng, DType type, int64_t rows, int64_t cols, bool sparse) {
  int64_t group = type == DType::kS4 ? 32 : cols, groups = (cols + group - 1) / group;
  WeightData data{.values = Tensor(type, {rows, cols}), .scales = Tensor(DType::kF32, groups > 1 ? Shape{rows, groups} : Shape{rows})};
  for (float& s : data.scales.mutable_data<float>()) s = float(0.001 + 0.01 * rng.uniform());
  if (sparse) data.mask = Mask(rows, cols, true);
  Coded out{.values = std::vector<double>(size_t(rows * cols))};
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) {
      bool kept = !sparse || rng.uniform() < 0.33;
      if (!kept) data.mask->set(r, c, false);
      int code = !kept ? 0 : type == DType::kS4 ? int(rng.below(16)) - 8 : int(rng.below(255)) - 127;
      auto* raw = reinterpret_cast<uint8_t*>(data.values.mutable_raw());
      if (type == DType::kS8)
        raw[r * cols + c] = uint8_t(int8_t(code));
      else
        raw[r * ((cols + 1) / 2) + c / 2] = uint8_t(raw[r * ((cols + 1) / 2) + c / 2] | (code & 15) << (c % 2 * 4));
      out.values[size_t(r * cols + c)] = code * double(data.scales.data<float>()[size_t(r * groups + c / group)]);
    }
  using enum Encoding::Granularity;
  Encoding encoding{.values = type, .granularity = groups > 1 ? kGroup : kRow, .group = groups > 1 ? group : 0};
  out.weight = {.name = "w", .shape = {rows, cols}, .layout = MatrixLayout::kOutIn, .encoding = encoding, .source = in_memory(data)};
  return out;
}

TEST(Rounding, LinearLayersOfRoundedTokensMultiplyIntegers) {
  Rng rng(7);
  for (DType type : {DType::kS8, DType::kS4})
    for (bool sparse : {false, true})
      for (int64_t tokens : {1, 5, 40}) {
        int64_t rows = 48, cols = 96;
        Coded w = coded_weight(rng, type, rows, cols, sparse);
        Graph graph;
        ValueId x = graph.add_input("x", DType::kF32, {Dim::symbol("n"), cols});
        Attributes attributes;
        attributes.set("activations", std::string("s8"));
        graph.add_output("y", graph.add(Op::linear, {x, graph.add_weight(graph.weights.add(w.weight))}, attributes));
        infer_shapes(graph);
        Tensor input = testing::random_tensor(rng, {tokens, cols});
        std::vector<float> wanted;
        for (int64_t t = 0; t < tokens; t++) {
          const float* token = input.data<float>().data() + t * cols;
          double largest = 0;
          for (int64_t c = 0; c < cols; c++) largest = std::max(largest, double(std::abs(token[c])));
          for (int64_t r = 0; r < rows; r++) {
            double sum = 0;
            for (int64_t c = 0; c < cols; c++)
              sum += std::nearbyint(token[c] * (127.0f / float(largest))) * (largest / 127) * w.values[size_t(r * cols + c)];
            wanted.push_back(float(sum));
          }
        }
        Tensor want = Tensor::of<float>({tokens, rows}, std::span<const float>(wanted));
        std::string what = cat(name_of(type), sparse ? " sparse " : " dense ", tokens);
        Session runtime(std::make_shared<const Graph>(graph));
        EXPECT_LE(relative_error(runtime.run({{"x", input}}).at("y"), want), 1e-5) << what;
        EXPECT_LE(relative_error(testing::run(graph, {{"x", input}}, Executor::kReference).at("y"), want), 1e-5) << what;
        EXPECT_TRUE(!cpu_features().avx2 || runtime.plan()[0].problem.find(type == DType::kS4 ? "s4" : "s8") != std::string::npos)
            << runtime.plan()[0].problem;
      }
}

// One of s8 codes under a name of its own.
ValueId add_coded_weight(Graph& graph, Rng& rng, int64_t rows, int64_t cols, bool sparse) {
  Weight coded = coded_weight(rng, DType::kS8, rows, cols, sparse).weight;
  coded.name = cat("w", graph.weights.size());
  return graph.add_weight(graph.weights.add(coded));
}

// A block as transformers have it: a norm read by two layers and a residual, a layer read by another.
TEST(Rounding, LayersThatShareTheirInputShareItsCodes) {
  Rng rng(9);
  for (int64_t tokens : {3, 40}) {
    Graph graph;
    int64_t width = 96, inner = 160;
    auto weight = [&](int64_t rows, int64_t cols) { return add_coded_weight(graph, rng, rows, cols, true); };
    Attributes rounded;
    rounded.set("activations", std::string("s8"));
    ValueId x = graph.add_input("x", DType::kF32, {Dim::symbol("b"), Dim::symbol("n"), width});
    ValueId norm = graph.add(Op::layer_norm, {x, testing::add_weight(graph, "scale", testing::random_tensor(rng, {width})), kNoValue});
    ValueId up = graph.add(Op::gelu, {graph.add(Op::linear, {norm, weight(inner, width)}, rounded)});
    ValueId gate = graph.add(Op::linear, {norm, weight(inner, width)}, rounded);
    ValueId down = graph.add(Op::linear, {graph.add(Op::mul, {up, gate}), weight(width, inner)}, rounded);
    graph.add_output("y", graph.add(Op::add, {graph.add(Op::linear, {down, weight(width, width)}, rounded), norm}));
    infer_shapes(graph);
    TensorMap inputs{{"x", testing::random_tensor(rng, {2, tokens, width})}};
    Session session(std::make_shared<const Graph>(graph));
    session.enable_profile(true);
    Tensor found = session.run(inputs).at("y");
    if (cpu_features().amx_int8 && tokens > 8) {
      // The norm writes its codes; what is multiplied and the last but one result are coded by steps of their own.
      auto profile = session.profile();
      EXPECT_EQ(std::count_if(profile.begin(), profile.end(), [](auto& line) { return line.kernel == "codes of tokens"; }), 2) << tokens;
    }
    // One code differs where another order of sums crosses a tie.
    EXPECT_LE(relative_error(found, testing::run(graph, inputs, Executor::kReference).at("y")), 0.01) << tokens;
    // An observer wants every value whole: then each layer codes its own input.
    Session watched(std::make_shared<const Graph>(graph));
    watched.set_observer([](const Node&, std::span<const Tensor>, std::span<const Tensor>) {});
    EXPECT_LE(relative_error(found, watched.run(inputs).at("y")), 1e-5) << tokens;
  }
}

// Along the last axis of what a convolution may hold in blocks of channels, of an input, and of two shapes of one value.
TEST(Rounding, CodesAreOfPlainValues) {
  Rng rng(10);
  Graph graph;
  auto weight = [&](int64_t rows, int64_t cols) { return add_coded_weight(graph, rng, rows, cols, false); };
  Attributes rounded;
  rounded.set("activations", std::string("s8"));
  ValueId x = graph.add_input("x", DType::kF32, {2, 16, 40});
  ValueId filter = testing::add_weight(graph, "filter", testing::random_tensor(rng, {32, 16, 1}), MatrixLayout::kConv);
  ValueId blocks = graph.add(Op::relu, {graph.add(Op::conv, {x, filter})});
  graph.add_output("of_blocks", graph.add(Op::linear, {blocks, weight(24, 40)}, rounded));
  graph.add_output("of_input", graph.add(Op::linear, {x, weight(24, 40)}, rounded));
  ValueId norm = graph.add(Op::layer_norm, {x, testing::add_weight(graph, "scale", testing::random_tensor(rng, {40})), kNoValue});
  graph.add_output("of_norm", graph.add(Op::linear, {norm, weight(24, 40)}, rounded));
  ValueId shape = testing::add_weight(graph, "shape", testing::tensor<int64_t>({2}, {-1, 40}));
  graph.add_output("of_reshaped", graph.add(Op::linear, {graph.add(Op::reshape, {norm, shape}), weight(24, 40)}, rounded));
  infer_shapes(graph);
  TensorMap inputs{{"x", testing::random_tensor(rng, {2, 16, 40})}};
  Session session(std::make_shared<const Graph>(graph));
  session.enable_profile(true);
  TensorMap found = session.run(inputs), wanted = testing::run(graph, inputs, Executor::kReference);
  for (auto& [name, value] : wanted) EXPECT_LE(relative_error(found.at(name), value), 0.01) << name;
  if (!cpu_features().amx_int8) return;
  auto profile = session.profile();
  EXPECT_EQ(std::count_if(profile.begin(), profile.end(), [](auto& line) { return line.kernel == "codes of tokens"; }), 2);  // not the norm's
}

TEST(Rounding, AFloatWeightIsNotRoundedWithItsInput) {
  Rng rng(8);
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {4, 64});
  Attributes attributes;
  attributes.set("activations", std::string("s8"));
  graph.add_output(
      "y", graph.add(Op::linear, {x, testing::add_weight(graph, "w", testing::random_tensor(rng, {32, 64}), MatrixLayout::kOutIn)}, attributes));
  infer_shapes(graph);
  TensorMap inputs{{"x", testing::random_tensor(rng, {4, 64})}};
  EXPECT_LE(relative_error(testing::run(graph, inputs, Executor::kRuntime).at("y"), testing::run(graph, inputs, Executor::kReference).at("y")), 1e-5);
}

// A stem with pooling, a block with a residual, one with a residual through a convolution, and a classifier.
// `wordy`: every result is rounded, as ONNX Runtime's quantizer writes it; else only what convolutions read. `exact`: all scales are powers of two
// and biases few bits long, so that floats are exact, sums fall between two codes often, and the results must be the same codes.
void check_convolutional_net(bool wordy, bool exact) {
  for (auto [type, zero] : {std::pair(DType::kS8, 0), std::pair(DType::kU8, 0), std::pair(DType::kU8, 117), std::pair(DType::kS8, -7)}) {
    Rng rng(11);
    Graph graph;
    testing::Quantizer round{graph, exact ? 0x1p-5f : 0.04f, zero, type};
    auto attributes = [](int64_t stride, int64_t pad) {
      Attributes a;
      a.set("strides", std::vector<int64_t>{stride, stride});
      a.set("pads", std::vector<int64_t>(4, pad));
      return a;
    };
    auto between = [&](ValueId v) { return wordy ? round(v) : v; };
    int made = 0;
    auto conv = [&](ValueId x, int64_t out, int64_t in, int64_t kernel, int64_t stride) {
      std::string name = cat("w", ++made);
      Tensor biases = testing::random_tensor(rng, {out}, 0.2f);
      for (float& v : biases.mutable_data<float>()) v = exact ? std::nearbyint(v * 256) / 256 : v;
      ValueId bias = testing::add_weight(graph, name + "_bias", biases);
      return between(
          graph.add(Op::conv, {x, testing::add_coded_conv_weight(graph, rng, name, out, in, kernel, exact), bias}, attributes(stride, kernel / 2)));
    };
    ValueId x = graph.add_input("x", DType::kF32, {Dim::symbol("n"), 3, 20, 20});
    Attributes pooled = attributes(2, 1);
    pooled.set("kernel_shape", std::vector<int64_t>{3, 3});
    ValueId a = round(graph.add(Op::max_pool, {graph.add(Op::relu, {conv(round(x), 16, 3, 3, 1)})}, pooled));
    ValueId b =
        round(graph.add(Op::relu, {between(graph.add(Op::add, {conv(round(graph.add(Op::relu, {conv(a, 16, 16, 3, 1)})), 16, 16, 3, 1), a}))}));
    ValueId side = round(conv(b, 32, 16, 1, 2));
    ValueId c =
        round(graph.add(Op::relu, {between(graph.add(Op::add, {conv(round(graph.add(Op::relu, {conv(b, 32, 16, 3, 2)})), 32, 32, 1, 1), side}))}));
    ValueId d = graph.add(Op::relu, {conv(c, 24, 32, 3, 1)});
    graph.add_output("plane", d);
    graph.add_output("mean", graph.add(Op::global_average_pool, {c}));
    ValueId last = graph.add(Op::relu, {between(graph.add(Op::add, {conv(c, 32, 32, 1, 1), c}))});
    graph.add_output("mean of relu", graph.add(Op::global_average_pool, {last}));
    infer_shapes(graph);
    TensorMap inputs{{"x", testing::random_tensor(rng, {2, 3, 20, 20})}};
    TensorMap want = testing::run(graph, inputs, Executor::kReference);
    Session runtime(std::make_shared<const Graph>(graph));
    runtime.enable_profile(true);
    TensorMap got = runtime.run(inputs);
    // Only the input is rounded by a step of its own.
    auto profile = runtime.profile();
    int64_t quantizes = std::count_if(profile.begin(), profile.end(), [](auto& line) { return line.op == "quantize"; });
    EXPECT_TRUE(!cpu_features().amx_int8 || quantizes == 1) << quantizes;
    // Nor does a relu need one, but that of the plane behind a rounding.
    int64_t relus = std::count_if(profile.begin(), profile.end(), [](auto& line) { return line.op == "relu"; });
    EXPECT_TRUE(!cpu_features().amx_int8 || relus == (wordy ? 1 : 0)) << relus;
    // A sum that falls between two codes may round to either, and what follows sees it.
    double near = exact ? 1e-6 : 0.01;
    for (const char* name : {"plane", "mean", "mean of relu"})
      EXPECT_LE(relative_error(got.at(name), want.at(name)), near) << name << " " << name_of(type) << zero;
    for (auto& line : runtime.plan())
      EXPECT_TRUE(!cpu_features().avx2 || line.problem.find("s8") != std::string::npos) << line.problem << " " << name_of(type);
  }
}

TEST(Rounding, AConvolutionalNetOfQuantizeAndDequantizeNodesRunsAsIntegers) { check_convolutional_net(false, false); }
TEST(Rounding, SoDoesOneThatRoundsEveryResult) { check_convolutional_net(true, false); }
TEST(Rounding, WhereFloatsAreExactConvolutionsGiveTheCodesOfTheGraph) {
  for (bool wordy : {false, true}) check_convolutional_net(wordy, true);
}

// What quantizers leave between two convolutions: an activation in parts, each result rounded.
enum class Parts { kHardSwish, kSilu, kHardSwishOfArithmetic, kLeakyRelu, kReadElsewhere, kPerChannel, kOutput };

ValueId activated_in_parts(Graph& graph, testing::Quantizer& round, ValueId x, Parts parts) {
  int made = 0;
  auto number = [&](float v) { return testing::add_weight(graph, cat("number", ++made), testing::tensor<float>({}, {v})); };
  switch (parts) {
    case Parts::kSilu: return graph.add(Op::mul, {round(graph.add(Op::sigmoid, {x})), x});
    case Parts::kLeakyRelu: return graph.add(Op::leaky_relu, {x});
    case Parts::kHardSwishOfArithmetic: {
      ValueId three = graph.add(Op::dequantize, {testing::add_weight(graph, "code", testing::tensor<int8_t>({}, {96})), number(0x1p-5f)});
      ValueId cut = round(graph.add(Op::clip, {round(graph.add(Op::add, {three, x})), number(0), number(6)}));
      return graph.add(Op::div, {round(graph.add(Op::mul, {x, cut})), number(6)});
    }
    case Parts::kPerChannel: {
      Tensor scales(DType::kF32, {24, 1, 1});
      for (size_t i = 0; i < 24; i++) scales.mutable_data<float>()[i] = float(i) / 8;
      return graph.add(Op::mul, {x, testing::add_weight(graph, "scales", scales)});
    }
    default: {
      Attributes sixth;
      sixth.set("alpha", 1.0 / 6);
      ValueId gate = round(graph.add(Op::hard_sigmoid, {x}, sixth));
      if (parts == Parts::kReadElsewhere) graph.add_output("mean", graph.add(Op::global_average_pool, {gate}));
      if (parts == Parts::kOutput) graph.add_output("gate", gate);
      return graph.add(Op::mul, {x, gate});
    }
  }
}

TEST(Rounding, WhatIsDoneToCodesAloneIsATableOfTheConvolution) {
  for (Parts parts :
       {Parts::kHardSwish, Parts::kSilu, Parts::kHardSwishOfArithmetic, Parts::kLeakyRelu, Parts::kReadElsewhere, Parts::kPerChannel, Parts::kOutput})
    for (bool residual : {false, true})
      for (auto [type, zero] : {std::pair(DType::kS8, 3), std::pair(DType::kU8, 117)}) {
        Rng rng(29);
        Graph graph;
        testing::Quantizer round{graph, 0x1p-5f, zero, type}, fine{graph, 0x1p-6f, zero / 3, type, "fine"};
        Attributes same;
        same.set("pads", std::vector<int64_t>(4, 1));
        auto bias = [&](const std::string& name) {
          Tensor t = testing::random_tensor(rng, {24}, 0.5f);
          for (float& v : t.mutable_data<float>()) v = std::nearbyint(v * 256) / 256;
          return testing::add_weight(graph, name, t);
        };
        ValueId x = round(graph.add_input("x", DType::kF32, {2, 24, 9, 9}));
        ValueId y = round(graph.add(Op::conv, {x, testing::add_coded_conv_weight(graph, rng, "first", 24, 24, 3, true), bias("first bias")}, same));
        if (residual) y = fine(graph.add(Op::add, {y, x}));
        y = round(activated_in_parts(graph, fine, y, parts));
        graph.add_output("y",
                         graph.add(Op::conv, {y, testing::add_coded_conv_weight(graph, rng, "second", 24, 24, 3, true), bias("second bias")}, same));
        infer_shapes(graph);
        TensorMap inputs{{"x", testing::random_tensor(rng, {2, 24, 9, 9}, 2)}};
        TensorMap want = testing::run(graph, inputs, Executor::kReference);
        Session runtime(std::make_shared<const Graph>(graph));
        runtime.enable_profile(true);
        TensorMap got = runtime.run(inputs);
        for (auto& [name, tensor] : want) EXPECT_LE(relative_error(got.at(name), tensor), 1e-6) << name << int(parts) << residual << name_of(type);
        const bool one_table = parts != Parts::kReadElsewhere && parts != Parts::kPerChannel && parts != Parts::kOutput;
        if (!one_table || !(cpu_features().avx512_vnni || cpu_features().amx_int8)) continue;
        for (auto& line : runtime.profile()) EXPECT_TRUE(line.op == "conv" || line.op == "quantize") << line.op << int(parts) << residual;
      }
}

// A table ends what a convolution does: a relu behind it is not the convolution's.
TEST(Rounding, AReluBehindATableIsNotLostBeforeAMean) {
  Rng rng(37);
  Graph graph;
  testing::Quantizer round{graph, 0x1p-5f, 3, DType::kS8};
  ValueId x = round(graph.add_input("x", DType::kF32, {2, 24, 6, 5}));
  ValueId y = round(graph.add(Op::conv, {x, testing::add_coded_conv_weight(graph, rng, "w", 24, 24, 1, true)}));
  y = graph.add(Op::relu, {round(graph.add(Op::leaky_relu, {y}))});
  graph.add_output("mean", graph.add(Op::global_average_pool, {y}));
  infer_shapes(graph);
  TensorMap inputs{{"x", testing::random_tensor(rng, {2, 24, 6, 5}, 2)}};
  EXPECT_LE(relative_error(testing::run(graph, inputs, Executor::kRuntime).at("mean"), testing::run(graph, inputs, Executor::kReference).at("mean")),
            1e-6);
}

// As QOperator files have it: the pool is of codes, with no floats around it.
TEST(Rounding, PoolsOfCodesRunAsCodesBetweenConvolutions) {
  for (auto [type, zero] : {std::pair(DType::kS8, 3), std::pair(DType::kU8, 117)}) {
    Rng rng(31);
    Graph graph;
    testing::Quantizer round{graph, 0x1p-5f, zero, type};
    auto convolved = [&](ValueId v, const std::string& name) {
      Attributes same;
      same.set("pads", std::vector<int64_t>(4, 1));
      return graph.add(Op::conv, {v, testing::add_coded_conv_weight(graph, rng, name, 24, 24, 3, true)}, same);
    };
    auto pooled = [&](ValueId v, int64_t stride) {
      Attributes pool;
      pool.set("kernel_shape", std::vector<int64_t>{3, 3}), pool.set("strides", std::vector<int64_t>{stride, stride});
      pool.set("pads", std::vector<int64_t>(4, 1));
      return graph.add(Op::max_pool, {v}, pool);
    };
    // The pool reads the codes of a rounded value, and what stood for that value now stands for the pool.
    auto pool_of_codes = [&](ValueId rounded, int64_t stride) {
      const Node dequantize = graph.node(graph.value(rounded).producer);
      return graph.add(Op::dequantize, {pooled(dequantize.inputs[0], stride), dequantize.inputs[1], dequantize.inputs[2]});
    };
    ValueId x = round(convolved(round(graph.add_input("x", DType::kF32, {2, 24, 13, 9})), "first"));
    ValueId once = pool_of_codes(x, 2), twice = pool_of_codes(once, 1);
    graph.add_output("y", convolved(twice, "second"));
    graph.add_output("mean", graph.add(Op::global_average_pool, {once}));
    infer_shapes(graph);
    TensorMap inputs{{"x", testing::random_tensor(rng, {2, 24, 13, 9}, 2)}};
    TensorMap want = testing::run(graph, inputs, Executor::kReference);
    Session runtime(std::make_shared<const Graph>(graph));
    runtime.enable_profile(true);
    TensorMap got = runtime.run(inputs);
    for (auto& [name, tensor] : want) EXPECT_LE(relative_error(got.at(name), tensor), 1e-6) << name << name_of(type);
    int64_t quantizes = 0;
    for (auto& line : runtime.profile()) {
      quantizes += line.op == "quantize";
      if (line.op == "max_pool") {
        EXPECT_EQ(line.kernel, "codes");
      }
    }
    if (cpu_features().avx512_vnni || cpu_features().amx_int8) {
      EXPECT_EQ(quantizes, 1);
    }
  }
}

// Two linear layers as ONNX Runtime's quantizer writes them: inputs and results rounded, the bias added behind. Codes reach both ends of their
// range; scales are powers of two, so that the results must be the same floats.
TEST(Rounding, WhereFloatsAreExactLinearLayersGiveTheCodesOfTheGraph) {
  for (auto [type, zero] : {std::pair(DType::kS8, 0), std::pair(DType::kU8, 0), std::pair(DType::kU8, 117), std::pair(DType::kS8, -7)})
    for (bool sparse : {false, true})
      for (int64_t tokens : {1, 5, 40}) {
        Rng rng(17);
        Graph graph;
        testing::Quantizer round{graph, 0x1p-5f, zero, type};
        auto linear = [&](ValueId x, const std::string& name, int64_t rows, int64_t cols) {
          Coded w = coded_weight(rng, DType::kS8, rows, cols, sparse);
          WeightData data = w.weight.load();
          for (float& v : data.scales.mutable_data<float>()) v = std::ldexp(1.0f, -9 - int(rng.below(3)));
          w.weight.name = name, w.weight.source = in_memory(data);
          return round(graph.add(Op::linear, {x, graph.add_weight(graph.weights.add(w.weight))}));
        };
        auto biased = [&](ValueId x, const std::string& name, int64_t rows) {
          Tensor bias = testing::random_tensor(rng, {rows});
          for (float& v : bias.mutable_data<float>()) v = std::nearbyint(v * 256) / 256;
          return graph.add(Op::add, {x, testing::add_weight(graph, name, bias)});
        };
        ValueId x = graph.add_input("x", DType::kF32, {Dim::symbol("n"), 96});
        ValueId hidden = graph.add(Op::relu, {biased(linear(round(x), "w1", 80, 96), "b1", 80)});
        graph.add_output("y", round(graph.add(Op::add, {biased(linear(round(hidden), "w2", 96, 80), "b2", 96), x})));
        infer_shapes(graph);
        TensorMap inputs{{"x", testing::random_tensor(rng, {tokens, 96}, 3)}};
        Session runtime(std::make_shared<const Graph>(graph));
        Tensor got = runtime.run(inputs).at("y"), want = testing::run(graph, inputs, Executor::kReference).at("y");
        EXPECT_EQ(relative_error(got, want), 0) << name_of(type) << " " << zero << (sparse ? " sparse " : " dense ") << tokens;
        for (auto& line : runtime.plan()) EXPECT_TRUE(!cpu_features().avx2 || line.problem.find("s8") != std::string::npos) << line.problem;
      }
}

TEST(Rounding, ABatchNormFoldsIntoTheScalesOfCodes) {
  Rng rng(12);
  Graph graph;
  ValueId x = testing::Quantizer{graph, 0.04f, 0, DType::kS8}(graph.add_input("x", DType::kF32, {1, 8, 6, 6}));
  auto vector = [&](const std::string& name, float least) {
    Tensor t(DType::kF32, {12});
    for (float& v : t.mutable_data<float>()) v = least + float(rng.uniform());
    return testing::add_weight(graph, name, t);
  };
  ValueId conv = graph.add(Op::conv, {x, testing::add_coded_conv_weight(graph, rng, "w", 12, 8, 1)});
  graph.add_output("y", graph.add(Op::batch_norm, {conv, vector("scale", -0.5f), vector("bias", 0), vector("mean", 0), vector("variance", 0.5f)}));
  infer_shapes(graph);
  TensorMap inputs{{"x", testing::random_tensor(rng, {1, 8, 6, 6})}};
  Session runtime(std::make_shared<const Graph>(graph));
  EXPECT_LE(relative_error(runtime.run(inputs).at("y"), testing::run(graph, inputs, Executor::kReference).at("y")), 1e-5);
  EXPECT_TRUE(!cpu_features().avx2 || runtime.plan()[0].problem.find("s8") != std::string::npos) << runtime.plan()[0].problem;
}

// ONNX Runtime's quantizer rounds biases too, and each result again behind what only moves it.
TEST(Rounding, CodedBiasesAreBiasesAndRepeatedRoundingsNoSteps) {
  Rng rng(19);
  Graph graph;
  testing::Quantizer round{graph, 0x1p-5f, 3, DType::kS8};
  Coded w = coded_weight(rng, DType::kS8, 24, 32, false);
  w.weight.name = "w";
  ValueId x = graph.add_input("x", DType::kF32, {4, 32});
  ValueId product = round(graph.add(Op::linear, {round(x), graph.add_weight(graph.weights.add(w.weight))}));
  Tensor codes(DType::kS8, {24});
  for (int8_t& v : codes.mutable_data<int8_t>()) v = int8_t(int(rng.below(255)) - 127);
  ValueId bias = graph.add(Op::dequantize,
                           {testing::add_weight(graph, "bias", codes), testing::add_weight(graph, "scale", testing::tensor<float>({}, {0.25f}))});
  Attributes turn;
  turn.set("perm", std::vector<int64_t>{1, 0});
  ValueId turned = round(graph.add(Op::transpose, {round(graph.add(Op::add, {product, bias}))}, turn));
  graph.add_output("y", graph.add(Op::mul, {turned, turned}));
  infer_shapes(graph);
  TensorMap inputs{{"x", testing::random_tensor(rng, {4, 32}, 3)}};
  Session runtime(std::make_shared<const Graph>(graph));
  runtime.enable_profile(true);
  EXPECT_LE(relative_error(runtime.run(inputs).at("y"), testing::run(graph, inputs, Executor::kReference).at("y")), 1e-5);
  for (auto& line : runtime.profile())
    EXPECT_TRUE(line.op == "linear" || line.op == "transpose" || line.op == "mul" || line.op == "quantize") << line.op;
}

// A norm and arithmetic round what they give; a sum of channel blocks or of anything without a fast path does so too.
TEST(Rounding, NormsAndArithmeticRoundTheirResults) {
  Rng rng(23);
  Graph graph;
  testing::Quantizer round{graph, 0.04f, 5, DType::kU8};
  ValueId x = graph.add_input("x", DType::kF32, {3, 5, 48}), z = graph.add_input("z", DType::kF32, {5, 1});
  auto vector = [&](const char* name) { return testing::add_weight(graph, name, testing::random_tensor(rng, {48})); };
  ValueId y = round(graph.add(Op::layer_norm, {round(graph.add(Op::add, {x, z})), vector("scale"), vector("bias")}));
  y = round(graph.add(Op::rms_norm, {round(graph.add(Op::mul, {y, x})), vector("rms")}));
  graph.add_output(
      "y", round(graph.add(Op::sub, {y, round(graph.add(Op::div, {x, testing::add_weight(graph, "three", testing::tensor<float>({}, {3}))}))})));
  infer_shapes(graph);
  TensorMap inputs{{"x", testing::random_tensor(rng, {3, 5, 48})}, {"z", testing::random_tensor(rng, {5, 1})}};
  Session runtime(std::make_shared<const Graph>(graph));
  runtime.enable_profile(true);
  Tensor got = runtime.run(inputs).at("y"), want = testing::run(graph, inputs, Executor::kReference).at("y");
  for (auto& line : runtime.profile()) EXPECT_TRUE(line.op != "quantize" && line.op != "dequantize") << line.op;
  // A value between two codes may round to either.
  int64_t others = 0;
  for (size_t i = 0; i < got.data<float>().size(); i++) others += std::abs(got.data<float>()[i] - want.data<float>()[i]) > 1e-6f;
  EXPECT_LE(others, got.size() / 100);
  EXPECT_LE(relative_error(got, want), 0.04);
}

// DynamicQuantizeLinear, MatMulInteger, Cast and Mul by both scales, as ONNX Runtime's dynamic quantizer writes a linear layer.
TEST(Rounding, ADynamicallyQuantizedLinearLayerRunsAsOne) {
  for (bool sparse : {false, true})
    for (int64_t tokens : {1, 7, 40})
      for (auto [offset, rounded] : {std::pair(0.0f, false), {3.0f, true}, {-20.0f, false}}) {
        Rng rng(29);
        Graph graph;
        Coded w = coded_weight(rng, DType::kS8, 48, 96, sparse);
        WeightData data = w.weight.load();
        data.scales = Tensor(DType::kF32, {1});
        data.scales.mutable_data<float>()[0] = 1;
        w.weight.name = "w", w.weight.source = in_memory(data), w.weight.encoding.granularity = Encoding::Granularity::kTensor;
        ValueId x = graph.add_input("x", DType::kF32, {2, Dim::symbol("n"), 96});
        // What is rounded already is rounded anew.
        ValueId from = rounded ? testing::Quantizer{graph, 0.11f, 0, DType::kS8}(x) : x;
        std::vector<ValueId> codes = graph.node(graph.add_node(Op::dynamic_quantize, {from}, 3, {})).outputs;
        auto scalar = [&](const char* name, float v) { return testing::add_weight(graph, name, testing::tensor<float>({}, {v})); };
        ValueId product =
            graph.add(Op::linear, {graph.add(Op::dequantize, {codes[0], scalar("one", 1), codes[2]}), graph.add_weight(graph.weights.add(w.weight))});
        auto cast = [&](ValueId v, const char* to) {
          Attributes a;
          a.set("to", std::string(to));
          return graph.add(Op::cast, {v}, a);
        };
        ValueId scale = graph.add(Op::mul, {codes[1], scalar("scale", 0.0123f)});
        graph.add_output("y", graph.add(Op::mul, {cast(cast(product, "s32"), "f32"), scale}));
        infer_shapes(graph);
        Tensor values = testing::random_tensor(rng, {2, tokens, 96}, 3);
        for (float& v : values.mutable_data<float>()) v += offset;
        Session runtime(std::make_shared<const Graph>(graph));
        runtime.enable_profile(true);
        Tensor got = runtime.run({{"x", values}}).at("y"), want = testing::run(graph, {{"x", values}}, Executor::kReference).at("y");
        EXPECT_LE(relative_error(got, want), 1e-6) << tokens << " " << offset << sparse;
        for (auto& line : runtime.profile()) EXPECT_TRUE(line.op == "linear" || line.op == "mul" || (rounded && line.op == "dequantize")) << line.op;
        for (auto& line : runtime.plan()) EXPECT_TRUE(!cpu_features().avx2 || line.problem.find("s8") != std::string::npos) << line.problem;
      }
}

}  // namespace
}  // namespace lacuna
