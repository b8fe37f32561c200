// The keys and values of past tokens, one tensor per state of the Graph.
#pragma once

#include <map>

#include "graph/infer.h"

namespace lacuna {

// What one call needs of the caches.
struct CacheNeeds {
  int64_t batch = 0, tokens = 0;
  struct State {
    ValueId value;
    int64_t heads, width;
    bool keys;  // of attention's input 4, not 5
  };
  std::vector<State> states;
};
// From the facts of a binding. Throws Unsupported naming the node if the number of new tokens is not known before the run.
CacheNeeds cache_needs(const Graph& graph, const std::vector<Fact>& facts);

// Keys and values are [batch, heads, capacity, width] f32; with `blocked_keys` keys are [batch, heads, capacity / 16, width, 16], so
// that 16 keys are multiplied at once. Capacity is a multiple of 16.
class KvCache {
 public:
  // max_tokens 0: the cache grows without limit.
  KvCache(int64_t max_tokens) : max_tokens_(max_tokens) {}

  int64_t past() const { return past_; }
  // Room for the tokens of a call; keeps the past. Throws ResourceExhausted naming the limit and what was asked for,
  // InvalidArgument if the batch differs from that of the past.
  void reserve(const CacheNeeds& needs);
  Tensor& state(ValueId value) { return states_.at(value); }
  void advance(int64_t tokens) { past_ += tokens; }
  void truncate(int64_t tokens);  // throws InvalidArgument outside [0, past]

 private:
  void grow(const CacheNeeds& needs, int64_t capacity);

  int64_t max_tokens_;
  int64_t past_ = 0, batch_ = 0, capacity_ = 0;
  std::map<ValueId, Tensor> states_;
};

inline constexpr int64_t kKeyBlock = 16;  // keys side by side in the blocked layout

}  // namespace lacuna
