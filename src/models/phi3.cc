// Phi-3: Llama with q, k and v in one projection, gate and up in another, and heads that may rotate in part.
// Source: transformers 5.x, models/phi3/modeling_phi3.py.
#include <cmath>

#include "base/cat.h"
#include "models/builder.h"

namespace lacuna {

void build_phi3(Builder& b) {
  std::string architecture = b.architecture("Phi3ForCausalLM");
  if (architecture != "Phi3ForCausalLM" && architecture != "Phi3Model") b.unknown_architecture({"Phi3ForCausalLM", "Phi3Model"});
  const Config& c = b.config();
  int64_t vocab = c.integer("vocab_size"), width = c.integer("hidden_size"), inner = c.integer("intermediate_size"),
          layers = b.layer_count("num_hidden_layers"), heads = c.integer("num_attention_heads"), kv_heads = c.integer("num_key_value_heads", heads);
  double epsilon = c.number("rms_norm_eps", 1e-5);
  b.require_divides("num_attention_heads", heads, "num_key_value_heads", kv_heads);
  if (!c.has("head_dim")) b.require_divides("hidden_size", width, "num_attention_heads", heads);
  int64_t head_dim = c.integer("head_dim", width / heads, 1, 1 << 20), window = c.has("sliding_window") ? c.integer("sliding_window", {}, 0) : 0;
  Rope rope = read_rope(c, head_dim, {.allow_partial = true});
  // Beyond the original context longrope takes other factors; these are for contexts within it.
  if (!rope.inv_freq.empty() && c.has("original_max_position_embeddings"))
    b.graph().metadata["max_tokens"] = std::to_string(c.integer("original_max_position_embeddings"));
  std::string root = b.is_headless() ? b.prefix_if_used("model.") : "model.";
  b.ignore_suffix(".rotary_emb.inv_freq");

  b.set_block("embeddings");
  ValueId ids = b.input_ids();
  ValueId x = b.embedding(ids, root + "embed_tokens", vocab, width), positions = b.add(Op::positions, {ids}, "positions");
  for (int64_t i = 0; i < layers; i++) {
    std::string layer = cat(root, "layers.", i), name = layer + ".self_attn";
    b.set_block(cat("layers.", i, ".self_attn"));
    ValueId n = b.rms_norm(x, layer + ".input_layernorm", width, epsilon);
    std::vector<int64_t> sizes = {heads * head_dim, kv_heads * head_dim, kv_heads * head_dim};
    auto qkv = b.split(b.linear(n, name + ".qkv_proj", width, (heads + 2 * kv_heads) * head_dim, false), sizes, name + ".split");
    ValueId q = b.rope(qkv[0], positions, rope, heads, head_dim, name + ".q_rope"),
            k = b.rope(qkv[1], positions, rope, kv_heads, head_dim, name + ".k_rope");
    AttentionShape shape{
        .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .scale = 1 / std::sqrt(double(head_dim)), .causal = true, .window = window};
    ValueId a = b.attention(q, k, qkv[2], b.decoder_mask(), shape, i, name);
    x = b.residual(x, b.linear(a, name + ".o_proj", heads * head_dim, width, false), name);

    name = layer + ".mlp";
    b.set_block(cat("layers.", i, ".mlp"));
    n = b.rms_norm(x, layer + ".post_attention_layernorm", width, epsilon);
    auto halves = b.split(b.linear(n, name + ".gate_up_proj", width, 2 * inner, false), {inner, inner}, name + ".split");
    ValueId gate = b.activation(halves[0], c.text("hidden_act", "silu"), name + ".activation_fn");
    ValueId product = b.add(Op::mul, {gate, halves[1]}, name + ".product");
    x = b.residual(x, b.linear(product, name + ".down_proj", inner, width, false), name);
  }
  b.set_block("head");
  x = b.rms_norm(x, root + "norm", width, epsilon);
  b.language_model_outputs(x, "lm_head", root + "embed_tokens", vocab, width, c.flag("tie_word_embeddings", false));
}

}  // namespace lacuna
