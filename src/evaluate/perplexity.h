// Perplexity as the literature computes it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "lacuna/progress.h"
#include "runtime/session.h"

namespace lacuna {

struct PerplexityResult {
  double perplexity = 0;
  int64_t windows = 0, scored_tokens = 0, window_tokens = 0;
};

// exp of the mean negative log-likelihood over non-overlapping windows of `window_tokens`; a window starts with an empty
// cache, and its first token is context only. A last window that is not whole is left out.
// tokens: the whole text, tokenized once. `model` is what errors call it. The model has an input of ids [batch, tokens] and an output `logits`
// [batch, tokens, vocab]. Throws InvalidArgument if the text is shorter than one window, or window_tokens < 2.
PerplexityResult perplexity(Session& session, std::span<const int32_t> tokens, int64_t window_tokens, int64_t max_windows = 0,
                            Progress* progress = nullptr, std::string_view model = "the model");

}  // namespace lacuna
