// The tokenizer of a GGUF file -> components, tokenizing as llama.cpp does.
#include <algorithm>
#include <bit>

#include "base/cat.h"
#include "lacuna/error.h"
#include "text/builder.h"
#include "text/digest.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

constexpr char kGpt2[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr char kLlama3[] = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kQwen2[] = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kTekken[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kGpt4o[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The names of tokenizer.ggml.pre and the patterns that cut the text, applied in order.
struct PreTokenizerName {
  std::string_view name;
  std::vector<std::string_view> patterns;
  bool ignore_merges = false;
};

const std::vector<PreTokenizerName>& known_pre_tokenizers() {
  static const std::vector<PreTokenizerName> known = {
      {"gpt-2", {kGpt2}},
      {"default", {kGpt2}},
      {"mpt", {kGpt2}},
      {"olmo", {kGpt2}},
      {"jais", {kGpt2}},
      {"phi-2", {kGpt2}},
      {"roberta-bpe", {kGpt2}},
      {"smollm", {R"(\p{N})", kGpt2}},
      {"starcoder", {R"(\p{N})", kGpt2}},
      {"refact", {R"(\p{N})", kGpt2}},
      {"command-r", {R"(\p{N})", kGpt2}},
      {"codeshell", {R"(\p{N})", kGpt2}},
      {"exaone", {R"(\p{N})", kGpt2}},
      {"llama-bpe", {kLlama3}, true},
      {"llama3", {kLlama3}, true},
      {"llama-v3", {kLlama3}, true},
      {"dbrx", {kLlama3}},
      {"smaug-bpe", {kLlama3}},
      {"qwen2", {kQwen2}},
      {"stablelm2", {kQwen2}},
      {"tekken", {kTekken}, true},
      {"gpt-4o", {kGpt4o}},
  };
  return known;
}

void check(const GgufVocabulary& v) {
  size_t count = v.tokens.size();
  if (count == 0) throw InvalidData("tokenizer.ggml.tokens: found none, wanted the vocabulary");
  auto same = [&](size_t found, std::string_view key) {
    if (found != 0 && found != count)
      throw InvalidData(cat("tokenizer.ggml.", key, ": found ", found, " entries, wanted one for each of the ", count, " tokens"));
  };
  same(v.scores.size(), "scores");
  same(v.types.size(), "token_type");
  for (auto [key, id] : {std::pair("bos_token_id", v.bos), {"eos_token_id", v.eos}, {"unknown_token_id", v.unk}}) {
    if (id < -1 || id >= int64_t(count)) throw InvalidData(cat("tokenizer.ggml.", key, ": found ", id, ", wanted one of the ", count, " tokens"));
  }
}

std::string utf8(std::string_view bytes) {
  std::string out;
  append_lossy(out, bytes);
  return out;
}

void add_tokens_by_type(const GgufVocabulary& v, Parts& parts) {
  for (size_t i = 0; i < v.types.size(); i++) {
    int32_t type = v.types[i];
    if (type != kUnknown && type != kControlPiece && type != kUserDefined) continue;
    std::string content = utf8(v.tokens[i]);
    if (parts.model->vocabulary().find(content) != int32_t(i)) continue;  // another token of the same text comes later
    parts.added.add({.content = std::move(content), .special = type != kUserDefined}, parts.model->vocabulary());
  }
}

std::unique_ptr<Parts> byte_level(const GgufVocabulary& v) {
  const auto& known = known_pre_tokenizers();
  std::string name = v.pre.empty() ? "default" : v.pre;
  auto pre = std::find_if(known.begin(), known.end(), [&](const PreTokenizerName& p) { return p.name == name; });
  if (pre == known.end()) {
    std::vector<std::string> names;
    for (const auto& p : known) names.emplace_back(p.name);
    throw Unsupported(cat("tokenizer.ggml.pre: unknown pre-tokenizer '", name, "'; known: ", join(names)));
  }
  auto parts = std::make_unique<Parts>();
  Vocabulary vocabulary(v.tokens.size());
  for (size_t i = 0; i < v.tokens.size(); i++) vocabulary.add(utf8(v.tokens[i]), int64_t(i));
  std::vector<Merge> merges;
  for (const std::string& both : v.merges) {
    // The space between the two is the first one behind the first character, as llama.cpp looks for it.
    size_t space = both.find(' ', 1);
    if (space == std::string::npos)
      throw InvalidData(
          cat("tokenizer.ggml.merges: entry ", merges.size(), ": found '", both.substr(0, 80), "', wanted two tokens with a space between them"));
    try {
      merges.push_back(named_merge(vocabulary, both.substr(0, space), both.substr(space + 1), merges.size(), ""));
    } catch (const InvalidData& e) {
      throw InvalidData(cat("tokenizer.ggml.merges: ", e.what()));
    }
  }
  for (std::string_view pattern : pre->patterns) {
    parts->pre_tokenizers.push_back(make_split_pre_tokenizer(Regex(pattern), SplitBehavior::kIsolated, false));
  }
  parts->pre_tokenizers.push_back(make_byte_level_pre_tokenizer(false, false));
  parts->model = make_bpe(std::move(vocabulary), merges, {.ignore_merges = pre->ignore_merges});
  add_tokens_by_type(v, *parts);
  parts->decoders.push_back(make_byte_level_decoder());
  parts->has_decoder = true;
  set_bos_eos(*parts, v.add_bos ? v.bos : -1, v.add_eos ? v.eos : -1);
  return parts;
}

std::unique_ptr<Parts> sentencepiece(const GgufVocabulary& v) {
  if (v.scores.empty()) throw InvalidData("tokenizer.ggml.scores: missing, wanted one for each token of a 'llama' tokenizer");
  SentencePieceModel model;
  for (const std::string& token : v.tokens) model.pieces.push_back(utf8(token));
  model.scores = v.scores;
  model.types = v.types;
  if (model.types.empty()) model.types.assign(v.tokens.size(), kNormal);
  model.unigram = false;
  model.byte_fallback = true;
  model.unk = v.unk;
  model.bos = v.bos;
  model.eos = v.eos;
  model.remove_extra_whitespaces = false;
  model.prefix = v.add_space_prefix ? PrependScheme::kAlways : PrependScheme::kNever;
  std::unique_ptr<Parts> parts = parts_from_model(std::move(model), "tokenizer.ggml");
  set_bos_eos(*parts, v.add_bos ? v.bos : -1, v.add_eos ? v.eos : -1);
  return parts;
}

// Words carry the mark of a space and their continuations carry nothing: the reverse of BERT's own "##".
std::string bert_token(std::string_view token) {
  constexpr std::string_view kSpace = "\xe2\x96\x81";
  if (token.starts_with('[') && token.ends_with(']')) return std::string(token);
  if (token.starts_with(kSpace)) return std::string(token.substr(kSpace.size()));
  return cat("##", token);
}

std::unique_ptr<Parts> bert(const GgufVocabulary& v) {
  Vocabulary vocabulary(v.tokens.size());
  for (size_t i = 0; i < v.tokens.size(); i++) vocabulary.add(bert_token(utf8(v.tokens[i])), int64_t(i));
  auto special = [&](int32_t id, std::string_view name) {
    if (id < 0) id = vocabulary.find(name);
    if (id < 0) throw InvalidData(cat("tokenizer.ggml.tokens: '", name, "' is missing, wanted for a 'bert' tokenizer"));
    return id;
  };
  int32_t cls = special(v.bos, "[CLS]"), sep = special(v.eos, "[SEP]"), unk = special(v.unk, "[UNK]");
  auto parts = std::make_unique<Parts>();
  parts->normalizers.push_back(make_bert_normalizer(true, true, true, true));
  parts->pre_tokenizers.push_back(make_bert_pre_tokenizer());
  std::string unk_token(vocabulary.token(unk));
  parts->model = make_wordpiece(std::move(vocabulary), unk_token, "##", 1024);
  for (std::string_view name : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    if (parts->model->vocabulary().find(name) >= 0) parts->added.add({.content = std::string(name), .special = true}, parts->model->vocabulary());
  }
  parts->decoders.push_back(make_wordpiece_decoder("##", true));
  parts->has_decoder = true;
  parts->post_processors.push_back(make_bert_processor(cls, sep));
  return parts;
}

std::string hash_of(const GgufVocabulary& v) {
  Digest d;
  d.add("gguf");
  d.add(v.model);
  d.add(v.pre);
  for (const std::string& token : v.tokens) d.add(token);
  for (float score : v.scores) d.add(std::to_string(std::bit_cast<uint32_t>(score)));
  for (int32_t type : v.types) d.add(std::to_string(type));
  for (const std::string& merge : v.merges) d.add(merge);
  d.add(cat(v.bos, ' ', v.eos, ' ', v.unk, ' ', v.add_bos, v.add_eos, v.add_space_prefix));
  return d.value();
}

}  // namespace
}  // namespace lacuna::text

namespace lacuna {

std::unique_ptr<Tokenizer> tokenizer_from_gguf(const GgufVocabulary& vocabulary) {
  using namespace text;
  check(vocabulary);
  std::unique_ptr<Parts> parts;
  if (vocabulary.model == "gpt2") {
    parts = byte_level(vocabulary);
  } else if (vocabulary.model == "llama") {
    parts = text::sentencepiece(vocabulary);
  } else if (vocabulary.model == "bert") {
    parts = bert(vocabulary);
  } else {
    throw Unsupported(cat("tokenizer.ggml.model: unknown tokenizer '", vocabulary.model, "'; known: gpt2, llama, bert"));
  }
  parts->hash = hash_of(vocabulary);
  finish(*parts);
  return std::make_unique<Tokenizer>(std::move(parts));
}

}  // namespace lacuna
