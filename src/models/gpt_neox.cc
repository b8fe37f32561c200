// GPT-NeoX (Pythia): partly rotating heads, one projection in which q, k and v alternate head by head, attention and MLP side by side.
//   x = x + attention(norm1(x)) + mlp(norm2(x)), or one after the other without use_parallel_residual
// Source: transformers 5.x, models/gpt_neox/modeling_gpt_neox.py.
#include <cmath>

#include "base/cat.h"
#include "models/builder.h"

namespace lacuna {
namespace {

struct NeoX {
  Builder& b;
  int64_t width, inner, heads, head_dim;
  double epsilon;
  bool bias;
  std::string activation;
  Rope rope;

  ValueId reshaped(ValueId x, const std::string& shape_name, const std::vector<int64_t>& shape, const std::string& name) {
    return b.add(Op::reshape, {x, b.constant(shape_name, Tensor::of<int64_t>({int64_t(shape.size())}, shape))}, name);
  }

  ValueId self_attention(ValueId n, ValueId positions, int64_t i, const std::string& name) {
    b.set_block(cat("layers.", i, ".self_attn"));
    ValueId fused = b.linear(n, name + ".query_key_value", width, 3 * width, bias);
    auto parts = b.split(reshaped(fused, "qkv_heads", {0, 0, heads, 3 * head_dim}, name + ".heads"), {head_dim, head_dim, head_dim}, name + ".split");
    for (size_t p = 0; p < 3; p++) parts[p] = reshaped(parts[p], "qkv_flat", {0, 0, width}, cat(name, ".", "qkv"[p]));
    ValueId q = b.rope(parts[0], positions, rope, heads, head_dim, name + ".q_rope"),
            k = b.rope(parts[1], positions, rope, heads, head_dim, name + ".k_rope");
    AttentionShape shape{.heads = heads, .kv_heads = heads, .head_dim = head_dim, .scale = 1 / std::sqrt(double(head_dim)), .causal = true};
    return b.linear(b.attention(q, k, parts[2], b.decoder_mask(), shape, i, name), name + ".dense", width, width, bias);
  }

  ValueId mlp(ValueId n, int64_t i, const std::string& name) {
    b.set_block(cat("layers.", i, ".mlp"));
    ValueId hidden = b.activation(b.linear(n, name + ".dense_h_to_4h", width, inner, true), activation, name + ".act");
    return b.linear(hidden, name + ".dense_4h_to_h", inner, width, true);
  }

  ValueId layer(ValueId x, ValueId positions, int64_t i, const std::string& name, bool parallel) {
    b.set_block(cat("layers.", i, ".self_attn"));
    ValueId n = b.layer_norm(x, name + ".input_layernorm", width, epsilon);
    ValueId after = b.residual(x, self_attention(n, positions, i, name + ".attention"), name + ".attention");
    b.set_block(cat("layers.", i, ".mlp"));
    ValueId m = b.layer_norm(parallel ? x : after, name + ".post_attention_layernorm", width, epsilon);
    return b.residual(after, mlp(m, i, name + ".mlp"), name + ".mlp");
  }
};

}  // namespace

void build_gpt_neox(Builder& b) {
  std::string architecture = b.architecture("GPTNeoXForCausalLM");
  if (architecture != "GPTNeoXForCausalLM" && architecture != "GPTNeoXModel") b.unknown_architecture({"GPTNeoXForCausalLM", "GPTNeoXModel"});
  const Config& c = b.config();
  int64_t vocab = c.integer("vocab_size"), width = c.integer("hidden_size"), heads = c.integer("num_attention_heads");
  b.require_divides("hidden_size", width, "num_attention_heads", heads);
  NeoX model{.b = b,
             .width = width,
             .inner = c.integer("intermediate_size"),
             .heads = heads,
             .head_dim = width / heads,
             .epsilon = c.number("layer_norm_eps", 1e-5),
             .bias = c.flag("attention_bias", true),
             .activation = c.text("hidden_act", "gelu"),
             .rope = read_rope(c, width / heads, {.partial_rotary_factor = 0.25, .allow_partial = true})};
  int64_t layers = b.layer_count("num_hidden_layers");
  bool parallel = c.flag("use_parallel_residual", true);
  std::string root = b.prefix_if_used("gpt_neox.");
  for (const char* buffer : {".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias"}) b.ignore_suffix(buffer);
  b.set_block("embeddings");
  ValueId ids = b.input_ids();
  ValueId x = b.embedding(ids, root + "embed_in", vocab, width), positions = b.add(Op::positions, {ids}, "positions");
  for (int64_t i = 0; i < layers; i++) x = model.layer(x, positions, i, cat(root, "layers.", i), parallel);
  b.set_block("head");
  x = b.layer_norm(x, root + "final_layer_norm", width, model.epsilon);
  b.language_model_outputs(x, "embed_out", root + "embed_in", vocab, width, c.flag("tie_word_embeddings", false));
}

}  // namespace lacuna
