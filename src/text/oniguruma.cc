// Oniguruma's Ruby syntax -> PCRE2. What differs:
//   ^ and $ are line anchors; . excludes only \n; (?m) lets . match \n;
//   \h is a hexadecimal digit; \s has no U+180E; \w is Alphabetic, M, Nd, Pc and ²³¹¼½¾; \b follows \w;
//   general categories follow Unicode 16, scripts leave out their extensions;
//   {n,m}+ repeats the group again (it is not possessive); [a[bc]] and [a&&[bc]] are union and intersection.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cctype>
#include <cstdio>
#include <optional>
#include <vector>

#include "base/cat.h"
#include "lacuna/error.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

constexpr std::string_view kSpaceItems = R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kHexItems = "0-9a-fA-F";
constexpr std::string_view kWordNumbers = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";  // of \w, by an old habit of Oniguruma
constexpr std::string_view kNewerHan = R"(\x{2b739}\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})";
constexpr std::string_view kNewerAlphabetic =  // marks, besides the letters of the additions
    R"(\x{363}-\x{36f}\x{897}\x{c04}\x{cf3}\x{f82}\x{f83}\x{1dd3}-\x{1de6}\x{10d69}\x{10efc}\x{11080}\x{11081}\x{11241}\x{113b8}-\x{113c0})"
    R"(\x{113c2}\x{113c5}\x{113c7}-\x{113ca}\x{113cc}\x{113cd}\x{11f00}\x{11f01}\x{11f03}\x{11f34}-\x{11f3a}\x{11f3e}-\x{11f40})"
    R"(\x{1611e}-\x{1612e}\x{1e08f})";
constexpr int kMaxDepth = 64;              // of character classes
constexpr size_t kMaxLength = 256 * 1024;  // of a translated pattern

struct Addition {
  char32_t first, last;
  std::string_view category;
};

constexpr Addition kAdditions[] = {
#include "text/regex_additions.inc"
};

// Items of a bracket expression for the general category `name`, "L" or "Lu".
std::string category_items(std::string_view name) {
  std::string items = cat("\\p{", name, "}");
  char range[40];
  for (const Addition& a : kAdditions) {
    if (!a.category.starts_with(name)) continue;
    std::snprintf(range, sizeof range, "\\x{%x}-\\x{%x}", unsigned(a.first), unsigned(a.last));
    items += range;
  }
  return items;
}

std::string alphabetic_items() { return cat("\\p{Alphabetic}", category_items("L"), category_items("Nl"), kNewerAlphabetic); }

// Names of classes that are neither short categories nor scripts, without case, spaces and underscores.
std::string named_items(const std::string& name) {
  static constexpr std::pair<std::string_view, std::string_view> kCategories[] = {
      {"letter", "L"},
      {"uppercaseletter", "Lu"},
      {"lowercaseletter", "Ll"},
      {"titlecaseletter", "Lt"},
      {"modifierletter", "Lm"},
      {"otherletter", "Lo"},
      {"mark", "M"},
      {"nonspacingmark", "Mn"},
      {"spacingmark", "Mc"},
      {"enclosingmark", "Me"},
      {"number", "N"},
      {"decimalnumber", "Nd"},
      {"letternumber", "Nl"},
      {"othernumber", "No"},
      {"punctuation", "P"},
      {"connectorpunctuation", "Pc"},
      {"dashpunctuation", "Pd"},
      {"openpunctuation", "Ps"},
      {"closepunctuation", "Pe"},
      {"initialpunctuation", "Pi"},
      {"finalpunctuation", "Pf"},
      {"otherpunctuation", "Po"},
      {"symbol", "S"},
      {"mathsymbol", "Sm"},
      {"currencysymbol", "Sc"},
      {"modifiersymbol", "Sk"},
      {"othersymbol", "So"},
      {"separator", "Z"},
      {"spaceseparator", "Zs"},
      {"lineseparator", "Zl"},
      {"paragraphseparator", "Zp"},
      {"digit", "Nd"},
  };
  for (auto [long_name, category] : kCategories) {
    if (name == long_name) return category_items(category);
  }
  if (name == "alpha" || name == "alphabetic") return alphabetic_items();
  if (name == "alnum") return cat(alphabetic_items(), category_items("Nd"));
  if (name == "word") return cat(alphabetic_items(), category_items("M"), category_items("Nd"), category_items("Pc"), kWordNumbers);
  if (name == "punct") return category_items("P");
  if (name == "upper") return cat("\\p{Uppercase}", category_items("Lu"));
  if (name == "lower") return cat("\\p{Lowercase}", category_items("Ll"));
  if (name == "space") return std::string(kSpaceItems);
  if (name == "xdigit") return std::string(kHexItems);
  if (name == "blank") return cat("\\t", category_items("Zs"));
  return {};
}

std::string plain_name(std::string_view name) {
  std::string plain;
  for (char c : name) {
    if (c != '_' && c != ' ' && c != '-') plain += c >= 'A' && c <= 'Z' ? char(c + 32) : c;
  }
  return plain;
}

bool compiles(const std::string& pattern) {
  int error;
  PCRE2_SIZE offset;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

// Items for the NAME of \p{NAME}.
std::string property_items(std::string_view name) {
  if (name.size() == 1 || (name.size() == 2 && name != "L&")) {
    std::string category(name);
    category[0] = char(std::toupper(category[0]));
    if (category.size() == 2) category[1] = char(std::tolower(category[1]));
    return category_items(category);
  }
  if (std::string items = named_items(plain_name(name)); !items.empty()) return items;
  std::string script = cat("\\p{sc:", name, "}");
  if (name == "Han") return cat(script, kNewerHan);
  return compiles(script) ? script : cat("\\p{", name, "}");
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    size_t atom = 0;  // where the last atom begins in out_
    std::vector<size_t> groups;
    while (pos_ < in_.size()) {
      check_length(out_.size());
      char c = in_[pos_];
      if (c == '\\') {
        atom = out_.size();
        escape();
      } else if (c == '[') {
        atom = out_.size();
        out_ += char_class(0);
      } else if (c == '(') {
        groups.push_back(out_.size());
        open_group();
      } else if (c == ')') {
        if (!groups.empty()) {
          atom = groups.back();
          groups.pop_back();
        }
        out_ += c;
        pos_++;
      } else if (c == '{' && interval()) {
        if (pos_ < in_.size() && in_[pos_] == '+') {
          out_.insert(atom, "(?:");
          out_ += ")+";
          pos_++;
        }
      } else {
        if (std::string_view("*+?|").find(c) == std::string_view::npos) atom = out_.size();
        Char character = char_at(in_, pos_);
        out_ += in_.substr(pos_, character.length);
        pos_ += character.length;
      }
    }
    return std::move(out_);
  }

 private:
  void open_group() {
    out_ += '(';
    pos_++;
    if (pos_ >= in_.size() || in_[pos_] != '?') return;
    // In the option letters of (?imx-imx:...) Ruby's m is Perl's s.
    size_t end = pos_ + 1;
    while (end < in_.size() && std::string_view("imx-").find(in_[end]) != std::string_view::npos) end++;
    bool options = end > pos_ + 1 && end < in_.size() && (in_[end] == ':' || in_[end] == ')');
    if (!options) return;
    for (; pos_ < end; pos_++) out_ += in_[pos_] == 'm' ? 's' : in_[pos_];
  }

  void check_length(size_t length) const {
    if (length > kMaxLength) throw InvalidData(cat("regex '", in_.substr(0, 80), "...': longer than ", kMaxLength, " bytes when written out"));
  }

  // Copies "{n,m}" if one is here.
  bool interval() {
    size_t end = pos_ + 1;
    while (end < in_.size() && (std::string_view("0123456789,").find(in_[end]) != std::string_view::npos)) end++;
    if (end >= in_.size() || in_[end] != '}' || end == pos_ + 1) return false;
    std::string body(in_.substr(pos_ + 1, end - pos_ - 1));
    if (body[0] == ',') body.insert(0, "0");  // {,m} is {0,m}
    out_ += cat('{', body, '}');
    pos_ = end + 1;
    return true;
  }

  // The items of a class that the escape at pos_ names (\s, \W, \p{L} ...), which is skipped; nothing if it names none.
  struct Class {
    std::string items;
    bool negated = false;
  };
  std::optional<Class> class_escape() {
    char letter = in_[pos_ + 1];
    Class found{.negated = letter >= 'A' && letter <= 'Z'};
    size_t length = 2;
    switch (letter | 0x20) {
      case 's': found.items = kSpaceItems; break;
      case 'w': found.items = named_items("word"); break;
      case 'h': found.items = kHexItems; break;
      case 'd': found.items = category_items("Nd"); break;
      case 'p': {
        if (pos_ + 2 >= in_.size() || in_[pos_ + 2] != '{') return std::nullopt;
        size_t end = in_.find('}', pos_);
        if (end == std::string_view::npos) return std::nullopt;
        std::string_view name = in_.substr(pos_ + 3, end - pos_ - 3);
        if (name.starts_with('^')) {
          found.negated = !found.negated;
          name.remove_prefix(1);
        }
        if (name.empty()) return std::nullopt;
        found.items = property_items(name);
        length = end + 1 - pos_;
        break;
      }
      default: return std::nullopt;
    }
    pos_ += length;
    return found;
  }

  void escape() {
    if (pos_ + 1 >= in_.size()) {
      out_ += in_.substr(pos_++);
      return;
    }
    char letter = in_[pos_ + 1];
    if (auto named = class_escape()) {
      out_ += cat(named->negated ? "[^" : "[", named->items, "]");
    } else if (letter == 'b' || letter == 'B') {
      std::string w = cat("[", named_items("word"), "]");
      out_ += letter == 'b' ? cat("(?:(?<=", w, ")(?!", w, ")|(?<!", w, ")(?=", w, "))") : cat("(?:(?<=", w, ")(?=", w, ")|(?<!", w, ")(?!", w, "))");
      pos_ += 2;
    } else {
      copy_escape(out_);
    }
  }

  // Copies an escape whose meaning is shared.
  void copy_escape(std::string& out) {
    if (in_[pos_ + 1] == 'u') {  // \uHHHH
      out += cat("\\x{", in_.substr(pos_ + 2, 4), "}");
      pos_ = std::min(in_.size(), pos_ + 6);
      return;
    }
    size_t length = 1 + char_at(in_, pos_ + 1).length;
    out += in_.substr(pos_, length);
    pos_ += length;
  }

  // One bracket expression: a class where that is enough, else an alternative of classes or lookaheads before a character.
  std::string char_class(int depth) {
    if (depth > kMaxDepth) throw InvalidData(cat("regex '", in_, "': character classes are nested more than ", kMaxDepth, " deep"));
    pos_++;
    bool negated = pos_ < in_.size() && in_[pos_] == '^';
    if (negated) pos_++;
    std::vector<std::string> operands;      // between &&
    std::string items;                      // of the operand being read
    std::vector<std::string> alternatives;  // classes nested in it
    bool first = true, closed = false, special = false;
    auto finish_operand = [&] {
      std::string all;
      if (!items.empty()) all = cat("[", items, "]");
      for (const std::string& nested : alternatives) all = all.empty() ? nested : cat(all, "|", nested);
      operands.push_back(alternatives.empty() ? all : cat("(?:", all, ")"));
      items.clear();
      alternatives.clear();
    };
    while (pos_ < in_.size()) {
      check_length(items.size());
      char c = in_[pos_];
      if (c == ']' && !first) {
        closed = true;
        pos_++;
        break;
      }
      if (c == '[' && pos_ + 1 < in_.size() && in_[pos_ + 1] == ':') {
        size_t end = in_.find(":]", pos_ + 2);
        std::string_view name = end == std::string_view::npos ? "" : in_.substr(pos_ + 2, end - pos_ - 2);
        bool complement = name.starts_with('^');
        std::string plain = plain_name(name.substr(complement));
        std::string shared = plain == "punct" ? cat(category_items("P"), category_items("S")) : named_items(plain);
        if (!name.empty()) {
          if (shared.empty()) {
            items += in_.substr(pos_, end + 2 - pos_);
          } else if (complement) {
            special = true;
            alternatives.push_back(cat("[^", shared, "]"));
          } else {
            items += shared;
          }
          pos_ = end + 2;
          first = false;
          continue;
        }
      }
      if (c == '[') {
        special = true;
        alternatives.push_back(char_class(depth + 1));
      } else if (c == '&' && pos_ + 1 < in_.size() && in_[pos_ + 1] == '&') {
        special = true;
        finish_operand();
        pos_ += 2;
      } else if (c == '\\' && pos_ + 1 < in_.size()) {
        if (auto named = class_escape(); !named) {
          copy_escape(items);
        } else if (named->negated) {
          special = true;
          alternatives.push_back(cat("[^", named->items, "]"));
        } else {
          items += named->items;
        }
      } else {
        Char character = char_at(in_, pos_);
        if (c == ']') items += '\\';
        items += in_.substr(pos_, character.length);
        pos_ += character.length;
      }
      first = false;
    }
    if (!closed) throw InvalidData(cat("regex '", in_, "': '[' without ']'"));
    if (!special) return cat(negated ? "[^" : "[", items, "]");
    finish_operand();
    std::string positive;
    for (size_t i = 0; i + 1 < operands.size(); i++) positive += cat("(?=", operands[i], ")");
    positive += operands.back();
    return negated ? cat("(?:(?!", positive, ")(?s:.))") : cat("(?:", positive, ")");
  }

  std::string_view in_;
  size_t pos_ = 0;
  std::string out_;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace lacuna::text
