// Regular expressions as the `tokenizers` library reads them (Oniguruma, Ruby syntax), run by PCRE2.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace lacuna::text {

// Working memory of a match; one per thread at a time, shared by all expressions.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

struct Match {
  size_t begin = 0, end = 0;
};

class Regex {
 public:
  // Throws InvalidData naming the pattern, the position and what is wrong there.
  explicit Regex(std::string_view pattern);
  ~Regex();
  Regex(Regex&&) noexcept;

  // First match at or after `from` in well-formed UTF-8. Throws Unsupported when the match takes too many steps.
  bool find(std::string_view text, size_t from, RegexScratch& scratch, Match& match) const;
  const std::string& pattern() const { return pattern_; }

 private:
  struct Code;
  std::string pattern_;
  std::unique_ptr<Code> code_;
};

// The pattern in PCRE2's syntax with the meaning it has in Oniguruma's.
std::string translate_oniguruma(std::string_view pattern);

// Calls span(begin, end, is_match) for the matches and what lies between them, covering the text in order.
template <class Span>
void for_each_match(const Regex& regex, std::string_view text, RegexScratch& scratch, Span&& span) {
  size_t done = 0, from = 0;
  Match match;
  bool any = false;
  while (from <= text.size() && regex.find(text, from, scratch, match)) {
    if (match.begin == match.end) {
      // Empty matches advance by a character; one that touches the match before it does not count.
      from = match.end + 1;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xc0) == 0x80) from++;
      if (any && match.begin == done) continue;
    } else {
      from = match.end;
    }
    if (done != match.begin) span(done, match.begin, false);
    span(match.begin, match.end, true);
    done = match.end;
    any = true;
  }
  if (done != text.size()) span(done, text.size(), false);
}

}  // namespace lacuna::text
