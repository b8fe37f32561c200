// Gemma 2: norms before and after each sublayer with scales around 0, embeddings times sqrt(width), soft caps on scores and logits, every
// other layer a sliding window. Source: transformers 5.x, models/gemma2/modeling_gemma2.py.
#include <cmath>

#include "base/cat.h"
#include "lacuna/error.h"
#include "models/builder.h"

namespace lacuna {
namespace {

struct Gemma {
  Builder& b;
  int64_t width, inner, heads, kv_heads, head_dim;
  double epsilon, scale, score_cap;
  bool bias;
  std::string activation;
  Rope rope;

  ValueId norm(ValueId x, const std::string& name) { return b.rms_norm(x, name, width, epsilon, 1); }
  ValueId scalar(const std::string& name, float value) { return b.constant(name, Tensor::of<float>({1}, std::vector<float>{value})); }

  ValueId layer(ValueId x, ValueId positions, int64_t i, const std::string& layer, int64_t window) {
    b.set_block(cat("layers.", i, ".self_attn"));
    std::string name = layer + ".self_attn";
    ValueId n = norm(x, layer + ".input_layernorm");
    ValueId q = b.linear(n, name + ".q_proj", width, heads * head_dim, bias), k = b.linear(n, name + ".k_proj", width, kv_heads * head_dim, bias),
            v = b.linear(n, name + ".v_proj", width, kv_heads * head_dim, bias);
    q = b.rope(q, positions, rope, heads, head_dim, name + ".q_rope");
    k = b.rope(k, positions, rope, kv_heads, head_dim, name + ".k_rope");
    AttentionShape shape{
        .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .scale = scale, .causal = true, .window = window, .softcap = score_cap};
    ValueId a = b.linear(b.attention(q, k, v, b.decoder_mask(), shape, i, name), name + ".o_proj", heads * head_dim, width, bias);
    x = b.residual(x, norm(a, layer + ".post_attention_layernorm"), name);

    b.set_block(cat("layers.", i, ".mlp"));
    name = layer + ".mlp";
    n = norm(x, layer + ".pre_feedforward_layernorm");
    ValueId gate = b.activation(b.linear(n, name + ".gate_proj", width, inner, false), activation, name + ".act_fn");
    ValueId product = b.add(Op::mul, {gate, b.linear(n, name + ".up_proj", width, inner, false)}, name + ".product");
    return b.residual(x, norm(b.linear(product, name + ".down_proj", inner, width, false), layer + ".post_feedforward_layernorm"), name);
  }

  // logits = cap tanh(head(x) / cap)
  void logits(ValueId x, const std::string& table, int64_t vocab, double cap) {
    ValueId y = b.add(Op::linear, {x, b.weight(table, {vocab, width}, MatrixLayout::kOutIn)}, "lm_head");
    if (cap != 0) {
      y = b.add(Op::tanh, {b.add(Op::div, {y, scalar("logit_cap", float(cap))}, "lm_head.scaled")}, "lm_head.tanh");
      y = b.add(Op::mul, {y, scalar("logit_cap", float(cap))}, "lm_head.capped");
    }
    b.graph().add_output("logits", y);
  }
};

// Sliding and full layers alternate unless the configuration lists them.
std::vector<int64_t> read_windows(const Config& c, int64_t layers) {
  std::vector<int64_t> windows;
  int64_t window = c.integer("sliding_window", 4096);
  auto types = c.texts("layer_types");
  if (!types.empty() && int64_t(types.size()) != layers)
    throw InvalidData(cat(c.source(), ": layer_types has ", types.size(), " entries, ", layers, " wanted"));
  for (int64_t i = 0; i < layers; i++) windows.push_back((types.empty() ? i % 2 == 0 : types[size_t(i)] == "sliding_attention") ? window : 0);
  return windows;
}

}  // namespace

void build_gemma2(Builder& b) {
  std::string architecture = b.architecture("Gemma2ForCausalLM");
  if (architecture != "Gemma2ForCausalLM" && architecture != "Gemma2Model") b.unknown_architecture({"Gemma2ForCausalLM", "Gemma2Model"});
  const Config& c = b.config();
  if (c.has("use_bidirectional_attention")) c.require("use_bidirectional_attention", "false");
  int64_t vocab = c.integer("vocab_size"), width = c.integer("hidden_size"), layers = b.layer_count("num_hidden_layers"),
          head_dim = c.integer("head_dim", 256);
  Gemma gemma{.b = b,
              .width = width,
              .inner = c.integer("intermediate_size"),
              .heads = c.integer("num_attention_heads"),
              .kv_heads = c.integer("num_key_value_heads"),
              .head_dim = head_dim,
              .epsilon = c.number("rms_norm_eps", 1e-6),
              .scale = 1 / std::sqrt(c.number("query_pre_attn_scalar", 256)),
              .score_cap = c.number("attn_logit_softcapping", 0),
              .bias = c.flag("attention_bias", false),
              .activation = c.text("hidden_activation", c.text("hidden_act", "gelu_pytorch_tanh")),
              .rope = read_rope(c, head_dim)};
  b.require_divides("num_attention_heads", gemma.heads, "num_key_value_heads", gemma.kv_heads);
  std::vector<int64_t> windows = read_windows(c, layers);
  std::string root = b.is_headless() ? b.prefix_if_used("model.") : "model.";
  bool tied = c.flag("tie_word_embeddings", true);
  b.set_block("embeddings");
  ValueId ids = b.input_ids();
  ValueId table = b.embedding(ids, root + "embed_tokens", vocab, width), positions = b.add(Op::positions, {ids}, "positions");
  ValueId x = b.add(Op::mul, {table, gemma.scalar("embedding_scale", float(std::sqrt(double(width))))}, "embeddings.scaled");
  for (int64_t i = 0; i < layers; i++) x = gemma.layer(x, positions, i, cat(root, "layers.", i), windows[size_t(i)]);
  b.set_block("head");
  x = gemma.norm(x, root + "norm");
  if (b.is_headless()) return b.encoder_outputs(x, b.decoder_mask());
  tied = b.is_tied(tied, "lm_head.weight", root + "embed_tokens.weight");
  if (tied) b.ignore_prefix("lm_head.weight");
  gemma.logits(x, tied ? root + "embed_tokens.weight" : "lm_head.weight", vocab, c.number("final_logit_softcapping", 0));
}

}  // namespace lacuna
