// From a GGUF file to a Graph: its keys are put into the words of config.json, its tensors keep their names.
#include <nlohmann/json.hpp>

#include "base/cat.h"
#include "base/parallel.h"
#include "io/gguf.h"
#include "io/gguf_blocks.h"
#include "io/model.h"
#include "lacuna/error.h"
#include "models/family.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

class GgufSource : public WeightSource {
 public:
  GgufSource(std::shared_ptr<const GgufFile> file, GgufTensor tensor)
      : file_(std::move(file)), tensor_(std::move(tensor)), type_(*gguf_type(tensor_.type)) {}

  WeightData load() const override {
    Bytes bytes = file_->bytes_of(tensor_);
    if (!type_.decode) return {.values = Tensor(type_.encoding.values, tensor_.shape, bytes)};
    const Encoding& e = type_.encoding;
    int64_t rows = element_count(std::span(tensor_.shape).first(tensor_.shape.size() - 1)), cols = tensor_.shape.back();
    WeightData data{.values = Tensor(e.values, tensor_.shape, false), .scales = Tensor(e.scales, {rows, cols / e.group}, false)};
    if (e.has_minima) data.minima = Tensor(e.scales, {rows, cols / e.group}, false);
    int64_t blocks = cols / type_.elements, code_bytes = type_.elements * bits_of(e.values) / 8,
            scale_bytes = type_.elements / e.group * bits_of(e.scales) / 8;
    BlockOut out{data.values.mutable_raw(), data.scales.mutable_raw(), e.has_minima ? data.minima.mutable_raw() : nullptr};
    parallel_for(rows, [&](int64_t r) {
      for (int64_t i = r * blocks; i < (r + 1) * blocks; i++) {
        type_.decode(bytes.data + i * type_.bytes,
                     {out.codes + i * code_bytes, out.scales + i * scale_bytes, out.minima ? out.minima + i * scale_bytes : nullptr});
      }
    });
    return data;
  }
  int64_t stored_bytes() const override { return int64_t(tensor_.size_bytes); }
  void drop() const override { drop_pages(file_->bytes_of(tensor_)); }

 private:
  std::shared_ptr<const GgufFile> file_;
  GgufTensor tensor_;
  const GgufType& type_;
};

struct Renaming {
  std::string_view from, to;
};
constexpr Renaming kOutside[] = {{"model.embed_tokens.", "token_embd."}, {"model.norm.", "output_norm."}, {"lm_head.", "output."}};
constexpr Renaming kInLayer[] = {{"self_attn.q_proj.", "attn_q."},      {"self_attn.k_proj.", "attn_k."},
                                 {"self_attn.v_proj.", "attn_v."},      {"self_attn.o_proj.", "attn_output."},
                                 {"self_attn.q_norm.", "attn_q_norm."}, {"self_attn.k_norm.", "attn_k_norm."},
                                 {"input_layernorm.", "attn_norm."},    {"post_attention_layernorm.", "ffn_norm."},
                                 {"mlp.gate_proj.", "ffn_gate."},       {"mlp.up_proj.", "ffn_up."},
                                 {"mlp.down_proj.", "ffn_down."}};

// "model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight"
std::string gguf_name(std::string_view name) {
  for (auto& r : kOutside)
    if (name.starts_with(r.from)) return cat(r.to, name.substr(r.from.size()));
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return std::string(name);
  name.remove_prefix(kLayers.size());
  size_t dot = std::min(name.find('.'), name.size() - 1);
  std::string_view number = name.substr(0, dot), rest = name.substr(dot + 1);
  for (auto& r : kInLayer)
    if (rest.starts_with(r.from)) return cat("blk.", number, ".", r.to, rest.substr(r.from.size()));
  return std::string(name);
}

struct Architecture {
  std::string_view name, model_type, class_name;
  bool interleaved;  // rotates neighbours: llama.cpp permuted the rows of q and k for it
};
constexpr Architecture kArchitectures[] = {
    {"llama", "llama", "LlamaForCausalLM", true}, {"qwen2", "qwen2", "Qwen2ForCausalLM", false}, {"qwen3", "qwen3", "Qwen3ForCausalLM", false}};

const Architecture& architecture_of(const GgufFile& file) {
  std::string name = file.text("general.architecture").value_or("");
  std::vector<std::string> known;
  for (auto& a : kArchitectures) {
    if (a.name == name) return a;
    known.emplace_back(a.name);
  }
  throw Unsupported(cat(file.name(), ": general.architecture is '", name, "', known are ", join(known)));
}

nlohmann::json rope_scaling(const GgufFile& file, const std::string& prefix) {
  std::string type = file.text(prefix + "rope.scaling.type").value_or("none");
  auto factor = file.number(prefix + "rope.scaling.factor");
  if (!factor) factor = file.number(prefix + "rope.scale_linear");
  if (type == "none" && factor.value_or(1) != 1) type = "linear";
  if (type == "none") return nullptr;
  if (type != "linear" && type != "yarn")
    throw Unsupported(cat(file.name(), ": ", prefix, "rope.scaling.type is '", type, "', known are none, linear, yarn"));
  nlohmann::json out = {{"rope_type", type}, {"factor", factor.value_or(1)}};
  if (auto original = file.integer(prefix + "rope.scaling.original_context_length")) out["original_max_position_embeddings"] = *original;
  return out;
}

// The keys of the architecture in the words of config.json.
std::string config_of(const GgufFile& file, const Architecture& architecture) {
  std::string prefix = cat(architecture.name, ".");
  auto needed = [&](const char* key) {
    auto value = file.integer(prefix + key);
    if (!value) throw InvalidData(cat(file.name(), ": has no key '", prefix, key, "'"));
    return *value;
  };
  if (file.integer(prefix + "expert_count").value_or(0) > 0)
    throw Unsupported(cat(file.name(), ": is a mixture of experts, which is not read from GGUF"));
  const GgufTensor* table = file.find("token_embd.weight");
  if (!table || table->shape.size() != 2) throw InvalidData(cat(file.name(), ": has no matrix 'token_embd.weight'"));
  int64_t width = needed("embedding_length"), heads = needed("attention.head_count");
  if (heads < 1) throw InvalidData(cat(file.name(), ": ", prefix, "attention.head_count is ", heads));
  nlohmann::json config = {{"model_type", architecture.model_type},
                           {"architectures", {architecture.class_name}},
                           {"vocab_size", table->shape[0]},
                           {"hidden_size", width},
                           {"intermediate_size", needed("feed_forward_length")},
                           {"num_hidden_layers", needed("block_count")},
                           {"num_attention_heads", heads},
                           {"num_key_value_heads", file.integer(prefix + "attention.head_count_kv").value_or(heads)},
                           {"head_dim", file.integer(prefix + "attention.key_length").value_or(width / heads)},
                           {"max_position_embeddings", needed("context_length")},
                           {"rms_norm_eps", file.number(prefix + "attention.layer_norm_rms_epsilon").value_or(1e-5)},
                           {"rope_theta", file.number(prefix + "rope.freq_base").value_or(10000)},
                           {"rope_scaling", rope_scaling(file, prefix)},
                           {"tie_word_embeddings", file.find("output.weight") == nullptr},
                           {"attention_bias", file.find("blk.0.attn_q.bias") != nullptr}};
  int64_t rotary = file.integer(prefix + "rope.dimension_count").value_or(config["head_dim"].get<int64_t>());
  if (rotary != config["head_dim"])
    throw Unsupported(
        cat(file.name(), ": ", prefix, "rope.dimension_count is ", rotary, ", the size of a head, ", config["head_dim"].dump(), ", wanted"));
  for (auto [key, name] : {std::pair("tokenizer.ggml.bos_token_id", "bos_token_id"),
                           {"tokenizer.ggml.eos_token_id", "eos_token_id"},
                           {"tokenizer.ggml.padding_token_id", "pad_token_id"}})
    if (auto id = file.integer(key)) config[name] = *id;
  return config.dump();
}

}  // namespace

Weight gguf_weight(std::shared_ptr<const GgufFile> file, const GgufTensor& tensor) {
  return {.name = tensor.name,
          .shape = tensor.shape,
          .encoding = gguf_type(tensor.type)->encoding,
          .source = std::make_shared<GgufSource>(std::move(file), tensor)};
}

std::shared_ptr<Graph> read_gguf(const fs::path& path) {
  auto file = GgufFile::open(path);
  const Architecture& architecture = architecture_of(*file);
  Checkpoint checkpoint{
      .config = Config::parse(config_of(*file, architecture), path.string()), .rename = gguf_name, .interleaved_rope = architecture.interleaved};
  for (auto& tensor : file->tensors()) {
    if (tensor.name == "rope_freqs.weight") {
      if (tensor.type != kGgufF32) throw InvalidData(cat(path, ": rope_freqs.weight is not f32"));
      checkpoint.rope_factors = gguf_weight(file, tensor).load().values.reshaped({element_count(tensor.shape)});
      continue;
    }
    if (gguf_type(tensor.type)->decode && tensor.shape.size() != 2)
      throw Unsupported(cat(path, ": tensor '", tensor.name, "' is ", gguf_type(tensor.type)->name, " ", to_string(tensor.shape),
                            "; block encodings are read for matrices"));
    checkpoint.tensors.push_back(gguf_weight(file, tensor));
  }
  auto graph = build_model(std::move(checkpoint));
  if (auto chat = file->text("tokenizer.chat_template")) graph->metadata["chat_template"] = *chat;
  return graph;
}

GgufTokenizer gguf_tokenizer(const fs::path& path) {
  auto file = GgufFile::open(fs::is_directory(path) ? path / kGgufHeaderFile : path);
  GgufTokenizer out{.model = file->text("tokenizer.ggml.model").value_or(""),
                    .pre = file->text("tokenizer.ggml.pre").value_or(""),
                    .tokens = file->texts("tokenizer.ggml.tokens"),
                    .merges = file->texts("tokenizer.ggml.merges")};
  if (out.tokens.empty()) throw NotFound(cat(path, ": carries no tokenizer (no key tokenizer.ggml.tokens)"));
  for (double score : file->numbers("tokenizer.ggml.scores")) out.scores.push_back(float(score));
  for (int64_t type : file->integers("tokenizer.ggml.token_type")) out.types.push_back(int32_t(type));
  int64_t count = int64_t(out.tokens.size());
  for (auto* list : {&out.scores})
    if (!list->empty() && int64_t(list->size()) != count) throw InvalidData(cat(path, ": has ", list->size(), " token scores, ", count, " wanted"));
  if (!out.types.empty() && int64_t(out.types.size()) != count)
    throw InvalidData(cat(path, ": has ", out.types.size(), " token types, ", count, " wanted"));
  auto id = [&](const char* key) {
    int64_t value = file->integer(key).value_or(-1);
    if (value < -1 || value >= count) throw InvalidData(cat(path, ": ", key, " is ", value, ", there are ", count, " tokens"));
    return int32_t(value);
  };
  out.bos = id("tokenizer.ggml.bos_token_id");
  out.eos = id("tokenizer.ggml.eos_token_id");
  out.unk = id("tokenizer.ggml.unknown_token_id");
  // Sentencepiece models start texts with a token of their own unless they say otherwise.
  out.add_bos = file->flag("tokenizer.ggml.add_bos_token").value_or(out.model == "llama");
  out.add_eos = file->flag("tokenizer.ggml.add_eos_token").value_or(false);
  out.add_space_prefix = file->flag("tokenizer.ggml.add_space_prefix").value_or(true);
  out.chat_template = file->text("tokenizer.chat_template").value_or("");
  return out;
}

}  // namespace lacuna
