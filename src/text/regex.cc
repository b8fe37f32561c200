// Translation first, then PCRE2 with its JIT. What Oniguruma's Ruby syntax means differently:
//   ^ and $ are line anchors; . excludes only \n; (?m) lets . match \n;
//   \h is a hexadecimal digit; \s has no U+180E; \w is Alphabetic, M, Nd, Pc; \b follows \w;
//   {n,m}+ repeats the group again (it is not possessive); [a[bc]] and [a&&[bc]] are union and intersection.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include "base/cat.h"
#include "lacuna/error.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

constexpr std::string_view kSpaceItems = R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWordItems = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kHexItems = "0-9a-fA-F";
constexpr int kMaxDepth = 64;

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    size_t atom = 0;  // where the last atom begins in out_
    std::vector<size_t> groups;
    while (pos_ < in_.size()) {
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

  // The items of a shorthand class, empty if `letter` is none; `negated` for the upper-case form.
  static std::string_view shorthand(char letter, bool& negated) {
    negated = letter == 'S' || letter == 'W' || letter == 'H';
    switch (letter) {
      case 's':
      case 'S': return kSpaceItems;
      case 'w':
      case 'W': return kWordItems;
      case 'h':
      case 'H': return kHexItems;
      default: return {};
    }
  }

  void escape() {
    if (pos_ + 1 >= in_.size()) {
      out_ += in_.substr(pos_++);
      return;
    }
    char letter = in_[pos_ + 1];
    bool negated;
    if (auto items = shorthand(letter, negated); !items.empty()) {
      out_ += cat(negated ? "[^" : "[", items, "]");
      pos_ += 2;
    } else if (letter == 'b' || letter == 'B') {
      std::string w = cat("[", kWordItems, "]");
      out_ += letter == 'b' ? cat("(?:(?<=", w, ")(?!", w, ")|(?<!", w, ")(?=", w, "))") : cat("(?:(?<=", w, ")(?=", w, ")|(?<!", w, ")(?!", w, "))");
      pos_ += 2;
    } else {
      copy_escape(out_);
    }
  }

  // Copies an escape whose meaning is shared.
  void copy_escape(std::string& out) {
    char letter = in_[pos_ + 1];
    if ((letter == 'p' || letter == 'P') && pos_ + 2 < in_.size() && in_[pos_ + 2] == '{') {
      size_t end = in_.find('}', pos_);
      if (end == std::string_view::npos) end = in_.size() - 1;
      out += in_.substr(pos_, end - pos_ + 1);
      pos_ = end + 1;
      return;
    }
    if (letter == 'u') {  // \uHHHH
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
      char c = in_[pos_];
      if (c == ']' && !first) {
        closed = true;
        pos_++;
        break;
      }
      if (c == '[' && pos_ + 1 < in_.size() && in_[pos_ + 1] == ':') {
        size_t end = in_.find(":]", pos_ + 2);
        if (end != std::string_view::npos) {
          items += in_.substr(pos_, end + 2 - pos_);
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
        bool complement;
        auto shared = shorthand(in_[pos_ + 1], complement);
        if (shared.empty()) {
          copy_escape(items);
        } else if (complement) {
          special = true;
          alternatives.push_back(cat("[^", shared, "]"));
          pos_ += 2;
        } else {
          items += shared;
          pos_ += 2;
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

struct RegexScratch::State {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
};

RegexScratch::RegexScratch() : state_(std::make_unique<State>()) {
  state_->data = pcre2_match_data_create(1, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  state_->stack = pcre2_jit_stack_create(32 * 1024, 8 * 1024 * 1024, nullptr);
  if (!state_->data || !state_->context || !state_->stack) throw ResourceExhausted("no memory for matching a regex");
  pcre2_jit_stack_assign(state_->context, nullptr, state_->stack);
  pcre2_set_match_limit(state_->context, 20'000'000);
  pcre2_set_heap_limit(state_->context, 64 * 1024);  // KiB, where there is no JIT
}

RegexScratch::~RegexScratch() {
  pcre2_jit_stack_free(state_->stack);
  pcre2_match_context_free(state_->context);
  pcre2_match_data_free(state_->data);
}

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool jit = false;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern) : pattern_(pattern), code_(std::make_unique<Code>()) {
  std::string translated = translate_oniguruma(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(pcre2_compile_context_create(nullptr),
                                                                                        pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_max_pattern_length(context.get(), 1 << 20);
  pcre2_set_parens_nest_limit(context.get(), 200);
  uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), options, &error, &offset, context.get());
  if (!code_->code) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof message);
    throw InvalidData(cat("regex '", pattern, "': ", reinterpret_cast<const char*>(message), " at offset ", offset, " of '", translated, "'"));
  }
  code_->jit = pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;

bool Regex::find(std::string_view text, size_t from, RegexScratch& scratch, Match& match) const {
  RegexScratch::State& s = *scratch.state_;
  auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int n = code_->jit ? pcre2_jit_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, s.data, s.context)
                     : pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, s.data, s.context);
  if (n == PCRE2_ERROR_NOMATCH) return false;
  if (n < 0) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(n, message, sizeof message);
    throw Unsupported(cat("regex '", pattern_, "' on a text of ", text.size(), " bytes: ", reinterpret_cast<const char*>(message)));
  }
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(s.data);
  match = {offsets[0], offsets[1]};
  // \K inside a lookahead can put the start behind the end.
  if (match.begin > match.end || match.begin < from) match.begin = match.end;
  return true;
}

}  // namespace lacuna::text
