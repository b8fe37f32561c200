// Files of very many names: time in proportion to them, not to their square. Each limit is some twenty times what it takes; looking names up one
// after the other takes minutes.
#include <ctime>

#include "base/cat.h"
#include "io/lacuna_directory.h"
#include "io/lacuna_record.h"
#include "io/onnx/importer.h"
#include "io/safetensors.h"
#include "io/testing.h"

namespace lacuna {
namespace {

// Of processor time: tests run beside others.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr double kLimitSeconds = 200;
#else
constexpr double kLimitSeconds = 20;
#endif

class ManyNames : public ::testing::Test {
 protected:
  ~ManyNames() override { EXPECT_LT(double(std::clock() - start_) / CLOCKS_PER_SEC, kLimitSeconds); }

 private:
  std::clock_t start_ = std::clock();
};

TEST_F(ManyNames, InASafetensorsHeader) {
  TemporaryDirectory dir;
  std::vector<SafetensorsWriter::Declaration> declarations;
  constexpr int kNames = 200'000;
  for (int i = 0; i < kNames; i++) declarations.push_back({cat("layers.", i, ".weight"), DType::kF32, {0}});
  SafetensorsWriter(dir / "many.safetensors", declarations, {{"format", "pt"}}).commit();
  SafetensorsFile file(dir / "many.safetensors");
  ASSERT_EQ(file.header().entries.size(), size_t(kNames));
  EXPECT_EQ(file.header().metadata.at("format"), "pt");
  EXPECT_NE(file.find("layers.77.weight"), nullptr);
}

TEST_F(ManyNames, InALacunaDirectory) {
  TemporaryDirectory dir;
  Graph graph;
  constexpr int kWeights = 40'000;
  for (int i = 0; i < kWeights; i++) {
    WeightData data{.values = Tensor(DType::kF32, {2})};
    WeightId id = graph.weights.add({.name = cat("layers.", i, ".bias"), .shape = {2}, .source = in_memory(data)});
    ValueId y = graph.add(Op::identity, {graph.add_weight(id)});
    if (i == 0) graph.add_output("y", y);
  }
  LacunaWriter writer(dir / "out", graph, ModelKind::kOnnx);
  writer.add_rest();
  for (WeightId id = 0; id < kWeights; id++) ASSERT_EQ(writer.stored(id).bytes, 8);
  writer.finish();
  EXPECT_EQ(read_lacuna(dir / "out").graph->weights.size(), kWeights);
}

TEST_F(ManyNames, InALacunaJsonThatListsFiles) {
  LacunaJson json{.source_kind = "onnx", .graph = "{}"};
  constexpr int kFiles = 200'000;
  for (int i = 0; i < kFiles; i++) json.files[cat("file", i)] = {1, "0"};
  EXPECT_EQ(lacuna_from_text(to_text(json), "lacuna.json").files.size(), size_t(kFiles));
}

TEST_F(ManyNames, AllTheSameInAnOnnxGraph) {
  Graph graph;
  onnx::GraphBuilder builder(graph);
  constexpr int kNodes = 30'000;
  for (int i = 0; i < kNodes; i++) {
    ValueId value = builder.add_constant("c", Tensor::of<float>({}, std::vector<float>{1}));
    builder.add_node(Op::identity, {value}, 1, {}, "n", "");
  }
  EXPECT_EQ(graph.weights.size(), kNodes);
  EXPECT_EQ(graph.weights[1].name, "c_2");
  EXPECT_EQ(graph.nodes().back().name, cat("n_", kNodes));
}

}  // namespace
}  // namespace lacuna
