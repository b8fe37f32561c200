#include "runtime/session.h"

#include <algorithm>
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

bool is_optional(const Graph& graph, const std::string& input) { return graph.metadata.contains(cat("optional:", input)); }

// The Graph as it is when no optional input is given: attention without a mask is faster, and has no length to be compiled for.
std::shared_ptr<const Graph> without_optional_inputs(std::shared_ptr<const Graph> graph) {
  auto inputs = graph->inputs();
  bool none = std::none_of(inputs.begin(), inputs.end(), [&](ValueId v) { return is_optional(*graph, graph->value(v).name); });
  if (none) return graph;
  auto copy = std::make_shared<Graph>(*graph);
  for (ValueId v : inputs)
    if (is_optional(*graph, graph->value(v).name)) copy->remove_input(v);
  return copy;
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
      : graph_(std::move(graph)), bare_graph_(without_optional_inputs(graph_)), options_(options), cache_(cache_limit(*graph_, options)) {}

  TensorMap run(const TensorMap& given) {
    FlushDenormals flush;
    BoundInputs inputs = bind(given);
    profile_.clear();
    int64_t new_tokens = 0;
    std::vector<Tensor> values = engine_->run(call(inputs), new_tokens);
    cache_.advance(new_tokens);
    TensorMap out;
    for (size_t i = 0; i < values.size(); i++) out.insert_or_assign(graph_->outputs()[i].name, values[i]);
    return out;
  }

  void prepare(const TensorMap& given) {
    FlushDenormals flush;
    BoundInputs inputs = bind(given);
    engine_->prepare(call(inputs));
  }

  BoundInputs bind(const TensorMap& given) {
    bool bare = std::none_of(given.begin(), given.end(), [&](auto& input) { return is_optional(*graph_, input.first); });
    BoundInputs inputs = bind_inputs(bare ? *bare_graph_ : *graph_, given, cache_.past());
    use_engine(bare);
    return inputs;
  }

  RunCall call(const BoundInputs& inputs) { return {inputs, cache_, observer_ ? &observer_ : nullptr, profiling_ ? &profile_ : nullptr}; }

  void use_engine(bool bare) {
    auto& engine = bare ? bare_engine_ : full_engine_;
    if (!engine) {
      auto graph = graph_to_run(bare ? bare_graph_ : graph_, options_);
      engine = options_.executor == Executor::kReference ? make_reference_engine(graph) : make_runtime_engine(graph, options_);
    }
    engine_ = engine.get();
  }

  std::shared_ptr<const Graph> graph_, bare_graph_;
  SessionOptions options_;
  KvCache cache_;
  std::unique_ptr<Engine> bare_engine_, full_engine_;  // without and with the optional inputs; made when first asked for
  Engine* engine_ = nullptr;                           // of the last run
  Observer observer_;
  bool profiling_ = false;
  std::vector<ProfileLine> profile_;
};

Session::Session(std::shared_ptr<const Graph> graph, SessionOptions options) : impl_(std::make_unique<Impl>(std::move(graph), options)) {
  impl_->use_engine(true);
}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;

TensorMap Session::run(const TensorMap& inputs) { return impl_->run(inputs); }
void Session::prepare(const TensorMap& inputs) { impl_->prepare(inputs); }
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
