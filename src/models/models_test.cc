#include <gtest/gtest.h>

#include "base/cat.h"
#include "graph/infer.h"
#include "lacuna/error.h"
#include "models/builder.h"

namespace lacuna {
namespace {

Weight tensor(std::string name, Shape shape) {
  Weight weight{.name = std::move(name), .shape = shape};
  weight.source = in_memory({.values = Tensor(DType::kF32, shape)});
  return weight;
}

constexpr const char* kLlama = R"("model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 10000.0, "max_position_embeddings": 64)";

std::vector<Weight> llama_tensors(int64_t head_dim = 2) {
  std::vector<Weight> out = {tensor("model.embed_tokens.weight", {10, 8}), tensor("model.norm.weight", {8}), tensor("lm_head.weight", {10, 8})};
  for (int i = 0; i < 2; i++) {
    std::string layer = cat("model.layers.", i, ".");
    out.push_back(tensor(layer + "self_attn.q_proj.weight", {4 * head_dim, 8}));
    out.push_back(tensor(layer + "self_attn.k_proj.weight", {2 * head_dim, 8}));
    out.push_back(tensor(layer + "self_attn.v_proj.weight", {2 * head_dim, 8}));
    out.push_back(tensor(layer + "self_attn.o_proj.weight", {8, 4 * head_dim}));
    out.push_back(tensor(layer + "mlp.gate_proj.weight", {12, 8}));
    out.push_back(tensor(layer + "mlp.up_proj.weight", {12, 8}));
    out.push_back(tensor(layer + "mlp.down_proj.weight", {8, 12}));
    out.push_back(tensor(layer + "input_layernorm.weight", {8}));
    out.push_back(tensor(layer + "post_attention_layernorm.weight", {8}));
  }
  return out;
}

std::shared_ptr<Graph> build(const std::string& members, std::vector<Weight> tensors) {
  return build_model({.config = Config::parse(cat("{", members, "}"), "config.json"), .tensors = std::move(tensors)});
}

template <class Expected>
std::string message_of(const std::string& members, std::vector<Weight> tensors) {
  try {
    build(members, std::move(tensors));
  } catch (const Expected& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing of the expected type was thrown";
  return {};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

std::vector<int64_t> windows(const Graph& graph) {
  std::vector<int64_t> out;
  for (auto& node : graph.nodes())
    if (node.op == Op::attention) out.push_back(node.attributes.integer("window", 0));
  return out;
}

TEST(Llama, HasTheInputsOutputsStatesAndBlocksThatOthersRelyOn) {
  auto graph = build(cat(kLlama, R"(, "eos_token_id": [2, 3], "bos_token_id": 1)"), llama_tensors());
  ASSERT_EQ(graph->inputs().size(), 2u);
  EXPECT_EQ(graph->value(graph->inputs()[0]).name, "input_ids");
  EXPECT_EQ(graph->value(graph->inputs()[1]).name, "attention_mask");
  EXPECT_TRUE(graph->metadata.contains("optional:attention_mask"));
  ASSERT_EQ(graph->outputs().size(), 1u);
  EXPECT_EQ(graph->outputs()[0].name, "logits");
  EXPECT_EQ(to_string(*graph->value(graph->outputs()[0].value).shape), "[batch, tokens, 10]");
  ASSERT_EQ(graph->states().size(), 4u);
  EXPECT_EQ(graph->value(graph->states()[3]).name, "layers.1.v");
  EXPECT_EQ(to_string(*graph->value(graph->states()[3]).shape), "[batch, 2, capacity, 2]");
  EXPECT_EQ(graph->metadata.at("eos_token_ids"), "[2, 3]");
  EXPECT_EQ(graph->metadata.at("bos_token_ids"), "[1]");
  EXPECT_EQ(graph->metadata.at("max_tokens"), "64");
  for (auto& node : graph->nodes())
    if (node.name == "model.layers.1.mlp.up_proj") {
      EXPECT_EQ(node.block, "layers.1.mlp");
      EXPECT_EQ(graph->weight_of(node.inputs[1])->name, "model.layers.1.mlp.up_proj.weight");
    }
}

TEST(Llama, TiedEmbeddingsAreOneWeight) {
  auto tensors = llama_tensors();
  std::erase_if(tensors, [](auto& t) { return t.name == "lm_head.weight"; });
  auto graph = build(cat(kLlama, R"(, "tie_word_embeddings": true)"), tensors);
  EXPECT_EQ(graph->weights.find("lm_head.weight"), -1);
  // A checkpoint may carry the copy all the same.
  EXPECT_EQ(build(cat(kLlama, R"(, "tie_word_embeddings": true)"), llama_tensors())->weights.size(), graph->weights.size());
}

TEST(Llama, ListsEveryTensorThatDoesNotFitInOneError) {
  auto tensors = llama_tensors();
  tensors[0].name = "model.embedding.weight";
  tensors[3].shape = {7, 8};
  std::string message = message_of<InvalidData>(kLlama, tensors);
  EXPECT_TRUE(contains(message, "missing: 'model.embed_tokens.weight' [10, 8]")) << message;
  EXPECT_TRUE(contains(message, "of another shape: 'model.layers.0.self_attn.q_proj.weight' is [7, 8], [8, 8] wanted")) << message;
  EXPECT_TRUE(contains(message, "not part of this model: 'model.embedding.weight'")) << message;
}

TEST(Llama, RefusesByNameWhatItDoesNotKnow) {
  EXPECT_TRUE(contains(message_of<Unsupported>(cat(kLlama, R"(, "hidden_act": "zigzag")"), llama_tensors()), "'zigzag', known are silu"));
  EXPECT_TRUE(contains(message_of<Unsupported>(cat(kLlama, R"(, "quantization_config": {"quant_method": "awq"})"), llama_tensors()), "awq"));
  EXPECT_TRUE(contains(message_of<Unsupported>(cat(kLlama, R"(, "architectures": ["LlamaForSequenceClassification"])"), llama_tensors()),
                       "LlamaForSequenceClassification"));
  EXPECT_TRUE(contains(message_of<Unsupported>(R"("model_type": "mamba")", {}), "model_type is 'mamba', known are llama, mistral"));
}

TEST(Llama, ALyingConfigurationIsCaught) {
  auto changed = [](const char* from, const char* to) {
    std::string text = kLlama;
    text.replace(text.find(from), std::string_view(from).size(), to);
    return message_of<InvalidData>(text, llama_tensors());
  };
  EXPECT_TRUE(contains(changed(R"("num_hidden_layers": 2)", R"("num_hidden_layers": 2000000000)"), "the checkpoint has only 21 tensors"));
  EXPECT_TRUE(contains(changed(R"("hidden_size": 8)", R"("hidden_size": -8)"), "'hidden_size' is -8"));
  EXPECT_TRUE(contains(changed(R"("hidden_size": 8)", R"("hidden_size": 1e300)"), "'hidden_size' is 1e+300"));
  EXPECT_TRUE(contains(changed(R"("hidden_size": 8)", R"("hidden_size": "8")"), "'hidden_size' is \"8\""));
  EXPECT_TRUE(contains(changed(R"("num_key_value_heads": 2)", R"("num_key_value_heads": 3)"), "does not divide"));
  EXPECT_TRUE(contains(changed(R"("vocab_size": 10, )", ""), "'vocab_size' is missing"));
}

TEST(Llama, WindowsFollowTheRulesOfEachFamily) {
  auto with = [](const char* type, const std::string& more) {
    std::string text = kLlama;
    text.replace(text.find("\"llama\""), 7, cat("\"", type, "\""));
    auto tensors = llama_tensors();
    if (std::string_view(type) == "qwen2")
      for (int i = 0; i < 2; i++)
        for (auto [p, n] : {std::pair("q", 8), {"k", 4}, {"v", 4}})
          tensors.push_back(tensor(cat("model.layers.", i, ".self_attn.", p, "_proj.bias"), {n}));
    return windows(*build(text + more, tensors));
  };
  using W = std::vector<int64_t>;
  EXPECT_EQ(with("mistral", R"(, "sliding_window": 16)"), (W{16, 16}));
  EXPECT_EQ(with("mistral", R"(, "sliding_window": null)"), (W{0, 0}));
  EXPECT_EQ(with("mistral", ""), (W{4096, 4096}));
  EXPECT_EQ(with("qwen2", R"(, "sliding_window": 16)"), (W{0, 0}));
  EXPECT_EQ(with("qwen2", R"(, "sliding_window": 16, "use_sliding_window": true, "max_window_layers": 1)"), (W{0, 16}));
  EXPECT_EQ(with("qwen2", R"(, "sliding_window": 16, "use_sliding_window": true, "layer_types": ["sliding_attention", "full_attention"])"),
            (W{16, 0}));
  EXPECT_EQ(with("llama", R"(, "sliding_window": null)"), (W{0, 0}));
}

TEST(Config, NamesFileKeyFoundAndWanted) {
  Config config = Config::parse(R"({"a": 1.5, "b": "x", "c": [1, "y"], "d": null})", "dir/config.json");
  auto message = [&](auto&& body) -> std::string {
    try {
      body();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message([&] { config.integer("a"); }), "dir/config.json: 'a' is 1.5, an integer from 1 to 2147483648 wanted");
  EXPECT_EQ(message([&] { config.number("b"); }), "dir/config.json: 'b' is \"x\", a number wanted");
  EXPECT_EQ(message([&] { config.integers("c"); }), "dir/config.json: 'c' is [1,\"y\"], an array of integers wanted");
  EXPECT_EQ(message([&] { config.text("d"); }), "dir/config.json: 'd' is missing");
  EXPECT_EQ(config.integer("d", 7), 7);
  EXPECT_THROW(Config::parse(std::string(100000, '['), "x"), InvalidData);
  EXPECT_THROW(Config::parse("[]", "x"), InvalidData);
}

}  // namespace
}  // namespace lacuna
