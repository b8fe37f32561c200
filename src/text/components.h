// The kinds of parts a tokenizer is composed of, and the order in which they work:
//   text -> added tokens cut out -> normalizers -> added tokens cut out -> pre-tokenizers -> model -> post-processors -> ids
//   ids -> tokens -> decoders -> text
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/regex.h"
#include "text/unicode.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace lacuna::text {

// A stretch of text on its way through the pipeline. Only Metaspace asks where it came from: it may prepend to the first word only.
struct Piece {
  std::string_view text;
  bool at_origin = false;             // it begins where the input begins
  bool first_char_at_origin = false;  // so does its first character (false once a normalizer has dropped what was before it)
};

struct Scratch;

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Rewrites `text`; sets `dropped_front` when characters at its beginning went away without replacement.
  virtual void apply(std::string& text, bool& dropped_front, Scratch& scratch) const = 0;
};

// Continues with pieces: the next pre-tokenizer, or the model behind the last one.
class Sink {
 public:
  Sink(const struct Parts& parts, size_t stage, Scratch& scratch, std::vector<int32_t>& ids)
      : parts_(parts), stage_(stage), scratch_(scratch), ids_(ids) {}
  void operator()(const Piece& piece) const;
  // The part [begin, end) of `whole`.
  void operator()(const Piece& whole, size_t begin, size_t end) const {
    bool front = begin == 0 && whole.first_char_at_origin;
    (*this)({whole.text.substr(begin, end - begin), front, front});
  }
  Scratch& scratch() const { return scratch_; }
  std::string& buffer(int which = 0) const;  // two of the splitting stage's own, for text it rewrites

 private:
  const struct Parts& parts_;
  size_t stage_;
  Scratch& scratch_;
  std::vector<int32_t>& ids_;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Hands the parts of `piece` to `next` in order. Empty parts are dropped by the sink.
  virtual void split(const Piece& piece, const Sink& next) const = 0;
};

class Model {
 public:
  explicit Model(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~Model() = default;
  // Appends the ids of one word (not empty).
  virtual void tokenize(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const = 0;
  // End of the part of text at `begin` whose ids do not depend on what follows, so that it can be cached by itself.
  virtual size_t independent_end(std::string_view text, size_t /*begin*/) const { return text.size(); }
  // The id of a whole piece that is looked up before any splitting, or -1.
  virtual int32_t whole(std::string_view) const { return -1; }
  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  Vocabulary vocabulary_;
};

// What the post-processors pass on: runs of ids, the first text's first.
struct Segment {
  std::vector<int32_t> ids, type_ids;  // type_ids of equal length
};

class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  virtual void apply(std::vector<Segment>& segments, bool add_special_tokens) const = 0;
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  // The text is the tokens joined.
  virtual void apply(std::vector<std::string>& tokens, Scratch& scratch) const = 0;
};

// Working memory of one encode or decode at a time; the cache of words lives on in it.
struct Scratch {
  RegexScratch regex;
  WordCache cache;
  std::vector<std::string> buffers;  // two per pre-tokenizer
  std::string input, segment;        // the text, and one part of it between added tokens
  std::string rewritten;             // what a normalizer writes
  uint64_t budget = 0;               // bytes that may still pass between pre-tokenizers: chains of them can grow exponentially

  struct Symbol {  // BPE: one symbol of a word, linked to its neighbours
    int32_t id, merged;
    uint32_t rank;  // of the pair with the next symbol, giving `merged`
    int32_t previous, next;
  };
  std::vector<Symbol> symbols;
  std::vector<uint64_t> candidates;  // a heap of rank << 32 | symbol

  struct Node {  // Unigram: the best way to reach one byte position
    double score;
    int32_t id;
    uint32_t length;
  };
  std::vector<Node> lattice;

  // Gives back what one very long text needed.
  void shrink();
};

struct Parts {
  AddedTokens added;
  std::vector<std::unique_ptr<Normalizer>> normalizers;
  std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizers;
  std::unique_ptr<Model> model;
  std::vector<std::unique_ptr<PostProcessor>> post_processors;
  std::vector<std::unique_ptr<Decoder>> decoders;
  bool has_decoder = false;  // without one, tokens are joined by spaces
  std::string hash;

  // All but the post-processing.
  std::vector<int32_t> encode_text(std::string_view bytes, Scratch& scratch) const;
  void normalize(std::string& text, bool& dropped_front, Scratch& scratch) const;
  // Pre-tokenizers and model on one stretch of normalized text.
  void encode_piece(const Piece& piece, Scratch& scratch, std::vector<int32_t>& ids) const;
  // The model on one word, by way of the cache.
  void encode_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

  std::mutex mutex;
  std::vector<std::unique_ptr<Scratch>> idle;  // guarded by mutex
};

// What `before` bytes may become: more than any real tokenizer makes of them, little enough for memory.
constexpr size_t growth_limit(size_t before) { return before * 64 + (size_t(1) << 20); }
// Throws InvalidData beyond that, naming the step.
void check_growth(size_t before, size_t after, std::string_view step);
size_t total_size(const std::vector<std::string>& tokens);

// How a pattern cuts text (SplitDelimiterBehavior).
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// normalizers.cc
std::unique_ptr<Normalizer> make_bert_normalizer(bool clean_text, bool handle_chinese_chars, bool strip_accents, bool lowercase);
std::unique_ptr<Normalizer> make_lowercase_normalizer();
std::unique_ptr<Normalizer> make_form_normalizer(NormalForm form);
std::unique_ptr<Normalizer> make_strip_normalizer(bool left, bool right);
std::unique_ptr<Normalizer> make_strip_accents_normalizer();
std::unique_ptr<Normalizer> make_replace_normalizer(std::string pattern, std::string content);
std::unique_ptr<Normalizer> make_replace_normalizer(Regex pattern, std::string content);
std::unique_ptr<Normalizer> make_prepend_normalizer(std::string prefix);
std::unique_ptr<Normalizer> make_nmt_normalizer();
std::unique_ptr<Normalizer> make_byte_level_normalizer();
// precompiled.cc
std::unique_ptr<Normalizer> make_precompiled_normalizer(std::string_view charsmap);  // as `tokenizers` applies it, by graphemes

// pre_tokenizers.cc
std::unique_ptr<PreTokenizer> make_byte_level_pre_tokenizer(bool add_prefix_space, bool use_regex);
std::unique_ptr<PreTokenizer> make_whitespace_pre_tokenizer();
std::unique_ptr<PreTokenizer> make_whitespace_split_pre_tokenizer();
std::unique_ptr<PreTokenizer> make_bert_pre_tokenizer();
enum class PrependScheme { kNever, kFirst, kAlways };
std::unique_ptr<PreTokenizer> make_metaspace_pre_tokenizer(std::string replacement, PrependScheme scheme, bool split);
std::unique_ptr<PreTokenizer> make_punctuation_pre_tokenizer(SplitBehavior behavior);
std::unique_ptr<PreTokenizer> make_digits_pre_tokenizer(bool individual);
std::unique_ptr<PreTokenizer> make_delimiter_pre_tokenizer(char32_t delimiter);
std::unique_ptr<PreTokenizer> make_split_pre_tokenizer(std::string pattern, SplitBehavior behavior, bool invert);
std::unique_ptr<PreTokenizer> make_split_pre_tokenizer(Regex pattern, SplitBehavior behavior, bool invert);
std::unique_ptr<PreTokenizer> make_unicode_scripts_pre_tokenizer();
std::unique_ptr<PreTokenizer> make_fixed_length_pre_tokenizer(size_t length);

// bpe.cc
struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix, end_of_word_suffix;
  bool fuse_unk = false, byte_fallback = false, ignore_merges = false;
};
struct Merge {
  int32_t left, right, merged;
  uint32_t rank;  // lower first; of equal ranks the leftmost first
};
std::unique_ptr<Model> make_bpe(Vocabulary vocabulary, const std::vector<Merge>& merges, BpeOptions options);
// Merge `left right` of rank `rank`. Throws InvalidData naming the token that the vocabulary lacks.
Merge named_merge(const Vocabulary& vocabulary, std::string_view left, std::string_view right, size_t rank, std::string_view subword_prefix);
// wordpiece.cc
std::unique_ptr<Model> make_wordpiece(Vocabulary vocabulary, std::string unk_token, std::string prefix, size_t max_chars);
std::unique_ptr<Model> make_word_level(Vocabulary vocabulary, std::string unk_token);
// unigram.cc
struct UnigramOptions {
  std::optional<int32_t> unk;
  bool byte_fallback = false;
  bool single_precision = false;  // scores are added up in float, as sentencepiece does
  std::vector<bool> searched;     // by id: whether the token is looked for in text; empty: all are
};
std::unique_ptr<Model> make_unigram(Vocabulary vocabulary, std::vector<double> scores, UnigramOptions options);
// The ids of <0x00> ... <0xFF>, -1 where one is missing.
std::vector<int32_t> byte_token_ids(const Vocabulary& vocabulary);

// post_processors.cc
struct TemplatePiece {
  int sequence = -1;  // 0 or 1: that text; -1: the ids below
  std::vector<int32_t> ids;
  int32_t type_id = 0;
};
std::unique_ptr<PostProcessor> make_template_processor(std::vector<TemplatePiece> single, std::vector<TemplatePiece> pair);
std::unique_ptr<PostProcessor> make_bert_processor(int32_t cls, int32_t sep);
std::unique_ptr<PostProcessor> make_roberta_processor(int32_t cls, int32_t sep);

// decoders.cc
std::unique_ptr<Decoder> make_byte_level_decoder();
std::unique_ptr<Decoder> make_wordpiece_decoder(std::string prefix, bool cleanup);
std::unique_ptr<Decoder> make_metaspace_decoder(std::string replacement, PrependScheme scheme);
std::unique_ptr<Decoder> make_bpe_decoder(std::string suffix);
std::unique_ptr<Decoder> make_byte_fallback_decoder();
std::unique_ptr<Decoder> make_fuse_decoder();
std::unique_ptr<Decoder> make_strip_decoder(char32_t content, size_t start, size_t stop);
std::unique_ptr<Decoder> make_replace_decoder(std::string pattern, std::string content);
std::unique_ptr<Decoder> make_replace_decoder(Regex pattern, std::string content);
std::unique_ptr<Decoder> make_ctc_decoder(std::string pad_token, std::string word_delimiter, bool cleanup);

}  // namespace lacuna::text
