// Normalizers rewrite the whole text before it is cut into words.
#include <algorithm>

#include "base/cat.h"
#include "lacuna/error.h"
#include "text/components.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

// Rebuilds `text` character by character: keep(code, out) appends what the character becomes, or returns false to drop it.
template <class Keep>
void rewrite(std::string& text, bool& dropped_front, Scratch& scratch, Keep&& keep) {
  std::string& out = scratch.rewritten;
  out.clear();
  for (size_t i = 0; i < text.size();) {
    Char c = char_at(text, i);
    if (!keep(c.code, out) && out.empty()) dropped_front = true;
    i += c.length;
  }
  text.swap(out);
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return uint8_t(c) < 0x80; });
}

void lowercase(std::string& text, Scratch& scratch) {
  if (is_ascii(text)) {
    for (char& c : text) c = c >= 'A' && c <= 'Z' ? char(c + 32) : c;
    return;
  }
  bool none = false;
  rewrite(text, none, scratch, [](char32_t c, std::string& out) {
    append_lower(out, c);
    return true;
  });
}

class BertNormalizer final : public Normalizer {
 public:
  BertNormalizer(bool clean_text, bool handle_chinese_chars, bool strip_accents, bool lowercase)
      : clean_text_(clean_text), handle_chinese_chars_(handle_chinese_chars), strip_accents_(strip_accents), lowercase_(lowercase) {}

  void apply(std::string& text, bool& dropped_front, Scratch& scratch) const override {
    if (clean_text_ || handle_chinese_chars_) {
      rewrite(text, dropped_front, scratch, [&](char32_t c, std::string& out) {
        if (clean_text_) {
          if (is_a(c, kControl)) return false;
          if (is_a(c, kWhitespace)) c = ' ';
        }
        bool spaced = handle_chinese_chars_ && is_chinese(c);
        if (spaced) out += ' ';
        append_utf8(out, c);
        if (spaced) out += ' ';
        return true;
      });
    }
    if (strip_accents_ && !is_ascii(text)) {
      normalize(text, NormalForm::kNfd);
      rewrite(text, dropped_front, scratch, [](char32_t c, std::string& out) {
        if (is_a(c, kNonspacingMark)) return false;
        append_utf8(out, c);
        return true;
      });
    }
    if (lowercase_) lowercase(text, scratch);
  }

 private:
  bool clean_text_, handle_chinese_chars_, strip_accents_, lowercase_;
};

class Lowercase final : public Normalizer {
 public:
  void apply(std::string& text, bool&, Scratch& scratch) const override { lowercase(text, scratch); }
};

class Form final : public Normalizer {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  void apply(std::string& text, bool&, Scratch&) const override { normalize(text, form_); }

 private:
  NormalForm form_;
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}

  void apply(std::string& text, bool& dropped_front, Scratch&) const override {
    size_t begin = 0, end = text.size();
    while (left_ && begin < end) {
      Char c = char_at(text, begin);
      if (!is_a(c.code, kWhitespace)) break;
      begin += c.length;
    }
    while (right_ && end > begin) {
      Char c = char_before(text, end);
      if (!is_a(c.code, kWhitespace)) break;
      end -= c.length;
    }
    text.resize(end);
    text.erase(0, begin);
    dropped_front |= begin > 0;
  }

 private:
  bool left_, right_;
};

class StripAccents final : public Normalizer {
 public:
  void apply(std::string& text, bool& dropped_front, Scratch& scratch) const override {
    if (is_ascii(text)) return;
    rewrite(text, dropped_front, scratch, [](char32_t c, std::string& out) {
      if (is_a(c, kMark)) return false;
      append_utf8(out, c);
      return true;
    });
  }
};

class ReplaceString final : public Normalizer {
 public:
  ReplaceString(std::string pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}

  void apply(std::string& text, bool& dropped_front, Scratch& scratch) const override {
    size_t at = text.find(pattern_);
    if (at == std::string::npos) return;
    std::string& out = scratch.rewritten;
    out.clear();
    size_t done = 0;
    for (; at != std::string::npos; at = text.find(pattern_, done)) {
      out.append(text, done, at - done).append(content_);
      if (out.empty()) dropped_front = true;
      done = at + pattern_.size();
      check_growth(text.size(), out.size(), "Replace");
    }
    out.append(text, done);
    text.swap(out);
  }

 private:
  std::string pattern_, content_;  // pattern_ is not empty
};

class ReplaceRegex final : public Normalizer {
 public:
  ReplaceRegex(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}

  void apply(std::string& text, bool& dropped_front, Scratch& scratch) const override {
    std::string& out = scratch.rewritten;
    out.clear();
    for_each_match(pattern_, text, scratch.regex, [&](size_t begin, size_t end, bool is_match) {
      if (!is_match) {
        out.append(text, begin, end - begin);
        return;
      }
      out += content_;
      if (out.empty()) dropped_front = true;
      check_growth(text.size(), out.size(), "Replace");
    });
    text.swap(out);
  }

 private:
  Regex pattern_;
  std::string content_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string& text, bool&, Scratch&) const override {
    if (!text.empty()) text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

// The white space rules of the nmt_nfkc normalization of sentencepiece.
class Nmt final : public Normalizer {
 public:
  void apply(std::string& text, bool& dropped_front, Scratch& scratch) const override {
    rewrite(text, dropped_front, scratch, [](char32_t c, std::string& out) {
      if ((c >= 0x01 && c <= 0x08) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f) return false;
      bool space = c == 0x09 || c == 0x0a || c == 0x0c || c == 0x0d || c == 0x1680 || (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 ||
                   c == 0x2581 || c == 0xfeff || c == 0xfffd;
      append_utf8(out, space ? U' ' : c);
      return true;
    });
  }
};

class ByteLevelNormalizer final : public Normalizer {
 public:
  void apply(std::string& text, bool&, Scratch& scratch) const override {
    scratch.rewritten.clear();
    append_byte_chars(scratch.rewritten, text);
    text.swap(scratch.rewritten);
  }
};

}  // namespace

void check_growth(size_t before, size_t after, std::string_view step) {
  if (after > growth_limit(before)) {
    throw InvalidData(cat("the step ", step, " makes ", before, " bytes of text grow to ", after, ", wanted at most ", growth_limit(before)));
  }
}

std::unique_ptr<Normalizer> make_bert_normalizer(bool clean_text, bool handle_chinese_chars, bool strip_accents, bool lowercase) {
  return std::make_unique<BertNormalizer>(clean_text, handle_chinese_chars, strip_accents, lowercase);
}
std::unique_ptr<Normalizer> make_lowercase_normalizer() { return std::make_unique<Lowercase>(); }
std::unique_ptr<Normalizer> make_form_normalizer(NormalForm form) { return std::make_unique<Form>(form); }
std::unique_ptr<Normalizer> make_strip_normalizer(bool left, bool right) { return std::make_unique<Strip>(left, right); }
std::unique_ptr<Normalizer> make_strip_accents_normalizer() { return std::make_unique<StripAccents>(); }
std::unique_ptr<Normalizer> make_replace_normalizer(std::string pattern, std::string content) {
  return std::make_unique<ReplaceString>(std::move(pattern), std::move(content));
}
std::unique_ptr<Normalizer> make_replace_normalizer(Regex pattern, std::string content) {
  return std::make_unique<ReplaceRegex>(std::move(pattern), std::move(content));
}
std::unique_ptr<Normalizer> make_prepend_normalizer(std::string prefix) { return std::make_unique<Prepend>(std::move(prefix)); }
std::unique_ptr<Normalizer> make_nmt_normalizer() { return std::make_unique<Nmt>(); }
std::unique_ptr<Normalizer> make_byte_level_normalizer() { return std::make_unique<ByteLevelNormalizer>(); }

}  // namespace lacuna::text
