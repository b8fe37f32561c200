// Sentencepiece models, whether from their own files or from GGUF.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/components.h"

namespace lacuna::text {

// Kinds of pieces, numbered as in sentencepiece_model.proto and in tokenizer.ggml.token_type.
enum PieceType : int32_t { kNormal = 1, kUnknown = 2, kControlPiece = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct SentencePieceModel {
  std::vector<std::string> pieces;  // by id
  std::vector<float> scores;        // one per piece
  std::vector<int32_t> types;       // PieceType, one per piece
  bool unigram = true;              // else BPE
  bool byte_fallback = false;
  int32_t unk = 0, bos = 1, eos = 2;  // -1: there is none
  std::string charsmap;
  PrependScheme prefix = PrependScheme::kFirst;  // where a space is put before the text
  bool remove_extra_whitespaces = true, escape_whitespaces = true, whitespace_as_suffix = false;
};

// Throws InvalidData with a message that opens with `name`.
SentencePieceModel read_sentencepiece(std::string_view bytes, std::string_view name);

// All parts but the post-processor. Pieces of type control and unknown are special added tokens, user-defined ones plain added tokens.
std::unique_ptr<Parts> parts_from_model(SentencePieceModel model, std::string_view name);

}  // namespace lacuna::text
