// UTF-8 and the character classes that the components of a tokenizer name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna::text {

struct Char {
  char32_t code;
  uint32_t length;  // bytes
};

// The character at `pos` of well-formed UTF-8; pos < text.size().
inline Char char_at(std::string_view text, size_t pos) {
  auto byte = [&](size_t i) { return char32_t(uint8_t(text[pos + i])); };
  char32_t b = byte(0);
  if (b < 0x80) return {b, 1};
  if (b < 0xe0) return {(b & 0x1f) << 6 | (byte(1) & 0x3f), 2};
  if (b < 0xf0) return {(b & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f), 3};
  return {(b & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f), 4};
}
// The character that ends just before `pos`; pos > 0.
Char char_before(std::string_view text, size_t pos);
void append_utf8(std::string& out, char32_t code);
size_t count_chars(std::string_view text);
// True where a character of well-formed UTF-8 begins.
inline bool is_char_start(char byte) { return (uint8_t(byte) & 0xc0) != 0x80; }

// Length of the well-formed prefix of `bytes`.
size_t valid_utf8_prefix(std::string_view bytes);
// Appends `bytes` with each maximal ill-formed part replaced by U+FFFD (Unicode 3.9, as Python and Rust do).
void append_lossy(std::string& out, std::string_view bytes);

// Classes of characters, as the `tokenizers` library has them.
enum CharClass : uint8_t {
  kWhitespace = 1,       // White_Space
  kWord = 2,             // \w: Alphabetic, M, Nd, Pc, Join_Control
  kNumeric = 4,          // Nd, Nl, No
  kPunctuation = 8,      // P*, and all ASCII punctuation
  kControl = 16,         // C* except tab, newline and carriage return, and U+FFFD
  kNonspacingMark = 32,  // Mn
  kMark = 64,            // M*
  kInert = 128,          // normal forms neither decompose nor reorder it (it is newer than the library's tables)
};
struct CharClasses {
  uint8_t block[0x1100];  // of 256 characters each; equal blocks are shared
  std::vector<uint8_t> classes;
};
const CharClasses& char_classes();

inline bool is_a(char32_t c, const CharClasses& table, uint8_t classes) {
  return (table.classes[size_t(table.block[c >> 8]) << 8 | (c & 0xff)] & classes) != 0;
}
inline bool is_a(char32_t c, uint8_t classes) { return is_a(c, char_classes(), classes); }

bool is_chinese(char32_t c);  // CJK ideographs as BERT lists them
void append_lower(std::string& out, char32_t c);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
// Replaces `text` by its normal form.
void normalize(std::string& text, NormalForm form);

// Ends of the extended grapheme cluster that begins at `pos`.
size_t grapheme_end(std::string_view text, size_t pos);

// The 256 characters that stand for bytes in byte-level vocabularies: printable bytes stand for themselves.
void append_byte_chars(std::string& out, std::string_view bytes);
// The byte a character stands for, or -1.
int byte_of_char(char32_t c);

}  // namespace lacuna::text
