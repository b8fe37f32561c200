// Runs node after node with the reference ops; every value lives until its last use.
#include <chrono>

#include "base/cat.h"
#include "lacuna/error.h"
#include "runtime/engine.h"
#include "runtime/reference/reference.h"

namespace lacuna {

Tensor weight_value(const Weight& weight) {
  WeightData data = weight.load();
  bool plain =
      weight.encoding.granularity == Encoding::Granularity::kNone && is_integer(weight.encoding.values) && bits_of(weight.encoding.values) >= 8;
  if (plain && !data.mask) return data.values;
  return decode_f32(weight, data).reshaped(weight.shape);
}

namespace {

class ReferenceEngine final : public Engine {
 public:
  explicit ReferenceEngine(std::shared_ptr<const Graph> graph) : graph_(std::move(graph)), last_use_(graph_->values().size(), -1) {
    auto nodes = graph_->nodes();
    for (size_t n = 0; n < nodes.size(); n++)
      for (ValueId v : nodes[n].inputs)
        if (v != kNoValue) last_use_[size_t(v)] = int64_t(n);
    for (auto& output : graph_->outputs()) last_use_[size_t(output.value)] = int64_t(nodes.size());
  }

  std::vector<Tensor> run(const RunCall& call, int64_t& new_tokens) override {
    std::vector<Fact> facts = infer_facts(*graph_, call.inputs.bindings);
    CacheNeeds needs = cache_needs(*graph_, facts);
    call.cache.reserve(needs);
    new_tokens = needs.tokens;
    std::vector<Tensor> values(graph_->values().size());
    for (size_t i = 0; i < graph_->inputs().size(); i++) values[size_t(graph_->inputs()[i])] = call.inputs.tensors[i];
    for (auto& state : needs.states) values[size_t(state.value)] = call.cache.state(state.value);
    ReferenceContext context{graph_.get(), call.cache.past()};
    for (size_t n = 0; n < graph_->nodes().size(); n++) {
      run_node(graph_->nodes()[n], values, context, call);
      for (ValueId v : graph_->nodes()[n].inputs)
        if (v != kNoValue && last_use_[size_t(v)] == int64_t(n) && graph_->value(v).kind == ValueKind::kResult) values[size_t(v)] = Tensor();
    }
    std::vector<Tensor> outputs;
    for (auto& output : graph_->outputs()) {
      Tensor value = graph_->value(output.value).kind == ValueKind::kWeight ? weight(output.value) : values[size_t(output.value)];
      DType declared = facts[size_t(output.value)].dtype;
      outputs.push_back(is_float(declared) ? value.to(declared) : value);
    }
    return outputs;
  }

  void prepare(const RunCall&) override {
    for (const Node& node : graph_->nodes())
      for (ValueId v : node.inputs)
        if (v != kNoValue && graph_->value(v).kind == ValueKind::kWeight) weight(v);
  }

  const std::vector<PlanLine>& plan() const override { return plan_; }
  int64_t packed_bytes() const override { return 0; }
  int64_t arena_bytes() const override { return 0; }

 private:
  const Tensor& weight(ValueId id) {
    auto [it, fresh] = weights_.try_emplace(id);
    if (fresh) it->second = weight_value(*graph_->weight_of(id));
    return it->second;
  }

  void run_node(const Node& node, std::vector<Tensor>& values, const ReferenceContext& context, const RunCall& call) {
    auto begin = std::chrono::steady_clock::now();
    std::vector<Tensor> inputs, outputs(node.outputs.size());
    for (ValueId v : node.inputs)
      inputs.push_back(v == kNoValue ? Tensor() : graph_->value(v).kind == ValueKind::kWeight ? weight(v) : values[size_t(v)]);
    reference_of(node.op)(OpCall{node, inputs, outputs, context});
    for (size_t i = 0; i < outputs.size(); i++)
      if (node.outputs[i] != kNoValue) values[size_t(node.outputs[i])] = outputs[i];
    if (call.profile) {
      std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
      call.profile->push_back({node.name, std::string(name_of(node.op)), "reference", elapsed.count()});
    }
    if (call.observer && *call.observer) (*call.observer)(node, inputs, outputs);
  }

  std::shared_ptr<const Graph> graph_;
  std::vector<int64_t> last_use_;  // by value: position of the last node that reads it
  std::map<ValueId, Tensor> weights_;
  std::vector<PlanLine> plan_;
};

}  // namespace

std::unique_ptr<Engine> make_reference_engine(std::shared_ptr<const Graph> graph) { return std::make_unique<ReferenceEngine>(std::move(graph)); }

}  // namespace lacuna
