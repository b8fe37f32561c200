// GPT-2: learned positions, layer norms, one fused projection for q, k and v; matrices are stored [in, out] (Conv1D).
// Source: transformers 5.x, models/gpt2/modeling_gpt2.py.
#include <cmath>

#include "base/cat.h"
#include "models/builder.h"

namespace lacuna {

void build_gpt2(Builder& b) {
  std::string architecture = b.architecture("GPT2LMHeadModel");
  if (architecture != "GPT2LMHeadModel" && architecture != "GPT2Model") b.unknown_architecture({"GPT2LMHeadModel", "GPT2Model"});
  const Config& c = b.config();
  c.require("add_cross_attention", "false");
  int64_t vocab = c.integer("vocab_size"), width = c.integer("n_embd"), layers = b.layer_count("n_layer"), heads = c.integer("n_head");
  int64_t positions = c.integer("n_positions"), inner = c.integer("n_inner", 4 * width);
  double epsilon = c.number("layer_norm_epsilon", 1e-5);
  b.require_divides("n_embd", width, "n_head", heads);
  int64_t head_dim = width / heads;
  std::string root = b.prefix_if_used("transformer.");
  // Causal masks that old checkpoints carry.
  b.ignore_suffix(".attn.bias");
  b.ignore_suffix(".attn.masked_bias");

  b.set_block("embeddings");
  ValueId ids = b.input_ids();
  ValueId where = b.embedding(b.add(Op::positions, {ids}, "positions"), root + "wpe", positions, width);
  ValueId x = b.add(Op::add, {b.embedding(ids, root + "wte", vocab, width), where}, "embeddings");
  for (int64_t i = 0; i < layers; i++) {
    std::string layer = cat(root, "h.", i);
    b.set_block(cat("layers.", i, ".self_attn"));
    std::string name = layer + ".attn";
    ValueId n = b.layer_norm(x, layer + ".ln_1", width, epsilon);
    auto qkv = b.split(b.linear(n, name + ".c_attn", width, 3 * width, true, MatrixLayout::kInOut), {width, width, width}, name + ".split");
    double scale = c.flag("scale_attn_weights", true) ? 1 / std::sqrt(double(head_dim)) : 1;
    if (c.flag("scale_attn_by_inverse_layer_idx", false)) scale /= double(i + 1);
    AttentionShape shape{.heads = heads, .kv_heads = heads, .head_dim = head_dim, .scale = scale, .causal = true};
    ValueId a = b.attention(qkv[0], qkv[1], qkv[2], b.decoder_mask(), shape, i, name);
    x = b.residual(x, b.linear(a, name + ".c_proj", width, width, true, MatrixLayout::kInOut), name);

    b.set_block(cat("layers.", i, ".mlp"));
    name = layer + ".mlp";
    n = b.layer_norm(x, layer + ".ln_2", width, epsilon);
    ValueId hidden =
        b.activation(b.linear(n, name + ".c_fc", width, inner, true, MatrixLayout::kInOut), c.text("activation_function", "gelu_new"), name + ".act");
    x = b.residual(x, b.linear(hidden, name + ".c_proj", inner, width, true, MatrixLayout::kInOut), name);
  }
  b.set_block("head");
  x = b.layer_norm(x, root + "ln_f", width, epsilon);
  b.language_model_outputs(x, "lm_head", root + "wte", vocab, width, c.flag("tie_word_embeddings", true));
}

}  // namespace lacuna
