// Llama and the families that differ from it by biases, head norms and windows: Mistral, Qwen2, Qwen3.
//   x += o_proj(attention(rope(q_proj(n)), rope(k_proj(n)), v_proj(n))),  n = input_layernorm(x)
//   x += down_proj(act(gate_proj(m)) * up_proj(m)),                      m = post_attention_layernorm(x)
// Source: transformers 5.x, models/{llama,mistral,qwen2,qwen3}/modeling_*.py.
#include <cmath>

#include "base/cat.h"
#include "lacuna/error.h"
#include "models/builder.h"

namespace lacuna {
namespace {

struct Shapes {
  int64_t vocab, width, inner, layers, heads, kv_heads, head_dim;
  double epsilon;
  bool qkv_bias = false, output_bias = false, mlp_bias = false, head_norms = false;
  std::string activation;
  std::vector<int64_t> windows;  // by layer, 0: none
  Rope rope;
};

// Which layers see only a window, as the configuration classes of transformers work it out.
std::vector<int64_t> read_windows(const Config& config, const std::string& type, int64_t layers) {
  std::vector<int64_t> windows(size_t(layers), 0);
  if (type == "llama") {
    config.require("sliding_window", "null");
    return windows;
  }
  bool mistral = type == "mistral";
  bool stated_none = !config.has("sliding_window") && [&] {
    for (auto& key : config.keys())
      if (key == "sliding_window") return true;
    return false;
  }();
  int64_t window = stated_none ? 0 : config.integer("sliding_window", 4096, 0);
  if (!mistral && !config.flag("use_sliding_window", false)) window = 0;
  auto types = config.texts("layer_types");
  if (mistral || types.empty()) {
    int64_t first = mistral ? 0 : config.integer("max_window_layers", 28, 0);
    for (int64_t i = first; i < layers; i++) windows[size_t(i)] = window;
    return windows;
  }
  if (int64_t(types.size()) != layers) throw InvalidData(cat(config.source(), ": layer_types has ", types.size(), " entries, ", layers, " wanted"));
  for (size_t i = 0; i < types.size(); i++) {
    if (types[i] != "full_attention" && types[i] != "sliding_attention") {
      throw Unsupported(cat(config.source(), ": layer_types names '", types[i], "', known are full_attention, sliding_attention"));
    }
    if (types[i] == "full_attention") continue;
    if (window == 0) throw InvalidData(cat(config.source(), ": layer_types names sliding_attention, but no sliding_window is in use"));
    windows[i] = window;
  }
  return windows;
}

Shapes read_shapes(const Builder& b) {
  const Config& c = b.config();
  std::string type = c.text("model_type");
  Shapes s{.vocab = c.integer("vocab_size"),
           .width = c.integer("hidden_size"),
           .inner = c.integer("intermediate_size"),
           .layers = b.layer_count("num_hidden_layers"),
           .heads = c.integer("num_attention_heads"),
           .kv_heads = 0,
           .head_dim = 0,
           .epsilon = c.number("rms_norm_eps", 1e-6)};
  s.kv_heads = c.integer("num_key_value_heads", s.heads);
  b.require_divides("num_attention_heads", s.heads, "num_key_value_heads", s.kv_heads);
  if (!c.has("head_dim") && type != "qwen3") b.require_divides("hidden_size", s.width, "num_attention_heads", s.heads);
  s.head_dim = c.integer("head_dim", type == "qwen3" ? 128 : s.width / s.heads, 1, 1 << 20);
  s.activation = c.text("hidden_act", "silu");
  bool bias = c.flag("attention_bias", false);
  if (type == "mistral") c.require("attention_bias", "false");
  s.qkv_bias = type == "qwen2" || bias;
  s.output_bias = type != "qwen2" && bias;
  if (type == "llama")
    s.mlp_bias = c.flag("mlp_bias", false);
  else
    c.require("mlp_bias", "false");
  s.head_norms = type == "qwen3";
  s.windows = read_windows(c, type, s.layers);
  s.rope = read_rope(c, s.head_dim);
  if (b.checkpoint().rope_factors) {
    auto factors = b.checkpoint().rope_factors->data<float>();
    if (int64_t(factors.size()) * 2 != s.rope.rotary_dim)
      throw InvalidData(cat(c.source(), ": there are ", factors.size(), " rope factors, ", s.rope.rotary_dim / 2, " wanted"));
    s.rope.inv_freq.clear();
    for (size_t i = 0; i < factors.size(); i++)
      s.rope.inv_freq.push_back(double(std::pow(float(s.rope.theta), -float(2 * i) / float(s.rope.rotary_dim)) / factors[i]));
  }
  return s;
}

ValueId self_attention(Builder& b, const Shapes& s, ValueId x, ValueId positions, int64_t i, const std::string& layer) {
  b.set_block(cat("layers.", i, ".self_attn"));
  std::string name = layer + ".self_attn";
  ValueId n = b.rms_norm(x, layer + ".input_layernorm", s.width, s.epsilon);
  ValueId q = b.linear(n, name + ".q_proj", s.width, s.heads * s.head_dim, s.qkv_bias);
  ValueId k = b.linear(n, name + ".k_proj", s.width, s.kv_heads * s.head_dim, s.qkv_bias);
  ValueId v = b.linear(n, name + ".v_proj", s.width, s.kv_heads * s.head_dim, s.qkv_bias);
  if (s.head_norms) {
    q = b.head_norm(q, name + ".q_norm", "q_heads", s.heads, s.head_dim, s.epsilon);
    k = b.head_norm(k, name + ".k_norm", "k_heads", s.kv_heads, s.head_dim, s.epsilon);
  }
  q = b.rope(q, positions, s.rope, s.heads, s.head_dim, name + ".q_rope");
  k = b.rope(k, positions, s.rope, s.kv_heads, s.head_dim, name + ".k_rope");
  AttentionShape shape{.heads = s.heads,
                       .kv_heads = s.kv_heads,
                       .head_dim = s.head_dim,
                       .scale = 1 / std::sqrt(double(s.head_dim)),
                       .causal = true,
                       .window = s.windows[size_t(i)]};
  ValueId a = b.attention(q, k, v, b.decoder_mask(), shape, i, name);
  return b.residual(x, b.linear(a, name + ".o_proj", s.heads * s.head_dim, s.width, s.output_bias), name);
}

ValueId mlp(Builder& b, const Shapes& s, ValueId x, int64_t i, const std::string& layer) {
  b.set_block(cat("layers.", i, ".mlp"));
  std::string name = layer + ".mlp";
  ValueId n = b.rms_norm(x, layer + ".post_attention_layernorm", s.width, s.epsilon);
  ValueId gate = b.activation(b.linear(n, name + ".gate_proj", s.width, s.inner, s.mlp_bias), s.activation, name + ".act_fn");
  ValueId up = b.linear(n, name + ".up_proj", s.width, s.inner, s.mlp_bias);
  ValueId down = b.linear(b.add(Op::mul, {gate, up}, name + ".product"), name + ".down_proj", s.inner, s.width, s.mlp_bias);
  return b.residual(x, down, name);
}

}  // namespace

void build_llama(Builder& b) {
  std::string architecture = b.architecture("ForCausalLM");
  if (!architecture.ends_with("ForCausalLM") && !architecture.ends_with("Model")) b.unknown_architecture({"...ForCausalLM", "...Model"});
  Shapes s = read_shapes(b);
  std::string root = architecture.ends_with("Model") ? b.prefix_if_used("model.") : "model.";
  b.ignore_suffix(".rotary_emb.inv_freq");
  b.set_block("embeddings");
  ValueId ids = b.input_ids();
  ValueId x = b.embedding(ids, root + "embed_tokens", s.vocab, s.width);
  ValueId positions = b.add(Op::positions, {ids}, "positions");
  for (int64_t i = 0; i < s.layers; i++) {
    std::string layer = cat(root, "layers.", i);
    x = self_attention(b, s, x, positions, i, layer);
    x = mlp(b, s, x, i, layer);
  }
  b.set_block("head");
  x = b.rms_norm(x, root + "norm", s.width, s.epsilon);
  b.language_model_outputs(x, "lm_head", root + "embed_tokens", s.vocab, s.width, b.config().flag("tie_word_embeddings", false));
}

}  // namespace lacuna
