#include "evaluate/perplexity.h"

#include <algorithm>
#include <cmath>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

// -log softmax(logits)[target]
double negative_log_likelihood(std::span<const float> logits, int32_t target) {
  float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float v : logits) sum += std::exp(double(v - top));
  return std::log(sum) - double(logits[size_t(target)] - top);
}

}  // namespace

PerplexityResult perplexity(Session& session, std::span<const int32_t> tokens, int64_t window_tokens, int64_t max_windows, Progress* progress,
                            std::string_view model) {
  if (window_tokens < 2) throw InvalidArgument(cat("perplexity: a window needs at least 2 tokens, got ", window_tokens));
  int64_t windows = int64_t(tokens.size()) / window_tokens;
  if (windows == 0) throw InvalidArgument(cat("perplexity: the text has ", tokens.size(), " tokens, fewer than one window of ", window_tokens));
  if (max_windows > 0) windows = std::min(windows, max_windows);
  const Graph& graph = session.graph();
  bool scores = std::any_of(graph.outputs().begin(), graph.outputs().end(), [](auto& o) { return o.name == "logits"; });
  if (!scores || graph.states().empty())
    throw Unsupported(
        cat("perplexity needs a model that predicts the next token: ", model, " has no ", scores ? "key-value cache" : "output 'logits'"));
  std::string input = graph.value(graph.inputs()[0]).name;
  double total = 0;
  int64_t scored = 0;
  for (int64_t w = 0; w < windows; w++) {
    if (progress) progress->update("perplexity", w, windows);
    Tensor ids(DType::kS64, {1, window_tokens}, false);
    auto window = tokens.subspan(size_t(w * window_tokens), size_t(window_tokens));
    std::copy(window.begin(), window.end(), ids.mutable_data<int64_t>().begin());
    session.reset();
    const Tensor logits = session.run({{input, ids}}).at("logits").to(DType::kF32);
    int64_t vocab = logits.dim(-1);
    std::vector<double> losses(size_t(window_tokens - 1));
    parallel_for(window_tokens - 1, [&](int64_t t) {
      int32_t target = window[size_t(t + 1)];
      if (target < 0 || target >= vocab)
        throw InvalidData(cat("perplexity: token id ", target, " is outside the vocabulary of ", model, ", which has ", vocab, " tokens"));
      losses[size_t(t)] = negative_log_likelihood(logits.data<float>().subspan(size_t(t * vocab), size_t(vocab)), target);
    });
    for (double loss : losses) total += loss;
    if (!std::isfinite(total)) throw InvalidData(cat("perplexity: the logits of ", model, " in window ", w, " are not finite"));
    scored += window_tokens - 1;
  }
  session.reset();
  return {std::exp(total / double(scored)), windows, scored, window_tokens};
}

}  // namespace lacuna
