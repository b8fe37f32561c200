// tokenizer.json -> components. Field names, spellings and defaults are those of the `tokenizers` library.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/cat.h"
#include "lacuna/error.h"
#include "text/base64.h"
#include "text/builder.h"
#include "text/components.h"
#include "text/digest.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

using nlohmann::json;

constexpr int kMaxNesting = 64;    // of brackets in the file
constexpr size_t kMaxStages = 64;  // of one kind of component

// One JSON value and where it is, for messages like "x/tokenizer.json: normalizer.pattern: ...".
class Node {
 public:
  Node(const json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  bool has(const char* key) const { return value_->is_object() && value_->contains(key) && !value_->at(key).is_null(); }
  Node at(const char* key) const {
    if (!value_->is_object()) wrong("an object");
    auto it = value_->find(key);
    if (it == value_->end()) throw InvalidData(cat(path_, ": '", key, "' is missing"));
    return Node(*it, cat(path_, '.', key));
  }
  template <class Visit>
  void each(Visit&& visit) const {
    if (!value_->is_array()) wrong("a list");
    size_t i = 0;
    for (const json& item : *value_) visit(Node(item, cat(path_, '[', i++, ']')));
  }
  size_t size() const { return value_->size(); }
  const std::string& string() const {
    if (!value_->is_string()) wrong("a string");
    return value_->get_ref<const std::string&>();
  }
  bool boolean() const {
    if (!value_->is_boolean()) wrong("true or false");
    return value_->get<bool>();
  }
  double number() const {
    if (!value_->is_number()) wrong("a number");
    return value_->get<double>();
  }
  int64_t integer(int64_t low, int64_t high) const {
    if (!value_->is_number_integer()) wrong("an integer");
    bool huge = value_->is_number_unsigned() && value_->get<uint64_t>() > uint64_t(INT64_MAX);
    if (huge || value_->get<int64_t>() < low || value_->get<int64_t>() > high) wrong(cat("an integer from ", low, " to ", high));
    return value_->get<int64_t>();
  }
  int32_t id() const { return int32_t(integer(0, INT32_MAX)); }

  std::string string_or(const char* key, std::string_view otherwise) const { return has(key) ? at(key).string() : std::string(otherwise); }
  bool boolean_or(const char* key, bool otherwise) const { return has(key) ? at(key).boolean() : otherwise; }

  const json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  [[noreturn]] void wrong(std::string_view wanted) const {
    std::string found = value_->is_primitive() ? value_->dump(-1, ' ', false, json::error_handler_t::replace) : std::string(value_->type_name());
    throw InvalidData(cat(path_, ": found ", found.substr(0, 80), ", wanted ", wanted));
  }
  [[noreturn]] void unknown(std::string_view kind, std::string_view type, std::string_view known) const {
    throw Unsupported(cat(path_, ": unknown ", kind, " '", type, "'; known: ", known));
  }

 private:
  const json* value_;
  std::string path_;
};

char32_t one_char(const Node& node) {
  const std::string& s = node.string();
  if (count_chars(s) != 1) node.wrong("one character");
  return char_at(s, 0).code;
}

// {"String": "..."} or {"Regex": "..."}
template <class Make>
auto with_pattern(const Node& pattern, Make&& make) {
  if (pattern.has("Regex")) return make(Regex(pattern.at("Regex").string()));
  const std::string& literal = pattern.at("String").string();
  if (literal.empty()) return make(Regex(""));
  return make(literal);
}

void flatten(const Node& node, const char* list, std::vector<Node>& out) {
  if (node.value().is_null()) return;
  if (node.at("type").string() != "Sequence") {
    if (out.size() >= kMaxStages) throw Unsupported(cat(node.path(), ": more than ", kMaxStages, " components in sequence"));
    out.push_back(node);
    return;
  }
  node.at(list).each([&](const Node& item) { flatten(item, list, out); });
}

std::unique_ptr<Normalizer> normalizer(const Node& n) {
  const std::string& type = n.at("type").string();
  if (type == "BertNormalizer") {
    bool lower = n.boolean_or("lowercase", true);
    return make_bert_normalizer(n.boolean_or("clean_text", true), n.boolean_or("handle_chinese_chars", true), n.boolean_or("strip_accents", lower),
                                lower);
  }
  if (type == "Lowercase") return make_lowercase_normalizer();
  if (type == "NFC") return make_form_normalizer(NormalForm::kNfc);
  if (type == "NFD") return make_form_normalizer(NormalForm::kNfd);
  if (type == "NFKC") return make_form_normalizer(NormalForm::kNfkc);
  if (type == "NFKD") return make_form_normalizer(NormalForm::kNfkd);
  if (type == "Strip" || type == "StripNormalizer") return make_strip_normalizer(n.boolean_or("strip_left", true), n.boolean_or("strip_right", true));
  if (type == "StripAccents") return make_strip_accents_normalizer();
  if (type == "Replace") {
    const std::string& content = n.at("content").string();
    return with_pattern(n.at("pattern"), [&](auto pattern) { return make_replace_normalizer(std::move(pattern), content); });
  }
  if (type == "Prepend") return make_prepend_normalizer(n.at("prepend").string());
  if (type == "Precompiled") {
    auto charsmap = decode_base64(n.at("precompiled_charsmap").string());
    if (!charsmap) n.at("precompiled_charsmap").wrong("base64");
    return make_precompiled_normalizer(*charsmap);
  }
  if (type == "Nmt") return make_nmt_normalizer();
  if (type == "ByteLevel") return make_byte_level_normalizer();
  n.unknown("normalizer", type,
            "BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD, Strip, StripAccents, Replace, Prepend, Precompiled, Nmt, ByteLevel, Sequence");
}

SplitBehavior split_behavior(const Node& node) {
  std::string name = node.string();
  std::string plain;
  for (char c : name) {
    if (c != '_') plain += c >= 'A' && c <= 'Z' ? char(c + 32) : c;
  }
  if (plain == "removed") return SplitBehavior::kRemoved;
  if (plain == "isolated") return SplitBehavior::kIsolated;
  if (plain == "mergedwithprevious") return SplitBehavior::kMergedWithPrevious;
  if (plain == "mergedwithnext") return SplitBehavior::kMergedWithNext;
  if (plain == "contiguous") return SplitBehavior::kContiguous;
  node.unknown("split behavior", name, "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

// Metaspace as written by all versions: prepend_scheme, or add_prefix_space before there was one.
PrependScheme prepend_scheme(const Node& n) {
  if (!n.has("prepend_scheme")) return n.boolean_or("add_prefix_space", true) ? PrependScheme::kAlways : PrependScheme::kNever;
  const std::string& name = n.at("prepend_scheme").string();
  if (name == "always") return PrependScheme::kAlways;
  if (name == "never") return PrependScheme::kNever;
  if (name == "first") return PrependScheme::kFirst;
  n.unknown("prepend_scheme", name, "always, never, first");
}

std::string metaspace_replacement(const Node& n) {
  one_char(n.at("replacement"));
  return n.at("replacement").string();
}

std::unique_ptr<PreTokenizer> pre_tokenizer(const Node& n) {
  const std::string& type = n.at("type").string();
  if (type == "ByteLevel") return make_byte_level_pre_tokenizer(n.boolean_or("add_prefix_space", true), n.boolean_or("use_regex", true));
  if (type == "Whitespace") return make_whitespace_pre_tokenizer();
  if (type == "WhitespaceSplit") return make_whitespace_split_pre_tokenizer();
  if (type == "BertPreTokenizer") return make_bert_pre_tokenizer();
  if (type == "Metaspace") return make_metaspace_pre_tokenizer(metaspace_replacement(n), prepend_scheme(n), n.boolean_or("split", true));
  if (type == "Punctuation") {
    return make_punctuation_pre_tokenizer(n.has("behavior") ? split_behavior(n.at("behavior")) : SplitBehavior::kIsolated);
  }
  if (type == "Digits") return make_digits_pre_tokenizer(n.boolean_or("individual_digits", false));
  if (type == "CharDelimiterSplit") return make_delimiter_pre_tokenizer(one_char(n.at("delimiter")));
  if (type == "Split") {
    SplitBehavior behavior = split_behavior(n.at("behavior"));
    bool invert = n.boolean_or("invert", false);
    return with_pattern(n.at("pattern"), [&](auto pattern) { return make_split_pre_tokenizer(std::move(pattern), behavior, invert); });
  }
  if (type == "UnicodeScripts") return make_unicode_scripts_pre_tokenizer();
  if (type == "FixedLength") return make_fixed_length_pre_tokenizer(size_t(n.has("length") ? n.at("length").integer(1, INT32_MAX) : 5));
  n.unknown("pre-tokenizer", type,
            "ByteLevel, Whitespace, WhitespaceSplit, BertPreTokenizer, Metaspace, Punctuation, Digits, CharDelimiterSplit, Split, UnicodeScripts, "
            "FixedLength, Sequence");
}

Vocabulary vocabulary_of(const Node& vocab) {
  if (!vocab.value().is_object()) vocab.wrong("an object of token: id");
  Vocabulary vocabulary(vocab.size());
  for (const auto& [token, id] : vocab.value().items()) {
    Node node(id, vocab.path());
    int32_t wanted = node.id();
    if (vocabulary.has(wanted)) {
      throw InvalidData(cat(vocab.path(), ": '", token, "' and '", vocabulary.token(wanted), "' both have id ", wanted, ", wanted different ids"));
    }
    vocabulary.add(token, wanted);
  }
  return vocabulary;
}

std::unique_ptr<Model> bpe(const Node& n) {
  Vocabulary vocabulary = vocabulary_of(n.at("vocab"));
  if (n.has("dropout") && n.at("dropout").number() != 0) {
    throw Unsupported(cat(n.path(), ".dropout: found ", n.at("dropout").number(), ", wanted none: it makes the ids of a text random"));
  }
  BpeOptions options;
  if (n.has("unk_token")) options.unk_token = n.at("unk_token").string();
  options.continuing_subword_prefix = n.string_or("continuing_subword_prefix", "");
  options.end_of_word_suffix = n.string_or("end_of_word_suffix", "");
  options.fuse_unk = n.boolean_or("fuse_unk", false);
  options.byte_fallback = n.boolean_or("byte_fallback", false);
  options.ignore_merges = n.boolean_or("ignore_merges", false);
  std::vector<Merge> merges;
  merges.reserve(n.at("merges").size());
  n.at("merges").each([&](const Node& m) {
    std::string_view left, right;
    if (m.value().is_array()) {
      if (m.size() != 2 || !m.value()[0].is_string() || !m.value()[1].is_string()) m.wrong("two tokens");
      left = m.value()[0].get_ref<const std::string&>();
      right = m.value()[1].get_ref<const std::string&>();
    } else {
      std::string_view both = m.string();
      if (both.starts_with("#version")) return;
      size_t space = both.find(' ');
      if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos) m.wrong("two tokens with a space between them");
      left = both.substr(0, space);
      right = both.substr(space + 1);
    }
    try {
      merges.push_back(named_merge(vocabulary, left, right, merges.size(), options.continuing_subword_prefix));
    } catch (const InvalidData& e) {
      throw InvalidData(cat(m.path(), ": ", e.what()));
    }
  });
  return make_bpe(std::move(vocabulary), merges, std::move(options));
}

std::unique_ptr<Model> unigram(const Node& n) {
  const Node vocab = n.at("vocab");
  Vocabulary vocabulary(vocab.size());
  std::vector<double> scores;
  vocab.each([&](const Node& entry) {
    if (!entry.value().is_array() || entry.size() != 2 || !entry.value()[0].is_string() || !entry.value()[1].is_number()) {
      entry.wrong("[token, score]");
    }
    vocabulary.add(entry.value()[0].get_ref<const std::string&>(), int64_t(scores.size()));
    scores.push_back(entry.value()[1].get<double>());
  });
  if (scores.empty()) vocab.wrong("at least one token");
  UnigramOptions options{.byte_fallback = n.boolean_or("byte_fallback", false)};
  if (n.has("unk_id")) options.unk = int32_t(n.at("unk_id").integer(0, int64_t(scores.size()) - 1));
  return make_unigram(std::move(vocabulary), std::move(scores), std::move(options));
}

std::unique_ptr<Model> wordpiece(const Node& n) {
  size_t max_chars = n.has("max_input_chars_per_word") ? size_t(n.at("max_input_chars_per_word").integer(0, INT32_MAX)) : 100;
  return make_wordpiece(vocabulary_of(n.at("vocab")), n.string_or("unk_token", "[UNK]"), n.string_or("continuing_subword_prefix", "##"), max_chars);
}

// Files of early versions do not name the model's type.
std::string model_type(const Node& n) {
  if (n.has("type")) return n.at("type").string();
  if (n.has("merges")) return "BPE";
  if (n.at("vocab").value().is_array()) return "Unigram";
  return n.has("continuing_subword_prefix") || n.has("max_input_chars_per_word") ? "WordPiece" : "WordLevel";
}

std::unique_ptr<Model> model(const Node& n) {
  std::string type = model_type(n);
  if (type == "BPE") return bpe(n);
  if (type == "WordPiece") return wordpiece(n);
  if (type == "WordLevel") return make_word_level(vocabulary_of(n.at("vocab")), n.string_or("unk_token", "<unk>"));
  if (type == "Unigram") return unigram(n);
  n.unknown("model", type, "BPE, WordPiece, WordLevel, Unigram");
}

std::vector<TemplatePiece> template_pieces(const Node& list, const Node& special_tokens, bool pair) {
  std::vector<TemplatePiece> pieces;
  list.each([&](const Node& item) {
    TemplatePiece piece;
    if (item.has("Sequence")) {
      const Node sequence = item.at("Sequence");
      const std::string& id = sequence.at("id").string();
      if (id != "A" && (id != "B" || !pair)) sequence.at("id").wrong(pair ? "A or B" : "A");
      piece.sequence = id == "A" ? 0 : 1;
      piece.type_id = sequence.at("type_id").id();
    } else {
      const Node special = item.at("SpecialToken");
      const Node token = special_tokens.at(special.at("id").string().c_str());
      token.at("ids").each([&](const Node& id) { piece.ids.push_back(id.id()); });
      piece.type_id = special.at("type_id").id();
    }
    pieces.push_back(std::move(piece));
  });
  return pieces;
}

// ["[SEP]", 102]
int32_t named_id(const Node& n) {
  if (!n.value().is_array() || n.size() != 2) n.wrong("[token, id]");
  return Node(n.value()[1], n.path() + "[1]").id();
}

// Null where the processor changes offsets only.
std::unique_ptr<PostProcessor> post_processor(const Node& n) {
  const std::string& type = n.at("type").string();
  if (type == "TemplateProcessing") {
    const Node special_tokens = n.at("special_tokens");
    return make_template_processor(template_pieces(n.at("single"), special_tokens, false), template_pieces(n.at("pair"), special_tokens, true));
  }
  if (type == "BertProcessing") return make_bert_processor(named_id(n.at("cls")), named_id(n.at("sep")));
  if (type == "RobertaProcessing") return make_roberta_processor(named_id(n.at("cls")), named_id(n.at("sep")));
  if (type == "ByteLevel") return nullptr;
  n.unknown("post-processor", type, "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence");
}

std::unique_ptr<Decoder> decoder(const Node& n) {
  const std::string& type = n.at("type").string();
  if (type == "ByteLevel") return make_byte_level_decoder();
  if (type == "WordPiece") return make_wordpiece_decoder(n.string_or("prefix", "##"), n.boolean_or("cleanup", true));
  if (type == "Metaspace") return make_metaspace_decoder(metaspace_replacement(n), prepend_scheme(n));
  if (type == "BPEDecoder") return make_bpe_decoder(n.string_or("suffix", "</w>"));
  if (type == "ByteFallback") return make_byte_fallback_decoder();
  if (type == "Fuse") return make_fuse_decoder();
  if (type == "Strip") {
    return make_strip_decoder(one_char(n.at("content")), size_t(n.at("start").integer(0, INT32_MAX)), size_t(n.at("stop").integer(0, INT32_MAX)));
  }
  if (type == "Replace") {
    const std::string& content = n.at("content").string();
    return with_pattern(n.at("pattern"), [&](auto pattern) { return make_replace_decoder(std::move(pattern), content); });
  }
  if (type == "CTC") {
    return make_ctc_decoder(n.string_or("pad_token", "<pad>"), n.string_or("word_delimiter_token", "|"), n.boolean_or("cleanup", true));
  }
  n.unknown("decoder", type, "ByteLevel, WordPiece, Metaspace, BPEDecoder, ByteFallback, Fuse, Strip, Replace, CTC, Sequence");
}

void read_added_tokens(const Node& list, Parts& parts) {
  list.each([&](const Node& n) {
    AddedToken token;
    token.content = n.at("content").string();
    if (n.has("id")) n.at("id").id();
    token.single_word = n.boolean_or("single_word", false);
    token.lstrip = n.boolean_or("lstrip", false);
    token.rstrip = n.boolean_or("rstrip", false);
    token.special = n.boolean_or("special", false);
    token.normalized = n.boolean_or("normalized", !token.special);
    parts.added.add(std::move(token), parts.model->vocabulary());
  });
}

// Refuses nesting that would make a recursive walk deep; brackets in strings do not count.
void check_nesting(std::string_view text, std::string_view name) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); i++) {
    char c = text[i];
    if (in_string) {
      if (c == '\\') i++;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxNesting) throw InvalidData(cat(name, ": nested more than ", kMaxNesting, " deep"));
    } else if (c == '}' || c == ']') {
      depth--;
    }
  }
}

void digest(Digest& d, const json& value) {
  if (value.is_object()) {
    d.add("{");
    for (const auto& [key, item] : value.items()) {
      d.add(key);
      digest(d, item);
    }
    d.add("}");
  } else if (value.is_array()) {
    d.add("[");
    for (const json& item : value) digest(d, item);
    d.add("]");
  } else if (value.is_string()) {
    d.add(value.get_ref<const std::string&>());
  } else {
    d.add(value.dump());
  }
}

}  // namespace

std::unique_ptr<Parts> parts_from_json(std::string_view text, std::string_view name) {
  check_nesting(text, name);
  json file;
  try {
    file = json::parse(text);
  } catch (const json::exception& e) {
    throw InvalidData(cat(name, ": not JSON: ", e.what()));
  }
  const Node root(file, std::string(name));
  auto parts = std::make_unique<Parts>();
  auto stages = [&](const char* key, const char* list) {
    std::vector<Node> found;
    if (root.has(key)) flatten(root.at(key), list, found);
    return found;
  };
  for (const Node& n : stages("normalizer", "normalizers")) parts->normalizers.push_back(normalizer(n));
  for (const Node& n : stages("pre_tokenizer", "pretokenizers")) parts->pre_tokenizers.push_back(pre_tokenizer(n));
  parts->model = model(root.at("model"));
  for (const Node& n : stages("post_processor", "processors")) {
    if (auto processor = post_processor(n)) parts->post_processors.push_back(std::move(processor));
  }
  for (const Node& n : stages("decoder", "decoders")) parts->decoders.push_back(decoder(n));
  parts->has_decoder = root.has("decoder");
  if (root.has("added_tokens")) read_added_tokens(root.at("added_tokens"), *parts);
  finish(*parts);

  Digest d;
  for (const char* key : {"added_tokens", "model", "normalizer", "post_processor", "pre_tokenizer"}) {
    d.add(key);
    if (root.has(key)) digest(d, file.at(key));
  }
  parts->hash = d.value();
  return parts;
}

}  // namespace lacuna::text

namespace lacuna {

std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, std::string_view name_for_errors) {
  return std::make_unique<Tokenizer>(text::parts_from_json(json, name_for_errors));
}

}  // namespace lacuna
