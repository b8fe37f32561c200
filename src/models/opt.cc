// OPT: learned positions that start at 2 and count unmasked tokens, ReLU, layer norms before or (350m) after each sublayer, and embeddings
// that may be narrower than the layers. Source: transformers 5.x, models/opt/modeling_opt.py.
#include <cmath>

#include "base/cat.h"
#include "models/builder.h"

namespace lacuna {
namespace {

constexpr int64_t kFirstPosition = 2;

struct Opt {
  Builder& b;
  int64_t width, inner, heads;
  bool norm_first, bias;
  std::string activation;

  ValueId norm(ValueId x, const std::string& name) { return b.layer_norm(x, name, width, 1e-5); }

  ValueId self_attention(ValueId x, int64_t i, const std::string& layer) {
    b.set_block(cat("layers.", i, ".self_attn"));
    std::string name = layer + ".self_attn", norm_name = name + "_layer_norm";
    ValueId n = norm_first ? norm(x, norm_name) : x;
    auto project = [&](const char* which) { return b.linear(n, cat(name, ".", which, "_proj"), width, width, bias); };
    ValueId q = project("q"), k = project("k"), v = project("v");
    int64_t head_dim = width / heads;
    AttentionShape shape{.heads = heads, .kv_heads = heads, .head_dim = head_dim, .scale = 1 / std::sqrt(double(head_dim)), .causal = true};
    ValueId a = b.attention(q, k, v, b.decoder_mask(), shape, i, name);
    x = b.residual(x, b.linear(a, name + ".out_proj", width, width, bias), name);
    return norm_first ? x : norm(x, norm_name);
  }

  ValueId mlp(ValueId x, int64_t i, const std::string& layer) {
    b.set_block(cat("layers.", i, ".mlp"));
    std::string norm_name = layer + ".final_layer_norm";
    ValueId n = norm_first ? norm(x, norm_name) : x;
    ValueId hidden = b.activation(b.linear(n, layer + ".fc1", width, inner, bias), activation, layer + ".activation");
    x = b.residual(x, b.linear(hidden, layer + ".fc2", inner, width, bias), layer + ".mlp");
    return norm_first ? x : norm(x, norm_name);
  }
};

}  // namespace

void build_opt(Builder& b) {
  std::string architecture = b.architecture("OPTForCausalLM");
  if (architecture != "OPTForCausalLM" && architecture != "OPTModel") b.unknown_architecture({"OPTForCausalLM", "OPTModel"});
  const Config& c = b.config();
  c.require("layer_norm_elementwise_affine", "true");
  int64_t vocab = c.integer("vocab_size"), width = c.integer("hidden_size"), narrow = c.integer("word_embed_proj_dim", width);
  Opt opt{.b = b,
          .width = width,
          .inner = c.integer("ffn_dim"),
          .heads = c.integer("num_attention_heads"),
          .norm_first = c.flag("do_layer_norm_before", true),
          .bias = c.flag("enable_bias", true),
          .activation = c.text("activation_function", "relu")};
  b.require_divides("hidden_size", width, "num_attention_heads", opt.heads);
  int64_t layers = b.layer_count("num_hidden_layers");
  std::string root = b.prefix_if_used("model.") + "decoder.";

  b.set_block("embeddings");
  ValueId ids = b.input_ids();
  Attributes offset;
  offset.set("offset", kFirstPosition);
  ValueId positions = b.add(Op::positions, {ids, b.decoder_mask()}, "positions", std::move(offset));
  ValueId x = b.embedding(ids, root + "embed_tokens", vocab, narrow);
  if (narrow != width) x = b.linear(x, root + "project_in", narrow, width, false);
  ValueId where = b.embedding(positions, root + "embed_positions", c.integer("max_position_embeddings") + kFirstPosition, width);
  x = b.add(Op::add, {x, where}, "embeddings");
  for (int64_t i = 0; i < layers; i++) {
    std::string layer = cat(root, "layers.", i);
    x = opt.mlp(opt.self_attention(x, i, layer), i, layer);
  }
  b.set_block("head");
  if (opt.norm_first && !c.flag("_remove_final_layer_norm", false)) x = opt.norm(x, root + "final_layer_norm");
  if (narrow != width) x = b.linear(x, root + "project_out", width, narrow, false);
  b.language_model_outputs(x, "lm_head", root + "embed_tokens", vocab, narrow, c.flag("tie_word_embeddings", true));
}

}  // namespace lacuna
