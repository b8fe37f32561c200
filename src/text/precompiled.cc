// The character map of a sentencepiece model:
//   bytes 0-3   size of the trie in bytes, little endian
//   trie        darts-clone units, 32 bits little endian: bit 31 leaf value, else bits 0-7 label, bit 8 has a leaf, bits 10-30 offset
//               (shifted left by 8 more if bit 9 is set)
//   the rest    replacement strings, each ended by a zero byte; a leaf's value is the position of its replacement
#include <algorithm>

#include "base/cat.h"
#include "lacuna/error.h"
#include "text/charsmap.h"
#include "text/components.h"
#include "text/unicode.h"

namespace lacuna::text {

CharsMap::CharsMap(std::string_view bytes) {
  if (bytes.empty()) return;
  auto word = [&](size_t at) {
    uint32_t v = 0;
    for (size_t i = 4; i-- > 0;) v = v << 8 | uint8_t(bytes[at + i]);
    return v;
  };
  size_t trie_bytes = bytes.size() >= 4 ? word(0) : 0;
  if (bytes.size() < 4 || trie_bytes > bytes.size() - 4 || trie_bytes % 4 != 0) {
    throw InvalidData(
        cat("precompiled_charsmap: the trie takes ", trie_bytes, " bytes, wanted a multiple of four within the ", bytes.size(), " there are"));
  }
  for (size_t at = 4; at < 4 + trie_bytes; at += 4) units_.push_back(word(at));
  replacements_ = bytes.substr(4 + trie_bytes);
  size_t bad = valid_utf8_prefix(replacements_);
  if (bad != replacements_.size()) throw InvalidData(cat("precompiled_charsmap: the replacement at byte ", bad, " is not UTF-8"));
}

std::optional<CharsMap::Hit> CharsMap::find(std::string_view text, bool longest) const {
  auto offset = [](uint32_t unit) { return size_t(unit >> 10) << ((unit & 0x200) >> 6); };
  if (units_.empty()) return std::nullopt;
  std::optional<Hit> hit;
  size_t node = offset(units_[0]);
  for (size_t i = 0; i < text.size() && text[i] != 0; i++) {
    node ^= uint8_t(text[i]);
    if (node >= units_.size() || (units_[node] & 0x800000ff) != uint8_t(text[i])) break;
    uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!(unit & 0x100) || (i + 1 < text.size() && !is_char_start(text[i + 1]))) continue;
    if (node >= units_.size()) break;
    size_t at = units_[node] & 0x7fffffff;
    if (at >= replacements_.size()) break;
    std::string_view rest = std::string_view(replacements_).substr(at);
    // A value that points into the middle of a character is no replacement.
    if (!is_char_start(rest[0])) break;
    hit = Hit{i + 1, rest.substr(0, rest.find('\0'))};
    if (!longest) break;
  }
  return hit;
}

namespace {

// As `tokenizers` does it: a grapheme below six bytes is replaced as a whole by what its shortest known prefix maps to, else each character
// by itself.
class Precompiled final : public Normalizer {
 public:
  explicit Precompiled(std::string_view charsmap) : map_(charsmap) {}

  void apply(std::string& text, bool& dropped_front, Scratch& scratch) const override {
    std::string& out = scratch.rewritten;
    out.clear();
    std::string_view rest = text;
    for (size_t i = 0; i < rest.size();) {
      size_t end = grapheme_end(rest, i);
      append(out, rest.substr(i, end - i));
      if (out.empty()) dropped_front = true;
      check_growth(text.size(), out.size(), "Precompiled");
      i = end;
    }
    text.swap(out);
  }

 private:
  void append(std::string& out, std::string_view grapheme) const {
    if (grapheme.size() < 6) {
      if (auto hit = map_.find(grapheme, false)) {
        out += hit->replacement;
        return;
      }
    }
    for (size_t i = 0; i < grapheme.size();) {
      auto character = grapheme.substr(i, char_at(grapheme, i).length);
      auto hit = map_.find(character, false);
      out += hit ? hit->replacement : character;
      i += character.size();
    }
  }

  CharsMap map_;
};

}  // namespace

std::unique_ptr<Normalizer> make_precompiled_normalizer(std::string_view charsmap) { return std::make_unique<Precompiled>(charsmap); }

}  // namespace lacuna::text
