// BERT and RoBERTa (also XLM-RoBERTa and CamemBERT), bare or with a masked-language, sequence or token classification or question answering head.
// Source: transformers 5.x, models/{bert,roberta}/modeling_*.py.
#include "base/cat.h"
#include "models/encoder.h"

namespace lacuna {
namespace {

constexpr EncoderNames kNames = {"attention.self.query",       "attention.self.key", "attention.self.value", "attention.output.dense",
                                 "attention.output.LayerNorm", "intermediate.dense", "output.dense",         "output.LayerNorm"};

struct Bert {
  Builder& b;
  bool roberta;
  std::string root;
  EncoderShapes s;
  int64_t vocab;

  ValueId first_token(ValueId hidden) {
    Attributes a;
    a.set("mode", std::string("cls"));
    return b.add(Op::token_pool, {hidden}, "first_token", std::move(a));
  }

  ValueId token_types(ValueId x) {
    int64_t types = b.config().integer("type_vocab_size", 2);
    std::string name = root + "embeddings.token_type_embeddings";
    // One type only: its row is added to every token.
    if (types == 1) return b.add(Op::add, {x, b.weight(name + ".weight", {1, s.width})}, name);
    ValueId ids = b.token_type_ids();
    return b.add(Op::add, {x, b.embedding(ids, name, types, s.width)}, name + ".sum");
  }

  ValueId embeddings() {
    b.set_block("embeddings");
    const Config& c = b.config();
    ValueId ids = b.input_ids();
    std::string name = root + "embeddings";
    ValueId x = b.embedding(ids, name + ".word_embeddings", vocab, s.width);
    Attributes a;
    if (roberta) a.set("padding_id", c.integer("pad_token_id", 1, 0));
    ValueId positions = b.add(Op::positions, {ids}, "positions", std::move(a));
    x = token_types(x);
    x = b.add(Op::add, {x, b.embedding(positions, name + ".position_embeddings", c.integer("max_position_embeddings", 512), s.width)}, name + ".sum");
    return b.layer_norm(x, name + ".LayerNorm", s.width, s.epsilon);
  }

  void masked_language_head(ValueId x) {
    std::string head = roberta ? "lm_head" : "cls.predictions.transform";
    x = b.activation(b.linear(x, head + ".dense", s.width, s.width, true), roberta ? "gelu" : s.activation, head + ".activation");
    x = b.layer_norm(x, head + (roberta ? ".layer_norm" : ".LayerNorm"), s.width, s.epsilon);
    std::string decoder = roberta ? "lm_head.decoder" : "cls.predictions.decoder";
    std::string shared_bias = roberta ? "lm_head.bias" : "cls.predictions.bias", own_bias = decoder + ".bias";
    bool tied = b.is_tied(b.config().flag("tie_word_embeddings", true), decoder + ".weight", root + "embeddings.word_embeddings.weight");
    ValueId table = b.weight((tied ? root + "embeddings.word_embeddings" : decoder) + ".weight", {vocab, s.width}, MatrixLayout::kOutIn);
    // An untied decoder has a bias of its own; the other one is then stored, but not used.
    bool shared = tied ? b.has(shared_bias) : !b.has(own_bias);
    if (tied) b.ignore_prefix(decoder);  // copies of the table and the shared bias
    b.keep_prefix(shared_bias);
    b.graph().add_output("logits", b.add(Op::linear, {x, table, b.weight(shared ? shared_bias : own_bias, {vocab})}, decoder));
  }

  ValueId pooler(ValueId hidden) {
    std::string name = root + "pooler.dense";
    return b.activation(b.linear(first_token(hidden), name, s.width, s.width, true), "tanh", root + "pooler.activation");
  }

  void sequence_head(ValueId x) {
    if (!roberta) {
      b.graph().add_output("logits", b.classifier(pooler(x), "classifier", s.width));
      return;
    }
    x = b.activation(b.linear(first_token(x), "classifier.dense", s.width, s.width, true), "tanh", "classifier.activation");
    b.graph().add_output("logits", b.classifier(x, "classifier.out_proj", s.width));
  }
};

void build(Builder& b, bool roberta, const std::string& prefix) {
  const Config& c = b.config();
  c.require("position_embedding_type", "\"absolute\"");
  c.require("is_decoder", "false");
  c.require("add_cross_attention", "false");
  EncoderShapes s{.width = c.integer("hidden_size"),
                  .inner = c.integer("intermediate_size"),
                  .heads = c.integer("num_attention_heads"),
                  .epsilon = c.number("layer_norm_eps", 1e-12),
                  .activation = c.text("hidden_act", "gelu")};
  b.require_divides("hidden_size", s.width, "num_attention_heads", s.heads);
  Bert bert{b, roberta, b.prefix_if_used(prefix), s, c.integer("vocab_size")};
  b.ignore_suffix("embeddings.position_ids");
  b.ignore_suffix("embeddings.token_type_ids");
  ValueId mask = b.attention_mask();
  ValueId x = bert.embeddings();
  int64_t layers = b.layer_count("num_hidden_layers");
  for (int64_t i = 0; i < layers; i++) x = encoder_layer(b, kNames, s, x, mask, i, cat(bert.root, "encoder.layer.", i));

  b.set_block("head");
  std::string architecture = b.architecture("Model");
  if (architecture.ends_with("ForMaskedLM") || architecture.ends_with("ForPreTraining")) {
    b.keep_prefix(bert.root + "pooler.");
    b.keep_prefix("cls.seq_relationship.");
    bert.masked_language_head(x);
  } else if (architecture.ends_with("ForSequenceClassification")) {
    bert.sequence_head(x);
  } else if (architecture.ends_with("ForTokenClassification")) {
    b.keep_prefix(bert.root + "pooler.");
    b.graph().add_output("logits", b.classifier(x, "classifier", s.width));
  } else if (architecture.ends_with("ForQuestionAnswering")) {
    b.keep_prefix(bert.root + "pooler.");
    b.question_answering_outputs(x, s.width);
  } else if (architecture.ends_with("Model")) {
    // A bare encoder is often saved out of a larger model: its head is left over.
    for (const char* head : {"cls.", "lm_head.", "classifier.", "qa_outputs."}) b.keep_prefix(head);
    b.encoder_outputs(x, mask);
    if (b.has(bert.root + "pooler.dense.weight")) {
      b.set_block("head");
      b.graph().add_output("pooler_output", bert.pooler(x));
    }
  } else {
    b.unknown_architecture({"...Model", "...ForMaskedLM", "...ForSequenceClassification", "...ForTokenClassification", "...ForQuestionAnswering"});
  }
}

}  // namespace

void build_bert(Builder& b) { build(b, false, "bert."); }
void build_roberta(Builder& b) { build(b, true, "roberta."); }

}  // namespace lacuna
