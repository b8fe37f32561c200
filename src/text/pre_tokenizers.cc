// Pre-tokenizers cut text into the words that the model sees, and some rewrite it on the way.
#include <algorithm>
#include <array>

#include "text/components.h"
#include "text/splitting.h"
#include "text/unicode.h"
#include "text/unicode_scripts.h"

namespace lacuna::text {
namespace {

constexpr char kGpt2Pattern[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space) {
    if (use_regex) regex_.emplace(kGpt2Pattern);
  }

  void split(const Piece& piece, const Sink& next) const override {
    Piece whole = piece;
    if (add_prefix_space_ && !piece.text.empty() && piece.text[0] != ' ') {
      std::string& prefixed = next.buffer(0);
      prefixed.assign(1, ' ').append(piece.text);
      whole.text = prefixed;
    }
    std::string& mapped = next.buffer(1);
    auto emit = [&](size_t begin, size_t end, bool) {
      mapped.clear();
      append_byte_chars(mapped, whole.text.substr(begin, end - begin));
      bool front = begin == 0 && whole.first_char_at_origin;
      next({mapped, front, front});
    };
    if (regex_) {
      for_each_match(*regex_, whole.text, next.scratch().regex, emit);
    } else {
      mapped.clear();
      append_byte_chars(mapped, whole.text);
      next({mapped, whole.at_origin, whole.first_char_at_origin});
    }
  }

 private:
  bool add_prefix_space_;
  std::optional<Regex> regex_;
};

class InClass {
 public:
  explicit InClass(uint8_t classes) : classes_(classes) {}
  bool operator()(char32_t c) const { return is_a(c, table_, classes_); }

 private:
  const CharClasses& table_ = char_classes();
  uint8_t classes_;
};

// Cuts where `in_class` holds, character by character.
template <class Predicate>
void split_characters(const Piece& piece, const Sink& next, SplitBehavior behavior, Predicate&& in_class) {
  Splitter splitter(piece, next, behavior, false);
  size_t begin = 0;
  for (size_t i = 0; i < piece.text.size();) {
    Char c = char_at(piece.text, i);
    if (in_class(c.code)) {
      if (begin < i) splitter(begin, i, false);
      splitter(i, i + c.length, true);
      begin = i + c.length;
    }
    i += c.length;
  }
  if (begin < piece.text.size()) splitter(begin, piece.text.size(), false);
  splitter.finish();
}

// \w+|[^\w\s]+
class Whitespace final : public PreTokenizer {
 public:
  void split(const Piece& piece, const Sink& next) const override {
    const CharClasses& table = char_classes();
    enum { kSpace, kLetters, kOther } run = kSpace, kind;
    size_t begin = 0;
    for (size_t i = 0; i < piece.text.size();) {
      Char c = char_at(piece.text, i);
      kind = is_a(c.code, table, text::kWord) ? kLetters : is_a(c.code, table, kWhitespace) ? kSpace : kOther;
      if (kind != run) {
        if (run != kSpace) next(piece, begin, i);
        begin = i;
        run = kind;
      }
      i += c.length;
    }
    if (run != kSpace) next(piece, begin, piece.text.size());
  }
};

class WhitespaceSplit final : public PreTokenizer {
 public:
  void split(const Piece& piece, const Sink& next) const override { split_characters(piece, next, SplitBehavior::kRemoved, InClass(kWhitespace)); }
};

class Bert final : public PreTokenizer {
 public:
  void split(const Piece& piece, const Sink& next) const override {
    const CharClasses& table = char_classes();
    size_t begin = 0;
    for (size_t i = 0; i < piece.text.size();) {
      Char c = char_at(piece.text, i);
      bool punctuation = is_a(c.code, table, kPunctuation);
      if (punctuation || is_a(c.code, table, kWhitespace)) {
        if (begin < i) next(piece, begin, i);
        if (punctuation) next(piece, i, i + c.length);
        begin = i + c.length;
      }
      i += c.length;
    }
    if (begin < piece.text.size()) next(piece, begin, piece.text.size());
  }
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split) : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}

  void split(const Piece& piece, const Sink& next) const override {
    std::string& text = next.buffer(0);
    text.clear();
    bool prepend = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && piece.at_origin);
    bool marked = piece.text.starts_with(' ') || piece.text.starts_with(replacement_);
    if (prepend && !marked) text += replacement_;
    for (size_t i = 0; i < piece.text.size();) {
      size_t space = std::min(piece.text.find(' ', i), piece.text.size());
      text += piece.text.substr(i, space - i);
      if (space < piece.text.size()) text += replacement_;
      i = space + 1;
    }
    Piece rewritten{text, piece.at_origin, piece.first_char_at_origin};
    if (!split_) return next(rewritten);
    Splitter splitter(rewritten, next, SplitBehavior::kMergedWithNext, false);
    size_t begin = 0;
    for (size_t at; (at = text.find(replacement_, begin)) != std::string::npos; begin = at + replacement_.size()) {
      if (begin < at) splitter(begin, at, false);
      splitter(at, at + replacement_.size(), true);
    }
    if (begin < text.size()) splitter(begin, text.size(), false);
    splitter.finish();
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

class Punctuation final : public PreTokenizer {
 public:
  explicit Punctuation(SplitBehavior behavior) : behavior_(behavior) {}
  void split(const Piece& piece, const Sink& next) const override { split_characters(piece, next, behavior_, InClass(kPunctuation)); }

 private:
  SplitBehavior behavior_;
};

class Digits final : public PreTokenizer {
 public:
  explicit Digits(bool individual) : behavior_(individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous) {}
  void split(const Piece& piece, const Sink& next) const override { split_characters(piece, next, behavior_, InClass(kNumeric)); }

 private:
  SplitBehavior behavior_;
};

class Delimiter final : public PreTokenizer {
 public:
  explicit Delimiter(char32_t delimiter) : delimiter_(delimiter) {}
  void split(const Piece& piece, const Sink& next) const override {
    split_characters(piece, next, SplitBehavior::kRemoved, [&](char32_t c) { return c == delimiter_; });
  }

 private:
  char32_t delimiter_;
};

class SplitByString final : public PreTokenizer {
 public:
  SplitByString(std::string pattern, SplitBehavior behavior, bool invert) : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void split(const Piece& piece, const Sink& next) const override {
    Splitter splitter(piece, next, behavior_, invert_);
    size_t begin = 0;
    for (size_t at; (at = piece.text.find(pattern_, begin)) != std::string_view::npos; begin = at + pattern_.size()) {
      if (begin < at) splitter(begin, at, false);
      splitter(at, at + pattern_.size(), true);
    }
    if (begin < piece.text.size()) splitter(begin, piece.text.size(), false);
    splitter.finish();
  }

 private:
  std::string pattern_;  // not empty
  SplitBehavior behavior_;
  bool invert_;
};

class SplitByRegex final : public PreTokenizer {
 public:
  SplitByRegex(Regex pattern, SplitBehavior behavior, bool invert) : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void split(const Piece& piece, const Sink& next) const override {
    Splitter splitter(piece, next, behavior_, invert_);
    for_each_match(pattern_, piece.text, next.scratch().regex, splitter);
    splitter.finish();
  }

 private:
  Regex pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Cuts where the script changes. Spaces belong to the script before them; those at the very front are dropped.
class UnicodeScripts final : public PreTokenizer {
 public:
  void split(const Piece& piece, const Sink& next) const override {
    constexpr int kAny = -1;
    int script = kAny;
    bool started = false;
    size_t begin = 0;
    for (size_t i = 0; i < piece.text.size();) {
      Char c = char_at(piece.text, i);
      int here = c.code == ' ' ? kAny : joined_script(c.code);
      if (here != kAny) {
        if (!started || here != script) {
          if (started) next(piece, begin, i);
          begin = i;
          started = true;
        }
        script = here;
      }
      i += c.length;
    }
    if (started) next(piece, begin, piece.text.size());
  }
};

class FixedLength final : public PreTokenizer {
 public:
  explicit FixedLength(size_t length) : length_(length) {}
  void split(const Piece& piece, const Sink& next) const override {
    size_t begin = 0, chars = 0;
    for (size_t i = 0; i < piece.text.size(); i += char_at(piece.text, i).length) {
      if (chars == length_) {
        next(piece, begin, i);
        begin = i;
        chars = 0;
      }
      chars++;
    }
    next(piece, begin, piece.text.size());
  }

 private:
  size_t length_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_byte_level_pre_tokenizer(bool add_prefix_space, bool use_regex) {
  return std::make_unique<ByteLevel>(add_prefix_space, use_regex);
}
std::unique_ptr<PreTokenizer> make_whitespace_pre_tokenizer() { return std::make_unique<Whitespace>(); }
std::unique_ptr<PreTokenizer> make_whitespace_split_pre_tokenizer() { return std::make_unique<WhitespaceSplit>(); }
std::unique_ptr<PreTokenizer> make_bert_pre_tokenizer() { return std::make_unique<Bert>(); }
std::unique_ptr<PreTokenizer> make_metaspace_pre_tokenizer(std::string replacement, PrependScheme scheme, bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), scheme, split);
}
std::unique_ptr<PreTokenizer> make_punctuation_pre_tokenizer(SplitBehavior behavior) { return std::make_unique<Punctuation>(behavior); }
std::unique_ptr<PreTokenizer> make_digits_pre_tokenizer(bool individual) { return std::make_unique<Digits>(individual); }
std::unique_ptr<PreTokenizer> make_delimiter_pre_tokenizer(char32_t delimiter) { return std::make_unique<Delimiter>(delimiter); }
std::unique_ptr<PreTokenizer> make_split_pre_tokenizer(std::string pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<SplitByString>(std::move(pattern), behavior, invert);
}
std::unique_ptr<PreTokenizer> make_split_pre_tokenizer(Regex pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<SplitByRegex>(std::move(pattern), behavior, invert);
}
std::unique_ptr<PreTokenizer> make_unicode_scripts_pre_tokenizer() { return std::make_unique<UnicodeScripts>(); }
std::unique_ptr<PreTokenizer> make_fixed_length_pre_tokenizer(size_t length) { return std::make_unique<FixedLength>(length); }

}  // namespace lacuna::text
