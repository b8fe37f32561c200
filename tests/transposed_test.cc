// Transposed convolutions from prune to run: their zeros are kept, stored sparse, skipped and given back to ONNX.
#include <random>

#include "graph/infer.h"
#include "io/model.h"
#include "io/npy.h"
#include "program.h"

namespace lacuna::test {
namespace {

using Integers = std::vector<int64_t>;

Tensor random_tensor(const Shape& shape, unsigned seed) {
  Tensor out(DType::kF32, shape);
  std::mt19937 random{seed};
  std::normal_distribution<float> normal;
  for (float& value : out.mutable_data<float>()) value = normal(random);
  return out;
}

ValueId weight(Graph& graph, const std::string& name, const Shape& shape) {
  Tensor values = random_tensor(shape, unsigned(name.size() + size_t(shape[0])));
  return graph.add_weight(
      graph.weights.add({.name = name, .shape = shape, .encoding = {.values = DType::kF32}, .source = in_memory({.values = values})}));
}

// A decoder: kernels as wide as the stride, wider, and in groups.
void write_decoder(const std::string& path) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {Dim(2), Dim(32), Dim(9), Dim(7)});
  auto up = [&](ValueId v, const std::string& name, const Shape& shape, Attributes attributes) {
    return graph.add(Op::conv_transpose, {v, weight(graph, name, shape), weight(graph, name + "_bias", {shape[1]})}, attributes, name + "_node");
  };
  Attributes twice, wide, grouped;
  twice.set("strides", Integers{2, 2});
  wide.set("strides", Integers{2, 2}), wide.set("pads", Integers{1, 1, 1, 1});
  grouped.set("groups", int64_t(4));
  x = graph.add(Op::relu, {up(x, "twice", {32, 24, 2, 2}, twice)});
  x = graph.add(Op::relu, {up(x, "wide", {24, 16, 4, 4}, wide)});
  Shape in_groups = {16, 4, 3, 3};
  ValueId filters = weight(graph, "grouped", in_groups);
  graph.add_output("y", graph.add(Op::conv_transpose, {x, filters}, grouped, "grouped_node"));
  infer_shapes(graph);
  write_onnx(graph, path);
}

TEST_F(Program, TransposedConvolutionsArePrunedAndRunSparse) {
  write_decoder(at("decoder.onnx"));
  Result pruned = lacuna("prune " + at("decoder.onnx") + " -o " + at("small") + " --sparsity 0.9 --json");
  ASSERT_EQ(pruned.status, 0) << pruned.err;
  EXPECT_EQ(lacuna("verify " + at("decoder.onnx") + " " + at("small")).status, 0);
  auto inspected = lacuna("inspect " + at("small") + " --weights --json").json();
  for (auto& w : inspected["weights"]) {
    std::string name = w["name"];
    bool of_many = name == "twice" || name == "wide";
    EXPECT_EQ(w["prunable"].get<bool>(), of_many) << w;
    if (of_many) {
      EXPECT_NEAR(w["sparsity"].get<double>(), 0.9, 0.01) << w;
    }
    if (name == "grouped") {
      EXPECT_EQ(w["not_prunable_because"], "transposed convolution in groups");
    }
  }

  ASSERT_EQ(lacuna("convert " + at("small") + " -o " + at("out.onnx")).status, 0);
  Result same = lacuna("verify " + at("small") + " " + at("out.onnx") + " --json");
  ASSERT_EQ(same.status, 0) << same.out << same.err;
  EXPECT_LT(same.json()["relative_output_difference"].get<double>(), 1e-5);

  write_npy(at("x.npy"), random_tensor({2, 32, 9, 7}, 3));
  for (std::string executor : {"reference", "runtime"})
    ASSERT_EQ(lacuna("run " + at("small") + " --inputs x=" + at("x.npy") + " --outputs " + at(executor) + " --executor " + executor).status, 0);
  EXPECT_LT(relative_error(read_npy(at("runtime/y.npy")), read_npy(at("reference/y.npy"))), 1e-5);

  setenv("LACUNA_TRACE", "dispatch", 1);
  Result traced = lacuna("run " + at("small") + " --inputs x=" + at("x.npy") + " --outputs " + at("traced"));
  unsetenv("LACUNA_TRACE");
  for (std::string name : {"twice", "wide"})
    EXPECT_NE(traced.err.find("dispatch: " + name + "_node: conv f32 unstructured"), std::string::npos) << traced.err;

  const char* python = std::getenv("LACUNA_TEST_PYTHON");
  if (!python || std::system((std::string(python) + " -c 'import onnxruntime, numpy' 2>/dev/null").c_str()) != 0) return;
  std::filesystem::create_directories(at("theirs"));
  std::string command =
      std::string(python) + " " LACUNA_SOURCE_DIR "/tests/onnxruntime_outputs.py " + at("out.onnx") + " x=" + at("x.npy") + " " + at("theirs");
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  EXPECT_LT(relative_error(read_npy(at("runtime/y.npy")), read_npy(at("theirs/y.npy"))), 1e-5);
}

// One filter bank up and down again: the convolution's layout stays.
TEST_F(Program, AWeightMayBeOfAConvolutionAndATransposedOne) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {Dim(1), Dim(16), Dim(6), Dim(5)}), filters = weight(graph, "shared", {16, 8, 3, 3});
  graph.add_output("y", graph.add(Op::conv, {graph.add(Op::conv_transpose, {x, filters}), filters}));
  infer_shapes(graph);
  write_onnx(graph, at("shared.onnx"));
  ASSERT_EQ(lacuna("prune " + at("shared.onnx") + " -o " + at("small") + " --sparsity 0.5").status, 0);
  EXPECT_EQ(lacuna("verify " + at("shared.onnx") + " " + at("small")).status, 0);
  write_npy(at("x.npy"), random_tensor({1, 16, 6, 5}, 3));
  for (std::string executor : {"reference", "runtime"})
    ASSERT_EQ(lacuna("run " + at("small") + " --inputs x=" + at("x.npy") + " --outputs " + at(executor) + " --executor " + executor).status, 0);
  EXPECT_LT(relative_error(read_npy(at("runtime/y.npy")), read_npy(at("reference/y.npy"))), 1e-5);
}

TEST_F(Program, TransposedConvolutionsAreNotQuantized) {
  write_decoder(at("decoder.onnx"));
  Result included = lacuna("quantize " + at("decoder.onnx") + " -o " + at("small") + " --weights int8 --include twice");
  EXPECT_NE(included.status, 0);
  EXPECT_NE(included.err.find("stays in floats"), std::string::npos) << included.err;
  Result r = lacuna("quantize " + at("decoder.onnx") + " -o " + at("small") + " --weights int8 --targets twice");
  EXPECT_NE(r.status, 0);
  EXPECT_NE(r.err.find("transposed convolution"), std::string::npos) << r.err;
}

}  // namespace
}  // namespace lacuna::test
