#include "runtime/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {

CacheNeeds cache_needs(const Graph& graph, const std::vector<Fact>& facts) {
  CacheNeeds needs;
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::attention || node.inputs.size() < 6 || node.inputs[4] == kNoValue) continue;
    auto &k = facts[size_t(node.inputs[1])].shape, &v = facts[size_t(node.inputs[2])].shape;
    auto keys = k ? constant_shape(*k) : std::nullopt, values = v ? constant_shape(*v) : std::nullopt;
    if (!keys || !values) throw Unsupported(cat("node '", node.name, "' (attention): the number of new tokens is not known before the run"));
    int64_t heads = node.attributes.integer("kv_heads", node.attributes.integer("heads", 1));
    needs.batch = (*keys)[0], needs.tokens = (*keys)[1];
    needs.states.push_back({node.inputs[4], heads, (*keys)[2] / heads, true});
    needs.states.push_back({node.inputs[5], heads, (*values)[2] / heads, false});
  }
  return needs;
}

void KvCache::reserve(const CacheNeeds& needs) {
  if (needs.states.empty()) return;
  if (past_ > 0 && needs.batch != batch_)
    throw InvalidArgument(cat("the cache holds ", batch_, " sequences, this call has ", needs.batch, "; reset the session first"));
  int64_t wanted = past_ + needs.tokens;
  if (max_tokens_ > 0 && wanted > max_tokens_)
    throw ResourceExhausted(
        cat("the cache holds at most ", max_tokens_, " tokens per sequence, ", past_, " past and ", needs.tokens, " new ones need ", wanted));
  if (needs.batch == batch_ && wanted <= capacity_ && states_.size() == needs.states.size()) return;
  int64_t capacity = std::max<int64_t>(wanted, needs.batch == batch_ ? 2 * capacity_ : 256);
  if (max_tokens_ > 0) capacity = std::min(capacity, max_tokens_);
  grow(needs, (capacity + kKeyBlock - 1) / kKeyBlock * kKeyBlock);
}

void KvCache::grow(const CacheNeeds& needs, int64_t capacity) {
  std::map<ValueId, Tensor> grown;
  for (auto& state : needs.states) {
    Tensor fresh(DType::kF32, {needs.batch, state.heads, capacity, state.width});
    if (past_ > 0) {
      // Both layouts hold the first tokens of a (batch, head) first.
      const Tensor& old = states_.at(state.value);
      int64_t used = (past_ + kKeyBlock - 1) / kKeyBlock * kKeyBlock * state.width;
      for (int64_t i = 0; i < needs.batch * state.heads; i++)
        std::memcpy(fresh.mutable_data<float>().data() + i * capacity * state.width, old.data<float>().data() + i * capacity_ * state.width,
                    size_t(used) * sizeof(float));
    }
    grown.emplace(state.value, std::move(fresh));
  }
  states_ = std::move(grown);
  batch_ = needs.batch, capacity_ = capacity;
}

void KvCache::truncate(int64_t tokens) {
  if (tokens < 0 || tokens > past_) throw InvalidArgument(cat("cannot keep ", tokens, " tokens of a cache that holds ", past_));
  past_ = tokens;
}

}  // namespace lacuna
