// Text is what decoding the window gives beyond decoding the window's printed part: decoders look at neighbours (leading spaces,
// bytes of one character), so ids cannot be decoded one by one.
#include <algorithm>

#include "text/tokenizer.h"
#include "text/unicode.h"

namespace lacuna {
namespace {

constexpr size_t kContext = 6;      // ids before the printed end that are decoded with the new ones
constexpr size_t kMaxPending = 16;  // ids after which an unfinished character is given up

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

}  // namespace

TokenStream::TokenStream(const Tokenizer& tokenizer, std::span<const int32_t> context, bool skip_special_tokens)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {
  auto tail = context.last(std::min(context.size(), kContext));
  ids_.assign(tail.begin(), tail.end());
  printed_ = ids_.size();
}

std::string TokenStream::push(int32_t id) {
  ids_.push_back(id);
  return take(ids_.size() - printed_ > kMaxPending);
}

std::string TokenStream::finish() { return take(true); }

std::string TokenStream::take(bool all) {
  std::string before = tokenizer_.decode(std::span(ids_).first(printed_), skip_special_tokens_);
  std::string text = tokenizer_.decode(ids_, skip_special_tokens_);
  if (!all && text.ends_with(kReplacement)) return {};
  printed_ = ids_.size();
  if (printed_ > 4 * kContext) {
    ids_.erase(ids_.begin(), ids_.end() - ptrdiff_t(kContext));
    printed_ = kContext;
  }
  return text.size() > before.size() ? text.substr(before.size()) : std::string();
}

}  // namespace lacuna
