#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <vector>

#include "base/assert.h"

namespace lacuna::text {
namespace {

struct ByteChars {
  std::array<char32_t, 256> of_byte{};
  std::array<int16_t, 0x180> of_char{};
  std::array<std::array<char, 2>, 256> utf8{};
  std::array<uint8_t, 256> length{};

  ByteChars() {
    of_char.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; b++) {
      bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      char32_t c = printable ? char32_t(b) : next++;
      of_byte[b] = c;
      of_char[c] = int16_t(b);
      std::string s;
      append_utf8(s, c);
      std::copy(s.begin(), s.end(), utf8[b].begin());
      length[b] = uint8_t(s.size());
    }
  }
};

const ByteChars& byte_chars() {
  static const ByteChars table;
  return table;
}

struct ClassRange {
  char32_t first;
  uint8_t classes;
};

constexpr ClassRange kClassRanges[] = {
#include "text/character_classes.inc"
};

bool is_continuation(uint8_t b) { return (b & 0xc0) == 0x80; }

// Bytes of the well-formed character at the front, 0 if there is none; `bad` is then the length of the maximal ill-formed part.
size_t valid_char(std::string_view s, size_t& bad) {
  auto at = [&](size_t i) { return i < s.size() ? uint8_t(s[i]) : uint8_t(0); };
  uint8_t b = at(0);
  bad = 1;
  if (b < 0x80) return 1;
  if (b < 0xc2 || b > 0xf4) return 0;
  uint8_t low = 0x80, high = 0xbf;  // the second byte's range
  if (b == 0xe0) low = 0xa0;
  if (b == 0xed) high = 0x9f;
  if (b == 0xf0) low = 0x90;
  if (b == 0xf4) high = 0x8f;
  size_t length = b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
  if (at(1) < low || at(1) > high) return 0;
  for (size_t i = 2; i < length; i++) {
    bad = i;
    if (!is_continuation(at(i))) return 0;
  }
  return length;
}

void append_decomposed(std::vector<int32_t>& out, char32_t c, bool compatibility) {
  int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0);
  int32_t buffer[32];
  int boundary = 0;
  auto n = utf8proc_decompose_char(int32_t(c), buffer, 32, utf8proc_option_t(options), &boundary);
  if (n <= 0 || n > 32) {
    out.push_back(int32_t(c));
    return;
  }
  out.insert(out.end(), buffer, buffer + n);
}

int combining_class(int32_t c) { return c < 0x300 ? 0 : utf8proc_get_property(c)->combining_class; }

// Canonical ordering: marks of one run sorted by combining class. utf8proc's own is quadratic in the length of a run.
void order_marks(std::vector<int32_t>& codes) {
  for (size_t i = 0; i < codes.size();) {
    if (combining_class(codes[i]) == 0) {
      i++;
      continue;
    }
    size_t end = i;
    while (end < codes.size() && combining_class(codes[end]) != 0) end++;
    std::stable_sort(codes.begin() + ptrdiff_t(i), codes.begin() + ptrdiff_t(end),
                     [](int32_t a, int32_t b) { return combining_class(a) < combining_class(b); });
    i = end;
  }
}

// Orders, composes and appends what has been collected, and begins anew.
void flush_codes(std::string& out, std::vector<int32_t>& codes, bool compose) {
  order_marks(codes);
  auto n = utf8proc_ssize_t(codes.size());
  if (compose) n = utf8proc_normalize_utf32(codes.data(), n, utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  for (utf8proc_ssize_t i = 0; i < n; i++) append_utf8(out, char32_t(codes[size_t(i)]));
  codes.clear();
}

void append_normalized(std::string& out, std::string_view text, NormalForm form, std::vector<int32_t>& codes) {
  bool compatibility = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  codes.clear();
  for (size_t i = 0; i < text.size();) {
    Char c = char_at(text, i);
    if (is_a(c.code, kInert)) {
      flush_codes(out, codes, compose);
      append_utf8(out, c.code);
    } else {
      append_decomposed(codes, c.code, compatibility);
    }
    i += c.length;
  }
  flush_codes(out, codes, compose);
}

}  // namespace

Char char_before(std::string_view text, size_t pos) {
  size_t start = pos - 1;
  while (start > 0 && !is_char_start(text[start])) start--;
  return char_at(text, start);
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += char(c);
  } else if (c < 0x800) {
    out += char(0xc0 | c >> 6);
    out += char(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += char(0xe0 | c >> 12);
    out += char(0x80 | (c >> 6 & 0x3f));
    out += char(0x80 | (c & 0x3f));
  } else {
    out += char(0xf0 | c >> 18);
    out += char(0x80 | (c >> 12 & 0x3f));
    out += char(0x80 | (c >> 6 & 0x3f));
    out += char(0x80 | (c & 0x3f));
  }
}

size_t count_chars(std::string_view text) { return size_t(std::count_if(text.begin(), text.end(), is_char_start)); }

size_t valid_utf8_prefix(std::string_view bytes) {
  size_t i = 0;
  while (i < bytes.size()) {
    if (uint8_t(bytes[i]) < 0x80) {
      i++;
      continue;
    }
    size_t bad;
    size_t n = valid_char(bytes.substr(i), bad);
    if (n == 0) break;
    i += n;
  }
  return i;
}

void append_lossy(std::string& out, std::string_view bytes) {
  while (!bytes.empty()) {
    size_t good = valid_utf8_prefix(bytes);
    out += bytes.substr(0, good);
    bytes.remove_prefix(good);
    if (bytes.empty()) break;
    size_t bad;
    valid_char(bytes, bad);
    append_utf8(out, 0xfffd);
    bytes.remove_prefix(std::min(bad, bytes.size()));
  }
}

const CharClasses& char_classes() {
  static const CharClasses table = [] {
    CharClasses t{};
    std::map<std::vector<uint8_t>, uint8_t> known;
    const ClassRange* range = std::begin(kClassRanges);
    std::vector<uint8_t> block(256);
    for (char32_t first = 0; first < 0x110000; first += 256) {
      for (char32_t c = 0; c < 256; c++) {
        while (range + 1 < std::end(kClassRanges) && range[1].first <= first + c) range++;
        block[c] = range->classes;
      }
      auto [it, is_new] = known.emplace(block, uint8_t(known.size()));
      LACUNA_ASSERT(known.size() <= 256);
      if (is_new) t.classes.insert(t.classes.end(), block.begin(), block.end());
      t.block[first >> 8] = it->second;
    }
    return t;
  }();
  return table;
}

bool is_chinese(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
         (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

namespace {

// Capitals of Unicode 16 and 17.
char32_t newer_lower(char32_t c) {
  if (c == 0x1c89 || c == 0xa7cc || c == 0xa7ce || c == 0xa7d2 || c == 0xa7d4 || c == 0xa7da) return c + 1;
  if (c == 0xa7cb) return 0x264;
  if (c == 0xa7dc) return 0x19b;
  if (c >= 0x10d50 && c <= 0x10d65) return c + 0x20;
  if (c >= 0x16ea0 && c <= 0x16eb8) return c + 0x1b;
  return c;
}

}  // namespace

void append_lower(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += char(c >= 'A' && c <= 'Z' ? c + 32 : c);
  } else if (c == 0x130) {  // the one character whose lower case is two characters
    out += 'i';
    append_utf8(out, 0x307);
  } else {
    append_utf8(out, newer_lower(char32_t(utf8proc_tolower(utf8proc_int32_t(c)))));
  }
}

void normalize(std::string& text, NormalForm form) {
  auto ascii = [](char c) { return uint8_t(c) < 0x80; };
  auto first = std::find_if_not(text.begin(), text.end(), ascii);
  if (first == text.end()) return;
  // Only stretches outside ASCII can change, together with the ASCII character that a mark may compose with.
  std::string out;
  out.reserve(text.size() + 16);
  std::vector<int32_t> codes;
  size_t done = 0, i = size_t(first - text.begin());
  while (i < text.size()) {
    size_t end = i;
    while (end < text.size() && !ascii(text[end])) end++;
    size_t begin = i > done ? i - 1 : i;
    out.append(text, done, begin - done);
    append_normalized(out, std::string_view(text).substr(begin, end - begin), form, codes);
    done = end;
    i = end;
    while (i < text.size() && ascii(text[i])) i++;
  }
  out.append(text, done);
  text.swap(out);
}

size_t grapheme_end(std::string_view text, size_t pos) {
  Char previous = char_at(text, pos);
  pos += previous.length;
  utf8proc_int32_t state = 0;
  while (pos < text.size()) {
    Char next = char_at(text, pos);
    if (utf8proc_grapheme_break_stateful(int32_t(previous.code), int32_t(next.code), &state)) break;
    previous = next;
    pos += next.length;
  }
  return pos;
}

void append_byte_chars(std::string& out, std::string_view bytes) {
  const ByteChars& table = byte_chars();
  size_t size = out.size();
  out.resize(size + 2 * bytes.size());
  char* to = out.data() + size;
  for (char c : bytes) {
    uint8_t b = uint8_t(c);
    to[0] = table.utf8[b][0];
    to[1] = table.utf8[b][1];
    to += table.length[b];
  }
  out.resize(size_t(to - out.data()));
}

int byte_of_char(char32_t c) { return c < 0x180 ? byte_chars().of_char[c] : -1; }

}  // namespace lacuna::text
