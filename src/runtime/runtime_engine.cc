// The fast executor: a Program per binding, compiled when first asked for, all sharing packed weights and one arena.
#include <list>

#include "base/buffer.h"
#include "graph/passes/passes.h"
#include "runtime/engine.h"
#include "runtime/passes/fold_batch_norm.h"
#include "runtime/program.h"
#include "runtime/reference/reference.h"

namespace lacuna {
namespace {

constexpr size_t kMaxPrograms = 32;  // the least recently used one goes

class RuntimeEngine final : public Engine {
 public:
  RuntimeEngine(std::shared_ptr<const Graph> graph, const SessionOptions& options)
      : source_(std::move(graph)), planned_(planned(*source_)), packs_(planned_, options), source_packs_(*source_, options) {}

  std::vector<Tensor> run(const RunCall& call, int64_t& new_tokens) override {
    Program& program = prepared(call);
    new_tokens = program.cache_needs().tokens;
    return program.run(call, arena_);
  }

  void prepare(const RunCall& call) override { prepared(call); }

  const std::vector<PlanLine>& plan() const override { return packs_.plan().empty() ? source_packs_.plan() : packs_.plan(); }
  int64_t packed_bytes() const override { return packs_.packed_bytes() + source_packs_.packed_bytes(); }
  int64_t arena_bytes() const override { return arena_bytes_; }

 private:
  static Graph planned(const Graph& graph) {
    Graph copy = graph;
    run_passes(copy, import_passes(), nullptr, {.evaluate = evaluate_node});
    fold_batch_norms(copy);
    return copy;
  }

  Program& prepared(const RunCall& call) {
    bool fuse = !(call.observer && *call.observer);
    Program& program = program_for(call.inputs.bindings, fuse);
    call.cache.reserve(program.cache_needs());
    if (program.arena_bytes() > arena_bytes_) {
      // From half a large page on whole ones, with allocate's spare bytes: kernels store to many tokens in turn, each on pages of its own.
      constexpr int64_t kPage = 2 << 20, kSpare = 64;
      arena_bytes_ = program.arena_bytes();
      int64_t in_pages = (arena_bytes_ + kSpare + kPage - 1) / kPage * kPage - kSpare;
      arena_ = allocate(size_t(arena_bytes_ >= kPage / 2 ? in_pages : arena_bytes_), false);
    }
    return program;
  }

  struct Entry {
    Bindings bindings;
    bool fuse;
    std::unique_ptr<Program> program;
  };

  Program& program_for(Bindings bindings, bool fuse) {
    if (!source_->states().empty()) bindings.erase("past");  // elsewhere it is a size like any other
    for (auto it = programs_.begin(); it != programs_.end(); ++it)
      if (it->bindings == bindings && it->fuse == fuse) {
        programs_.splice(programs_.begin(), programs_, it);
        return *programs_.front().program;
      }
    const Graph& graph = fuse ? planned_ : *source_;
    auto constant = [this, &graph](ValueId v) -> const Tensor& { return constant_of(graph, v); };
    auto program = std::make_unique<Program>(graph, bindings, fuse ? packs_ : source_packs_, constant, fuse);
    programs_.push_front({bindings, fuse, std::move(program)});
    if (programs_.size() > kMaxPrograms) programs_.pop_back();
    return *programs_.front().program;
  }

  const Tensor& constant_of(const Graph& graph, ValueId v) {
    auto [it, fresh] = constants_.try_emplace({&graph, v});
    if (fresh) it->second = weight_value(*graph.weight_of(v));
    return it->second;
  }

  std::shared_ptr<const Graph> source_;
  Graph planned_;  // the plan's own copy: patterns raised, constants and batch norms folded
  PackStore packs_, source_packs_;
  std::map<std::pair<const Graph*, ValueId>, Tensor> constants_;
  std::list<Entry> programs_;  // most recently used first
  std::shared_ptr<std::byte[]> arena_;
  int64_t arena_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Engine> make_runtime_engine(std::shared_ptr<const Graph> graph, const SessionOptions& options) {
  return std::make_unique<RuntimeEngine>(std::move(graph), options);
}

}  // namespace lacuna
