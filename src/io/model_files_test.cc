#include <map>
#include <set>

#include "io/lacuna_directory.h"
#include "io/model.h"
#include "io/safetensors.h"
#include "io/testing.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

std::set<std::string> names_below(const fs::path& directory) {
  std::set<std::string> names;
  for (auto& file : model_files(directory)) names.insert(file.lexically_relative(directory).generic_string());
  return names;
}

TEST(ModelFiles, OfAHuggingFaceDirectoryAreWeightsConfigurationAndTokenizer) {
  TemporaryDirectory directory;
  std::map<std::string, std::string> ours = {
      {"config.json", "{}"},
      {"generation_config.json", "{ }"},
      {"model.safetensors.index.json", R"({"weight_map": {"a": "part one.safetensors", "b": "2.st", "c": "2.st"}})"},
      {"part one.safetensors", "12345"},
      {"2.st", "1234567"},
      {"tokenizer.json", "{}"},
      {"tokenizer_config.json", "{}"},
      {"modules.json", R"([{"path": "", "type": "Transformer"}, {"path": "1_Pooling", "type": "Pooling"}])"},
      {"1_Pooling/config.json", "{    }"}};
  int64_t bytes = 0;
  std::set<std::string> wanted;
  for (auto& [name, text] : ours) {
    put_file(directory / name, text);
    wanted.insert(name);
    bytes += int64_t(text.size());
  }
  for (const char* name : {"README.md", "pytorch_model.bin", "model.onnx", "test.txt", "old/model.safetensors", ".git/index", "1_Pooling/notes.txt"})
    put_file(directory / name, "not of the model");
  EXPECT_EQ(names_below(directory.path()), wanted);
  EXPECT_EQ(bytes_on_disk(directory.path()), bytes);
}

TEST(ModelFiles, OfALacunaDirectoryAreThoseThatItLists) {
  TemporaryDirectory directory;
  Graph graph;
  WeightId id = graph.weights.add({.name = "w", .shape = {2, 4}, .source = in_memory({.values = Tensor(DType::kF32, {2, 4})})});
  graph.add_output("y", graph.add(Op::relu, {graph.add_weight(id)}));
  save_lacuna({.kind = ModelKind::kHuggingFace, .path = directory.path(), .graph = std::make_shared<Graph>(graph)}, directory / "model", false);
  std::set<std::string> before = names_below(directory / "model");
  EXPECT_TRUE(before.contains("lacuna.json") && before.contains("model-00001.safetensors")) << before.size();
  put_file(directory / "model/notes.txt", "mine");
  EXPECT_EQ(names_below(directory / "model"), before);
}

TEST(ModelFiles, OfAGgufFileIsItAlone) {
  TemporaryDirectory directory;
  put_file(directory / "a.gguf", "GGUF of nothing");
  put_file(directory / "b.gguf", "another");
  EXPECT_EQ(model_files(directory / "a.gguf"), std::vector<fs::path>{directory / "a.gguf"});
  EXPECT_EQ(bytes_on_disk(directory / "a.gguf"), 15);
}

}  // namespace
}  // namespace lacuna
