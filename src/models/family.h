// From a checkpoint (configuration and tensors) to a Graph: one builder per model family, listed in families.def.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "models/config.h"

namespace lacuna {

// What a reader hands to a builder.
struct Checkpoint {
  Config config;                // config.json, or what a reader of another kind wrote in its spelling
  std::vector<Weight> tensors;  // layout kNone; shapes as stored
  // The name a tensor has in this checkpoint, from its Hugging Face name; empty function: the same.
  std::function<std::string(std::string_view)> rename;
  bool compression_read = false;       // the reader has dealt with what quantization_config describes
  bool interleaved_rope = false;       // q and k rows are in the order that rotates neighbours (GGUF of the Llama architecture)
  std::optional<Tensor> rope_factors;  // divides the inverse frequencies (GGUF rope_freqs.weight), f32 [rotary_dim / 2]
};

// Sentence-transformers modules that follow the encoder: pooling, dense layers, normalisation.
struct SentenceHead {
  struct Dense {
    std::string name;  // of its tensors in the checkpoint: NAME.linear.weight [out, in], NAME.linear.bias [out]
    int64_t in, out;
    bool bias;
    std::string activation;  // as Builder::activation takes it; "" for none
  };
  std::string pooling;  // mean | cls | max | last
  std::vector<Dense> dense;
  bool normalize = false;
};

// The Graph of a checkpoint, shapes inferred and verified.
// Inputs:  input_ids [batch, tokens] s64; encoders also attention_mask [batch, tokens] s64 and, where the family has them,
//          token_type_ids. metadata "default:NAME" is the number that fills an input the caller leaves out.
//          Decoders: attention_mask [batch, context] s64 over past and new tokens; metadata "optional:NAME" says that it may be left out.
// Outputs: decoders logits [batch, tokens, vocab]; encoders last_hidden_state, or logits of the head that `architectures` names;
//          with a SentenceHead also sentence_embedding [batch, width].
// Metadata: "max_tokens"; "bos_token_ids", "eos_token_ids", "pad_token_ids" as JSON arrays where the configuration states them.
// Throws:  Unsupported on an unknown model_type (listing the known ones) or feature; InvalidData listing every tensor that is
//          missing, misshapen or left over.
std::shared_ptr<Graph> build_model(Checkpoint checkpoint, std::optional<SentenceHead> sentence = {});

// The model types of families.def.
std::vector<std::string> known_model_types();

}  // namespace lacuna
