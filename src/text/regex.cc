// Patterns are translated first (oniguruma.cc), then run by PCRE2 with its JIT.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna::text {

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
  pcre2_set_match_limit(state_->context, 10'000'000);
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
