#include <cstring>

#include "base/cat.h"
#include "io/lacuna_directory.h"
#include "io/model.h"
#include "io/npy.h"
#include "io/source.h"
#include "io/testing.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
const fs::path kFixtures = LACUNA_SOURCE_DIR "/tests/fixtures/models";

// The tensors of a directory in two shards with an index.
void write_sharded(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  fs::copy_file(from / "config.json", to / "config.json");
  auto weights = read_safetensors_directory(from);
  std::string map;
  for (size_t shard = 0; shard < 2; shard++) {
    std::string file = cat("model-", shard, ".safetensors");
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (size_t i = shard; i < weights.size(); i += 2) declarations.push_back({weights[i].name, weights[i].encoding.values, weights[i].shape});
    SafetensorsWriter writer(to / file, declarations);
    for (size_t i = shard; i < weights.size(); i += 2) {
      writer.write(weights[i].name, weights[i].load().values.bytes().span());
      map += cat(map.empty() ? "" : ",", "\"", weights[i].name, "\":\"", file, "\"");
    }
    writer.commit();
  }
  put_file(to / "model.safetensors.index.json", cat("{\"metadata\":{},\"weight_map\":{", map, "}}"));
}

void expect_same_weights(const Graph& a, const Graph& b) {
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (auto& w : a.weights) {
    const Weight& other = b.weights[b.weights.find(w.name)];
    EXPECT_EQ(other.shape, w.shape);
    Tensor x = dense_values(w, w.load()), y = dense_values(other, other.load());
    EXPECT_EQ(x.dtype(), y.dtype());
    EXPECT_EQ(std::memcmp(x.raw(), y.raw(), x.size_bytes()), 0) << w.name;
  }
}

TEST(HuggingFace, ReadsShards) {
  TemporaryDirectory dir;
  write_sharded(kFixtures / "llama", dir / "m");
  EXPECT_EQ(detect_model(dir / "m"), ModelKind::kHuggingFace);
  expect_same_weights(*read_huggingface(kFixtures / "llama"), *read_huggingface(dir / "m"));
}

TEST(HuggingFace, ListsTensorsThatNoShardHolds) {
  TemporaryDirectory dir;
  write_sharded(kFixtures / "llama", dir / "m");
  std::string index = get_file(dir / "m/model.safetensors.index.json");
  put_file(dir / "m/model.safetensors.index.json",
           std::string(index).insert(index.find("\"weight_map\":{") + 14, R"("ghost.weight":"model-0.safetensors","spirit":"model-1.safetensors",)"));
  EXPECT_TRUE(contains(message_of<InvalidData>([&] { read_huggingface(dir / "m"); }),
                       "'ghost.weight' (model-0.safetensors), 'spirit' (model-1.safetensors)"));
  put_file(dir / "m/model.safetensors.index.json", std::string(index).insert(index.find("\"weight_map\":{") + 14, R"("ghost":"../../etc/passwd",)"));
  EXPECT_TRUE(contains(message_of<InvalidData>([&] { read_huggingface(dir / "m"); }), "a name without folders wanted"));
}

TEST(HuggingFace, SaysHowToConvertPyTorchFiles) {
  TemporaryDirectory dir;
  put_file(dir / "config.json", R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"]})");
  put_file(dir / "pytorch_model.bin", "x");
  std::string message = message_of<Unsupported>([&] { read_huggingface(dir.path()); });
  EXPECT_TRUE(contains(message, "python -c \"from transformers import LlamaForCausalLM as M; M.from_pretrained('"));
  fs::remove(dir / "pytorch_model.bin");
  EXPECT_TRUE(contains(message_of<NotFound>([&] { read_huggingface(dir.path()); }),
                       "has neither model.safetensors nor model.safetensors.index.json; it holds config.json"));
}

TEST(HuggingFace, WritesBackWhatItRead) {
  TemporaryDirectory dir;
  auto graph = read_huggingface(kFixtures / "llama");
  write_huggingface(*graph, kFixtures / "llama", dir / "out");
  EXPECT_EQ(get_file(dir / "out/config.json"), get_file(kFixtures / "llama/config.json"));
  expect_same_weights(*graph, *read_huggingface(dir / "out"));
  EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { write_huggingface(*graph, kFixtures / "llama", dir / "out"); }), "exists already"));
}

TEST(HuggingFace, GoesThroughALacunaDirectoryUnchanged) {
  TemporaryDirectory dir;
  for (const char* name : {"llama", "sparse-bitmask"}) {
    fs::path from = kFixtures / name, saved = dir / (std::string(name) + "-lacuna"), out = dir / (std::string(name) + "-out");
    save_lacuna(load_model(from), saved, false);
    Model model = load_model(saved);
    write_huggingface(*model.graph, saved, out);
    expect_same_weights(*read_huggingface(from), *model.graph);
    expect_same_weights(*model.graph, *read_huggingface(out));
    EXPECT_FALSE(fs::exists(out / "lacuna.json"));
  }
}

TEST(CompressedTensors, BecomeMaskedWeightsThatAreStoredSmall) {
  TemporaryDirectory dir;
  for (auto [name, pattern] : {std::pair("sparse-bitmask", "unstructured"), {"sparse-24-bitmask", "2:4"}}) {
    auto graph = read_huggingface(kFixtures / name);
    const Weight& w = graph->weights[graph->weights.find("model.layers.1.mlp.up_proj.weight")];
    EXPECT_EQ(w.pattern, pattern);
    EXPECT_EQ(w.source->stored_format(), "bitmask");
    WeightData data = w.load();
    ASSERT_TRUE(data.mask);
    EXPECT_DOUBLE_EQ(data.mask->sparsity(), 0.5);
    save_lacuna(load_model(kFixtures / name), dir / name, false);
    auto saved = read_lacuna(dir / name).graph;
    const Weight& again = saved->weights[saved->weights.find(w.name)];
    EXPECT_EQ(again.load().mask, data.mask);
    EXPECT_EQ(again.source->stored_format(), "bitmask");  // as small as 2:4 with packed indices, and earlier in the list
    EXPECT_LT(again.source->stored_bytes(), w.size() * 2 * 6 / 10);
  }
}

TEST(CompressedTensors, NamesBrokenParts) {
  TemporaryDirectory dir;
  auto rewritten = [&](auto&& change) {
    fs::create_directories(dir / "m");
    fs::copy_file(kFixtures / "sparse-bitmask/config.json", dir / "m/config.json", fs::copy_options::overwrite_existing);
    auto weights = read_safetensors_directory(kFixtures / "sparse-bitmask");
    std::vector<SafetensorsWriter::Declaration> declarations;
    std::map<std::string, Tensor> tensors;
    for (auto& w : weights) tensors[w.name] = w.load().values.clone();
    change(tensors);
    for (auto& [name, t] : tensors) declarations.push_back({name, t.dtype(), t.shape()});
    SafetensorsWriter writer(dir / "m/model.safetensors", declarations);
    for (auto& [name, t] : tensors) writer.write(name, t.bytes().span());
    writer.commit();
    return message_of<InvalidData>([&] {
      auto graph = read_huggingface(dir / "m");
      for (auto& w : graph->weights) w.load();
    });
  };
  std::string name = "model.layers.0.mlp.up_proj";
  EXPECT_TRUE(contains(rewritten([&](auto& t) { t.erase(name + ".shape"); }), "has no shape"));
  EXPECT_TRUE(contains(rewritten([&](auto& t) { t[name + ".shape"].template mutable_data<int64_t>()[0] = -1; }), "states the shape [-1, 32]"));
  EXPECT_TRUE(contains(rewritten([&](auto& t) { t[name + ".shape"].template mutable_data<int64_t>()[1] = 64; }),
                       "has a bitmask of shape [64, 4], u8 [64, 8] wanted"));
  EXPECT_TRUE(contains(rewritten([&](auto& t) { t[name + ".bitmask"].template mutable_data<uint8_t>()[0] ^= 1; }), "values are stored"));
  EXPECT_TRUE(contains(rewritten([&](auto& t) { t[name + ".row_offsets"].template mutable_data<int64_t>()[3] += 1; }), "row 3 is stated to start"));
}

// A sentence-transformers directory around a DistilBERT of zeros.
void write_sentence_model(const fs::path& dir, const std::string& pooling, const std::string& modules) {
  std::vector<SafetensorsWriter::Declaration> tensors = {{"embeddings.word_embeddings.weight", DType::kF32, {5, 4}},
                                                         {"embeddings.position_embeddings.weight", DType::kF32, {6, 4}},
                                                         {"embeddings.LayerNorm.weight", DType::kF32, {4}},
                                                         {"embeddings.LayerNorm.bias", DType::kF32, {4}}};
  std::string layer = "transformer.layer.0.";
  for (const char* name : {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2"})
    tensors.push_back({layer + name + ".weight", DType::kF32, {4, 4}});
  for (const char* name :
       {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2", "sa_layer_norm", "output_layer_norm"})
    tensors.push_back({layer + name + ".bias", DType::kF32, {4}});
  for (const char* name : {"sa_layer_norm", "output_layer_norm"}) tensors.push_back({layer + name + ".weight", DType::kF32, {4}});
  fs::create_directories(dir);
  SafetensorsWriter writer(dir / "model.safetensors", tensors);
  for (auto& t : tensors) writer.write(t.name, Tensor(t.dtype, t.shape).bytes().span());
  writer.commit();
  put_file(
      dir / "config.json",
      R"({"model_type": "distilbert", "architectures": ["DistilBertModel"], "dim": 4, "hidden_dim": 4, "n_heads": 2, "n_layers": 1, "vocab_size": 5, "max_position_embeddings": 6})");
  put_file(dir / "1_Pooling/config.json", pooling);
  put_file(dir / "modules.json", modules);
}

constexpr const char* kModules = R"([{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}])";

TEST(SentenceTransformers, PoolingAndNormalisationFollowTheEncoder) {
  TemporaryDirectory dir;
  write_sentence_model(dir / "m", R"({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false})", kModules);
  auto graph = read_huggingface(dir / "m");
  ASSERT_EQ(graph->outputs().size(), 2u);
  EXPECT_EQ(graph->outputs()[0].name, "last_hidden_state");
  EXPECT_EQ(graph->outputs()[1].name, "sentence_embedding");
  EXPECT_EQ(to_string(*graph->value(graph->outputs()[1].value).shape), "[batch, 4]");
  EXPECT_EQ(graph->nodes().back().op, Op::l2_norm);
  EXPECT_EQ(graph->node(graph->value(graph->nodes().back().inputs[0]).producer).attributes.text("mode", ""), "mean");
  auto assets = model_assets(dir / "m");
  EXPECT_NE(std::find(assets.begin(), assets.end(), fs::path("1_Pooling/config.json")), assets.end());
}

TEST(SentenceTransformers, RefusesByNameWhatItDoesNotKnow) {
  TemporaryDirectory dir;
  write_sentence_model(dir / "m", R"({"pooling_mode_weightedmean_tokens": true})", kModules);
  EXPECT_TRUE(contains(message_of<Unsupported>([&] { read_huggingface(dir / "m"); }), "pooling_mode_weightedmean_tokens"));
  write_sentence_model(dir / "m", R"({"pooling_mode_mean_tokens": true})", R"([{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}])");
  EXPECT_TRUE(contains(message_of<Unsupported>([&] { read_huggingface(dir / "m"); }), "Dense"));
  write_sentence_model(dir / "m", R"({"pooling_mode_mean_tokens": true})", R"([{"path": "../x", "type": "a.Pooling"}])");
  EXPECT_TRUE(contains(message_of<InvalidData>([&] { read_huggingface(dir / "m"); }), "leads out of the directory"));
}

TEST(DetectModel, SaysWhatItFoundAndWhatIsRead) {
  TemporaryDirectory dir;
  EXPECT_TRUE(contains(message_of<NotFound>([&] { detect_model(dir / "none"); }), "does not exist"));
  put_file(dir / "notes.txt", "hello");
  EXPECT_TRUE(contains(message_of<Unsupported>([&] { detect_model(dir / "notes.txt"); }), "a model is a .onnx file"));
  EXPECT_TRUE(contains(message_of<Unsupported>([&] { detect_model(dir.path()); }), "it holds notes.txt"));
  put_file(dir / "x.gguf", "FUGG");
  EXPECT_TRUE(contains(message_of<InvalidData>([&] { detect_model(dir / "x.gguf"); }), "does not start with GGUF"));
  EXPECT_TRUE(contains(message_of<Unsupported>([&] { detect_model(kFixtures / "llama/model.safetensors"); }), "give the directory it is in"));
}

}  // namespace
}  // namespace lacuna
