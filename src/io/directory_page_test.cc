// docs/formats/directory.md and the code cannot disagree: its example is written here and compared byte for byte.
#include <cstring>

#include "base/cat.h"
#include "graph/infer.h"
#include "io/lacuna_directory.h"
#include "io/testing.h"

namespace lacuna {
namespace {

// The fenced block that opens with "```json NAME".
std::string example(const std::string& name) {
  std::string page = get_file(LACUNA_SOURCE_DIR "/docs/formats/directory.md"), opening = cat("```json ", name, "\n");
  size_t begin = page.find(opening);
  if (begin == page.npos) return cat("no example ", name);
  begin += opening.size();
  return page.substr(begin, page.find("```", begin) - begin);
}

TEST(DirectoryPage, ItsExampleIsWhatTheCodeWrites) {
  Graph graph;
  graph.family = "example";
  Mask mask(3, 8, false);
  Tensor matrix(DType::kF32, {3, 8});
  auto keep = [&](int64_t row, int64_t col, float value) {
    mask.set(row, col, true);
    matrix.mutable_data<float>()[size_t(row * 8 + col)] = value;
  };
  keep(0, 0, 5), keep(0, 3, 3), keep(2, 1, 1), keep(2, 2, -2), keep(2, 7, 1);
  Tensor bias = Tensor::of<float>({3}, std::vector<float>{0.5f, 0, -1});
  WeightId w = graph.weights.add({.name = "head.weight",
                                  .shape = {3, 8},
                                  .layout = MatrixLayout::kOutIn,
                                  .pattern = "unstructured",
                                  .source = in_memory({.values = matrix, .mask = mask})});
  WeightId b = graph.weights.add({.name = "head.bias", .shape = {3}, .source = in_memory({.values = bias})});
  ValueId x = graph.add_input("x", DType::kF32, {Dim::symbol("batch"), Dim(8)});
  graph.add_output("y", graph.add(Op::linear, {x, graph.add_weight(w), graph.add_weight(b)}, {}, "head", "head"));
  infer_shapes(graph);
  TemporaryDirectory directory;
  LacunaWriter writer(directory / "out", graph, ModelKind::kOnnx);
  writer.add_rest();
  writer.finish();

  EXPECT_EQ(get_file(directory / "out/lacuna.json"), example("lacuna.json"));
  EXPECT_EQ(get_file(directory / "out/model.safetensors.index.json"), example("model.safetensors.index.json"));
  std::string shard = get_file(directory / "out/model-00001.safetensors"), wanted = example("model-00001.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, shard.data(), sizeof length);
  std::string header = shard.substr(8, length);
  header.erase(header.find_last_not_of(' ') + 1);
  EXPECT_EQ(header + "\n", wanted);
}

}  // namespace
}  // namespace lacuna
