#include "runtime/session.h"

#include <charconv>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "runtime/engine.h"
#include "runtime/passes/last_token.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lacuna {
namespace {

int64_t cache_limit(const Graph& graph, const SessionOptions& options) {
  if (options.max_tokens < 0) throw InvalidArgument(cat("max_tokens is ", options.max_tokens, ", wanted at least 0"));
  if (options.max_tokens > 0) return options.max_tokens;
  int64_t limit = 0;
  if (auto it = graph.metadata.find("max_tokens"); it != graph.metadata.end())
    std::from_chars(it->second.data(), it->second.data() + it->second.size(), limit);
  return limit;
}

std::shared_ptr<const Graph> graph_to_run(std::shared_ptr<const Graph> graph, const SessionOptions& options) {
  if (!options.last_token_only || graph->states().empty()) return graph;
  auto copy = std::make_shared<Graph>(*graph);
  keep_last_token(*copy);
  return copy;
}

// Flushes denormals in the calling thread for as long as it lives.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { flush_denormals(); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#else
  FlushDenormals() {}
#endif
};

}  // namespace

class Session::Impl {
 public:
  Impl(std::shared_ptr<const Graph> graph, const SessionOptions& options)
      : graph_(std::move(graph)),
        cache_(cache_limit(*graph_, options)),
        engine_(options.executor == Executor::kReference ? make_reference_engine(graph_to_run(graph_, options))
                                                         : make_runtime_engine(graph_to_run(graph_, options), options)) {}

  TensorMap run(const TensorMap& given) {
    FlushDenormals flush;
    BoundInputs inputs = bind_inputs(*graph_, given, cache_.past());
    profile_.clear();
    int64_t new_tokens = 0;
    std::vector<Tensor> values = engine_->run({inputs, cache_, observer_ ? &observer_ : nullptr, profiling_ ? &profile_ : nullptr}, new_tokens);
    cache_.advance(new_tokens);
    TensorMap out;
    for (size_t i = 0; i < values.size(); i++) out.insert_or_assign(graph_->outputs()[i].name, values[i]);
    return out;
  }

  std::shared_ptr<const Graph> graph_;
  KvCache cache_;
  std::unique_ptr<Engine> engine_;
  Observer observer_;
  bool profiling_ = false;
  std::vector<ProfileLine> profile_;
};

Session::Session(std::shared_ptr<const Graph> graph, SessionOptions options) : impl_(std::make_unique<Impl>(std::move(graph), options)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;

TensorMap Session::run(const TensorMap& inputs) { return impl_->run(inputs); }
void Session::reset() { impl_->cache_.truncate(0); }
void Session::truncate(int64_t tokens) { impl_->cache_.truncate(tokens); }
int64_t Session::past_tokens() const { return impl_->cache_.past(); }
const Graph& Session::graph() const { return *impl_->graph_; }
const std::vector<PlanLine>& Session::plan() const { return impl_->engine_->plan(); }
int64_t Session::packed_bytes() const { return impl_->engine_->packed_bytes(); }
int64_t Session::arena_bytes() const { return impl_->engine_->arena_bytes(); }
void Session::set_observer(Observer observer) { impl_->observer_ = std::move(observer); }
void Session::enable_profile(bool on) { impl_->profiling_ = on; }
std::vector<Session::ProfileLine> Session::profile() const { return impl_->profile_; }

}  // namespace lacuna
