// Decoders turn the tokens of some ids back into text, step by step; the text is the tokens joined.
#include <algorithm>

#include "text/components.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

std::string joined(const std::vector<std::string>& tokens) {
  std::string out;
  for (const std::string& t : tokens) out += t;
  return out;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  size_t at = text.find(from);
  if (at == std::string::npos) return;
  std::string out;
  size_t done = 0;
  for (; at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done).append(to);
    done = at + from.size();
    check_growth(text.size(), out.size(), "Replace");
  }
  text = out.append(text, done);
}

// Undoes the spaces that English tokenization puts before punctuation and contractions.
void clean_up(std::string& text) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (auto [from, to] : kRules) replace_all(text, from, to);
}

class ByteLevel final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens, Scratch&) const override {
    std::string bytes;
    for (const std::string& token : tokens) append_bytes(bytes, token);
    std::string text;
    append_lossy(text, bytes);
    tokens.assign(1, text);
  }

 private:
  // A token with a character that stands for no byte is taken as it is.
  static void append_bytes(std::string& out, const std::string& token) {
    size_t before = out.size();
    for (size_t i = 0; i < token.size();) {
      Char c = char_at(token, i);
      int byte = byte_of_char(c.code);
      if (byte < 0) {
        out.resize(before);
        out += token;
        return;
      }
      out += char(byte);
      i += c.length;
    }
  }
};

class WordPiece final : public Decoder {
 public:
  WordPiece(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}

  void apply(std::vector<std::string>& tokens, Scratch&) const override {
    for (size_t i = 0; i < tokens.size(); i++) {
      if (i > 0) {
        if (tokens[i].starts_with(prefix_)) {
          tokens[i].erase(0, prefix_.size());
        } else {
          tokens[i] = ' ' + tokens[i];
        }
      }
      if (cleanup_) clean_up(tokens[i]);
    }
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

class Metaspace final : public Decoder {
 public:
  Metaspace(std::string replacement, PrependScheme scheme) : replacement_(std::move(replacement)), scheme_(scheme) {}

  void apply(std::vector<std::string>& tokens, Scratch&) const override {
    for (size_t i = 0; i < tokens.size(); i++) {
      bool drop = i == 0 && scheme_ != PrependScheme::kNever;
      replace_all(tokens[i], replacement_, drop ? "" : " ");
    }
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
};

class Bpe final : public Decoder {
 public:
  explicit Bpe(std::string suffix) : suffix_(std::move(suffix)) {}
  void apply(std::vector<std::string>& tokens, Scratch&) const override {
    for (size_t i = 0; i < tokens.size(); i++) replace_all(tokens[i], suffix_, i + 1 < tokens.size() ? " " : "");
  }

 private:
  std::string suffix_;
};

// Runs of tokens like <0xE5> become the characters their bytes spell, or U+FFFD for each byte.
class ByteFallback final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens, Scratch&) const override {
    std::vector<std::string> out;
    std::string bytes;
    auto flush = [&] {
      if (bytes.empty()) return;
      if (valid_utf8_prefix(bytes) == bytes.size()) {
        out.push_back(bytes);
      } else {
        for (size_t i = 0; i < bytes.size(); i++) append_utf8(out.emplace_back(), 0xfffd);
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (int byte = byte_of(token); byte >= 0) {
        bytes += char(byte);
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(out);
  }

 private:
  static int byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
    auto digit = [](char c) {
      if (c >= '0' && c <= '9') return c - '0';
      if (c >= 'A' && c <= 'F') return c - 'A' + 10;
      if (c >= 'a' && c <= 'f') return c - 'a' + 10;
      return -1;
    };
    int high = digit(token[3]), low = digit(token[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
  }
};

class Fuse final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens, Scratch&) const override { tokens.assign(1, joined(tokens)); }
};

class Strip final : public Decoder {
 public:
  Strip(char32_t content, size_t start, size_t stop) : start_(start), stop_(stop) { append_utf8(content_, content); }

  void apply(std::vector<std::string>& tokens, Scratch&) const override {
    for (std::string& token : tokens) {
      size_t begin = 0, end = token.size();
      for (size_t n = 0; n < start_ && std::string_view(token).substr(begin, end - begin).starts_with(content_); n++) begin += content_.size();
      for (size_t n = 0; n < stop_ && std::string_view(token).substr(begin, end - begin).ends_with(content_); n++) end -= content_.size();
      token = token.substr(begin, end - begin);
    }
  }

 private:
  std::string content_;
  size_t start_, stop_;
};

class ReplaceString final : public Decoder {
 public:
  ReplaceString(std::string pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::vector<std::string>& tokens, Scratch&) const override {
    size_t before = total_size(tokens), after = 0;
    for (std::string& token : tokens) {
      replace_all(token, pattern_, content_);
      check_growth(before, after += token.size(), "Replace");
    }
  }

 private:
  std::string pattern_, content_;
};

class ReplaceRegex final : public Decoder {
 public:
  ReplaceRegex(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::vector<std::string>& tokens, Scratch& scratch) const override {
    size_t before = total_size(tokens), after = 0;
    for (std::string& token : tokens) {
      std::string out;
      for_each_match(pattern_, token, scratch.regex, [&](size_t begin, size_t end, bool is_match) {
        if (is_match) {
          out += content_;
        } else {
          out.append(token, begin, end - begin);
        }
        check_growth(before, after + out.size(), "Replace");
      });
      token = std::move(out);
      after += token.size();
    }
  }

 private:
  Regex pattern_;
  std::string content_;
};

// Connectionist temporal classification: repeats collapse, pads vanish, the delimiter is a space.
class Ctc final : public Decoder {
 public:
  Ctc(std::string pad_token, std::string word_delimiter, bool cleanup)
      : pad_token_(std::move(pad_token)), word_delimiter_(std::move(word_delimiter)), cleanup_(cleanup) {}

  void apply(std::vector<std::string>& tokens, Scratch&) const override {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) {
      replace_all(token, pad_token_, "");
      if (!cleanup_) continue;
      clean_up(token);
      replace_all(token, word_delimiter_, " ");
    }
    std::erase(tokens, std::string());
  }

 private:
  std::string pad_token_, word_delimiter_;
  bool cleanup_;
};

}  // namespace

size_t total_size(const std::vector<std::string>& tokens) {
  size_t size = 0;
  for (const std::string& token : tokens) size += token.size();
  return size;
}

std::unique_ptr<Decoder> make_byte_level_decoder() { return std::make_unique<ByteLevel>(); }
std::unique_ptr<Decoder> make_wordpiece_decoder(std::string prefix, bool cleanup) { return std::make_unique<WordPiece>(std::move(prefix), cleanup); }
std::unique_ptr<Decoder> make_metaspace_decoder(std::string replacement, PrependScheme scheme) {
  return std::make_unique<Metaspace>(std::move(replacement), scheme);
}
std::unique_ptr<Decoder> make_bpe_decoder(std::string suffix) { return std::make_unique<Bpe>(std::move(suffix)); }
std::unique_ptr<Decoder> make_byte_fallback_decoder() { return std::make_unique<ByteFallback>(); }
std::unique_ptr<Decoder> make_fuse_decoder() { return std::make_unique<Fuse>(); }
std::unique_ptr<Decoder> make_strip_decoder(char32_t content, size_t start, size_t stop) { return std::make_unique<Strip>(content, start, stop); }
std::unique_ptr<Decoder> make_replace_decoder(std::string pattern, std::string content) {
  return std::make_unique<ReplaceString>(std::move(pattern), std::move(content));
}
std::unique_ptr<Decoder> make_replace_decoder(Regex pattern, std::string content) {
  return std::make_unique<ReplaceRegex>(std::move(pattern), std::move(content));
}
std::unique_ptr<Decoder> make_ctc_decoder(std::string pad_token, std::string word_delimiter, bool cleanup) {
  return std::make_unique<Ctc>(std::move(pad_token), std::move(word_delimiter), cleanup);
}

}  // namespace lacuna::text
