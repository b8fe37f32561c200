#include <gtest/gtest.h>

#include <map>

#include "io/model.h"
#include "io/onnx/interface.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

std::map<std::string, int> op_counts(const Graph& graph) {
  std::map<std::string, int> counts;
  for (auto& node : graph.nodes()) counts[std::string(name_of(node.op))]++;
  return counts;
}

class Cifar : public testing::TestWithParam<const char*> {};

TEST_P(Cifar, ResNetImportsWithNamedConvolutionsAndASymbolicBatch) {
  std::filesystem::path path = std::filesystem::path(LACUNA_SOURCE_DIR "/../shared/data/cifar10") / GetParam();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  auto graph = read_onnx(path);
  verify(*graph);
  ASSERT_EQ(graph->inputs().size(), 1u);
  EXPECT_EQ(to_string(*graph->value(graph->inputs()[0]).shape), "[batch, 3, 32, 32]");
  ASSERT_EQ(graph->outputs().size(), 1u);
  EXPECT_EQ(graph->outputs()[0].name, "logits");
  EXPECT_EQ(to_string(*graph->value(graph->outputs()[0].value).shape), "[batch, 10]");
  auto counts = op_counts(*graph);
  EXPECT_EQ(counts["linear"], 1);
  EXPECT_EQ(counts["conv"] % 18, 1);
  for (auto& node : graph->nodes())
    if (node.op == Op::conv) {
      EXPECT_EQ(graph->weight_of(node.inputs[1])->layout, MatrixLayout::kConv);
    }
  EXPECT_EQ(graph->weights[graph->weights.find("linear.weight")].layout, MatrixLayout::kOutIn);
}

INSTANTIATE_TEST_SUITE_P(Models, Cifar, testing::Values("resnet20.onnx", "resnet20-bn.onnx", "resnet56.onnx", "resnet56-bn.onnx"));

TEST(BlockPath, IsTheFirstNumberedComponentOrTheFirstOfSeveral) {
  EXPECT_EQ(onnx::block_path("/layer1/layer1.0/conv1/Conv"), "layer1.0");
  EXPECT_EQ(onnx::block_path("/conv1/Conv"), "conv1");
  EXPECT_EQ(onnx::block_path("/Relu"), "");
  EXPECT_EQ(onnx::block_path("Conv_12"), "");
}

}  // namespace
}  // namespace lacuna
