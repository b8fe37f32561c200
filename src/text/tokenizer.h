// Text to token ids and back, id by id as the Hugging Face `tokenizers` library does it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

namespace text {
struct Parts;
struct Scratch;
}  // namespace text

// The composition a tokenizer.json states: added tokens, normalizer, pre-tokenizer, model, post-processor, decoder.
// All const members may be called from several threads at once.
//
// Text is UTF-8; bytes that are not become U+FFFD as Python's decode(errors="replace") makes them.
// The truncation and padding sections of a tokenizer.json do not apply: encode() returns every id of the text and no more.
class Tokenizer {
 public:
  explicit Tokenizer(std::unique_ptr<text::Parts> parts);
  virtual ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Ids of `text`. With add_special_tokens the post-processor's own special tokens are added (BOS, [CLS] ... [SEP]).
  // Special tokens written in the text are recognised.
  // Throws: InvalidData where the text needs a token that the vocabulary lacks (its unknown token), or a normalizer makes it grow
  //         without bound; Unsupported where a regex takes too many steps.
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens = true) const;

  struct Encoding {
    std::vector<int32_t> ids, type_ids;
  };
  // Two texts in one sequence, for BERT-like models.
  Encoding encode_pair(std::string_view first, std::string_view second, bool add_special_tokens = true) const;

  // Text of `ids`; ids outside the vocabulary give nothing.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  int64_t vocab_size() const;  // different tokens, added ones included
  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(int32_t id) const;
  // Hash of everything that determines the ids, 32 hexadecimal digits (XXH3); the same for the same files on every machine.
  std::string hash() const;

 private:
  struct ScratchLease;
  std::unique_ptr<text::Parts> parts_;
};

// From a directory: tokenizer.json, else vocab.json + merges.txt (byte-level BPE as GPT-2, RoBERTa and Qwen2 use it), else vocab.txt
// (BERT), else tokenizer.model* (sentencepiece: BPE or unigram); or from one such .json or .model file. tokenizer_config.json is read beside them:
// do_lower_case and its kin, the names of special tokens, added tokens, and add_bos_token and add_eos_token where there is no tokenizer.json (which
// settles these). Throws: NotFound naming what was looked for; InvalidData; Unsupported naming the component that is not known.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

// From the text of a tokenizer.json. `name_for_errors` opens the messages.
std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, std::string_view name_for_errors);

// The tokenizer.ggml.* metadata of a GGUF file.
struct GgufVocabulary {
  std::string model;                // "gpt2" (byte-level BPE), "llama" (sentencepiece BPE) or "bert" (WordPiece)
  std::string pre;                  // name of the pre-tokenizer, for "gpt2"
  std::vector<std::string> tokens;  // by id
  std::vector<float> scores;        // "llama": one per token
  std::vector<int32_t> types;       // per token: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte; empty: all normal
  std::vector<std::string> merges;  // "gpt2": "left right", best first
  int32_t bos = -1, eos = -1, unk = -1;
  bool add_bos = false, add_eos = false, add_space_prefix = true;
};
// Throws: Unsupported for an unknown model or pre-tokenizer (listing the known ones), InvalidData.
std::unique_ptr<Tokenizer> tokenizer_from_gguf(const GgufVocabulary& vocabulary);

// Turns a growing sequence of ids into text piece by piece, for printing while generating: no character is cut in the middle, and the
// pieces together are what decode() of the whole gives. `context` (the prompt) is not printed; it decides on leading spaces.
class TokenStream {
 public:
  explicit TokenStream(const Tokenizer& tokenizer, std::span<const int32_t> context = {}, bool skip_special_tokens = true);
  // The text that `id` completes; empty while a character is unfinished.
  std::string push(int32_t id);
  // What is left: an unfinished character becomes U+FFFD.
  std::string finish();

 private:
  std::string take(bool all);

  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  std::vector<int32_t> ids_;  // a window over the last ids: those before printed_ are context for those after
  size_t printed_ = 0;
};

}  // namespace lacuna
