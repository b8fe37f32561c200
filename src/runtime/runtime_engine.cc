// The fast executor: a Program per binding, compiled when first asked for, all sharing packed weights and one arena. A batch of items that do not
// depend on each other runs apart where that was measured to be faster.
#include <bit>
#include <list>

#include "base/cat.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "graph/passes/passes.h"
#include "lacuna/error.h"
#include "runtime/apart.h"
#include "runtime/measure.h"
#include "runtime/passes/fold_batch_norm.h"
#include "runtime/reference/reference.h"

namespace lacuna {
namespace {

constexpr size_t kMaxPrograms = 32;  // the least recently used one goes
constexpr size_t kMaxSplits = 8;
constexpr int64_t kPiece = 4;  // items of a batch that may run together on a thread
constexpr char kTogether[] = "together", kOneByOne[] = "one by one", kInFours[] = "in fours";

class RuntimeEngine final : public Engine {
 public:
  RuntimeEngine(std::shared_ptr<const Graph> graph, const SessionOptions& options)
      : source_(std::move(graph)),
        planned_(planned(*source_)),
        packs_(planned_, options),
        source_packs_(*source_, options),
        measures_(options.measured_plan),
        items_(options.split_batches ? separate_items(planned_) : std::nullopt) {}

  std::vector<Tensor> run(const RunCall& call, int64_t& new_tokens) override {
    new_tokens = 0;
    if (Apart* apart = apart_for(call)) return apart->run(call, arenas_);
    Program& program = prepared(call);
    new_tokens = program.cache_needs().tokens;
    return together(program, call);
  }

  void prepare(const RunCall& call) override {
    if (!apart_for(call)) prepared(call);
  }

  const std::vector<PlanLine>& plan() const override { return packs_.plan().empty() ? source_packs_.plan() : packs_.plan(); }
  int64_t packed_bytes() const override { return packs_.packed_bytes() + source_packs_.packed_bytes(); }
  int64_t arena_bytes() const override { return arenas_.bytes(); }

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
    arenas_.get(0, program.arena_bytes());
    return program;
  }

  std::vector<Tensor> together(Program& program, const RunCall& call) { return program.run(call, arenas_.get(0, program.arena_bytes())); }

  // How a batch of these bindings runs on so many threads: nullptr means as one.
  struct Split {
    Bindings bindings;
    int threads;
    std::unique_ptr<Apart> apart;
  };

  Apart* apart_for(const RunCall& call) {
    if (!items_ || (call.observer && *call.observer)) return nullptr;
    const Bindings& bindings = call.inputs.bindings;
    auto count = bindings.find(items_->symbol);
    if (count == bindings.end() || count->second < 2) return nullptr;
    for (auto it = splits_.begin(); it != splits_.end(); ++it)
      if (it->bindings == bindings && it->threads == thread_count()) {
        splits_.splice(splits_.begin(), splits_, it);
        return it->apart.get();
      }
    std::unique_ptr<Apart> apart = split(call, count->second);
    if (splits_.size() >= kMaxSplits) splits_.pop_back();
    Split& fresh = splits_.emplace_front(Split{bindings, thread_count(), nullptr});
    fresh.apart = std::move(apart);
    return fresh.apart.get();
  }

  std::unique_ptr<Apart> in_pieces_of(int64_t most, const Bindings& bindings, int64_t count) {
    auto constant = [this](ValueId v) -> const Tensor& { return constant_of(planned_, v); };
    return std::make_unique<Apart>(*items_, count, most, [&](int64_t items) {
      Bindings piece = bindings;
      piece[items_->symbol] = items;
      PackStore::ForItems choosing(packs_, items);
      std::optional<SerialLoops> serial;  // kernels are measured as they will run
      if (measures_) serial.emplace();
      return std::make_unique<Program>(planned_, piece, packs_, constant, true, 1);
    });
  }

  std::unique_ptr<Apart> split(const RunCall& call, int64_t count) {
    const Bindings& bindings = call.inputs.bindings;
    if (!measures_) {
      if (fixed_way(bindings, count) == kTogether) return nullptr;
      return in_pieces_of(1, bindings, count);
    }
    std::map<int64_t, std::unique_ptr<Apart>> tried;
    auto in_pieces = [&](int64_t most) -> std::unique_ptr<Apart>& {
      auto& apart = tried[most];
      if (!apart) apart = in_pieces_of(most, bindings, count);
      return apart;
    };
    // Sizes of one class go the same way.
    Bindings size_class = bindings;
    for (auto& [symbol, size] : size_class) size = int64_t(std::bit_ceil(uint64_t(size)));
    std::string& way = ways_[{size_class, thread_count()}];
    if (way.empty()) {
      Hasher products;
      for (int64_t line : in_pieces(1)->program().plan_lines()) products.update(packs_.plan()[size_t(line)].problem + "\n");
      auto apart = [&](int64_t most) { return [&, most] { in_pieces(most)->run({call.inputs, call.cache}, arenas_); }; };
      std::vector<Way> ways = {{kTogether, [&] { together(prepared(call), {call.inputs, call.cache}); }}, {kOneByOne, apart(1)}};
      if (count > kPiece) ways.push_back({kInFours, apart(kPiece)});
      way = fastest_way(cat("batch of ", size_class.at(items_->symbol), ": ", products.hex()), ways);
    }
    std::unique_ptr<Apart> chosen;
    if (way != kTogether) chosen = std::move(in_pieces(way == kInFours ? kPiece : 1));
    // What the other ways would take is not kept.
    tried.clear();
    if (chosen) std::erase_if(programs_, [&](const Entry& entry) { return entry.fuse && entry.bindings == bindings; });
    arenas_.clear();
    packs_.drop_unused();
    return chosen;
  }

  // By rule: one by one where every thread has items all the time, and an item is worth it.
  std::string fixed_way(const Bindings& bindings, int64_t count) const {
    int64_t threads = thread_count();
    if (count % threads > 0 && count < 4 * threads) return kTogether;
    return worth_running_alone(bindings) ? kOneByOne : kTogether;
  }

  // Whether an item multiplies much, and weights are not read for a few rows.
  bool worth_running_alone(Bindings bindings) const {
    constexpr int64_t kFewRows = 32;
    constexpr double kMuch = 1e6, kMostOfFewRows = 0.25;
    bindings[items_->symbol] = 1;
    try {
      Products products = products_of(planned_, bindings, kFewRows);
      return products.all >= kMuch && products.of_few_rows < kMostOfFewRows * products.all;
    } catch (const Error&) {
      return false;  // there is no item alone of these sizes
    }
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
    // Other numbers of threads may run these items apart, and are to give the same bits.
    auto count = items_ && fuse ? bindings.find(items_->symbol) : bindings.end();
    bool in_items = count != bindings.end() && count->second > 1 && worth_running_alone(bindings);
    PackStore::ForItems choosing(packs_, in_items ? count->second : 1);
    auto program = std::make_unique<Program>(graph, bindings, fuse ? packs_ : source_packs_, constant, fuse, thread_count());
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
  bool measures_;
  std::optional<Items> items_;
  std::list<Split> splits_;                               // most recently used first
  std::map<std::pair<Bindings, int>, std::string> ways_;  // measured, by sizes rounded up to powers of two, and threads
  Arenas arenas_;
};

}  // namespace

std::unique_ptr<Engine> make_runtime_engine(std::shared_ptr<const Graph> graph, const SessionOptions& options) {
  return std::make_unique<RuntimeEngine>(std::move(graph), options);
}

}  // namespace lacuna
