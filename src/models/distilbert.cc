// DistilBERT: BERT without token types and pooler. Source: transformers 5.x, models/distilbert/modeling_distilbert.py.
#include "base/cat.h"
#include "models/encoder.h"

namespace lacuna {
namespace {
constexpr EncoderNames kNames = {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
                                 "sa_layer_norm",   "ffn.lin1",        "ffn.lin2",        "output_layer_norm"};
constexpr double kEpsilon = 1e-12;  // fixed in the model, not in its configuration
}  // namespace

void build_distilbert(Builder& b) {
  const Config& c = b.config();
  EncoderShapes s{.width = c.integer("dim"),
                  .inner = c.integer("hidden_dim"),
                  .heads = c.integer("n_heads"),
                  .epsilon = kEpsilon,
                  .activation = c.text("activation", "gelu")};
  b.require_divides("dim", s.width, "n_heads", s.heads);
  int64_t vocab = c.integer("vocab_size");
  std::string root = b.prefix_if_used("distilbert.");
  b.ignore_suffix("embeddings.position_ids");
  ValueId mask = b.attention_mask();

  b.set_block("embeddings");
  ValueId ids = b.input_ids();
  ValueId x = b.embedding(ids, root + "embeddings.word_embeddings", vocab, s.width);
  ValueId positions = b.add(Op::positions, {ids}, "positions");
  x = b.add(Op::add, {x, b.embedding(positions, root + "embeddings.position_embeddings", c.integer("max_position_embeddings", 512), s.width)},
            root + "embeddings.sum");
  x = b.layer_norm(x, root + "embeddings.LayerNorm", s.width, kEpsilon);
  int64_t layers = b.layer_count("n_layers");
  for (int64_t i = 0; i < layers; i++) x = encoder_layer(b, kNames, s, x, mask, i, cat(root, "transformer.layer.", i));

  b.set_block("head");
  std::string architecture = b.architecture("DistilBertModel");
  if (architecture == "DistilBertForMaskedLM") {
    x = b.activation(b.linear(x, "vocab_transform", s.width, s.width, true), s.activation, "vocab_activation");
    x = b.layer_norm(x, "vocab_layer_norm", s.width, kEpsilon);
    b.language_model_outputs(x, "vocab_projector", root + "embeddings.word_embeddings", vocab, s.width, c.flag("tie_word_embeddings", true), true);
  } else if (architecture == "DistilBertForSequenceClassification") {
    Attributes a;
    a.set("mode", std::string("cls"));
    x = b.add(Op::token_pool, {x}, "first_token", std::move(a));
    x = b.activation(b.linear(x, "pre_classifier", s.width, s.width, true), "relu", "pre_classifier.activation");
    b.graph().add_output("logits", b.classifier(x, "classifier", s.width));
  } else if (architecture == "DistilBertForTokenClassification") {
    b.graph().add_output("logits", b.classifier(x, "classifier", s.width));
  } else if (architecture == "DistilBertForQuestionAnswering") {
    b.question_answering_outputs(x, s.width);
  } else if (architecture == "DistilBertModel") {
    for (const char* head : {"vocab_", "pre_classifier.", "classifier.", "qa_outputs."}) b.keep_prefix(head);
    b.encoder_outputs(x, mask);
  } else {
    b.unknown_architecture({"DistilBertModel", "DistilBertForMaskedLM", "DistilBertForSequenceClassification", "DistilBertForTokenClassification",
                            "DistilBertForQuestionAnswering"});
  }
}

}  // namespace lacuna
