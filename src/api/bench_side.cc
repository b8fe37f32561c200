#include "api/bench_side.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/cat.h"
#include "graph/infer.h"
#include "lacuna/error.h"
#include "quantize/insert.h"
#include "quantize/ranges.h"
#include "runtime/rounding.h"

namespace lacuna {
namespace {

constexpr int64_t kBytesPerWeight = 2 * (4 + 2 + 1);  // of all precisions, sparse and dense

bool multiplies(const Graph& graph, const Node& node) { return (node.op == Op::linear || node.op == Op::conv) && graph.weight_of(node.inputs[1]); }

bool rounds_input(const Graph& graph, const Node& node) {
  NodeId maker = graph.value(node.inputs[0]).producer;
  return rounding_of(node) || (maker >= 0 && graph.node(maker).op == Op::dequantize);
}

std::string stored_in(const Encoding& encoding) {
  if (encoding.values == DType::kF32 || encoding.values == DType::kF64) return "f32";
  return is_float(encoding.values) ? cat(name_of(encoding.values), " weights") : cat(bits_of(encoding.values), "-bit weights");
}

// The scale of the input of each convolution, but for depthwise ones, and of what is added to its result.
void round_convolutions(Graph& graph, const TensorMap& samples) {
  std::set<WeightId> depthwise;
  for (const WeightUse& use : weight_uses(graph))
    if (use.reason.find("depthwise") != std::string::npos) depthwise.insert(use.weight);
  std::set<NodeId> convolutions;
  for (NodeId n = 0; n < NodeId(graph.nodes().size()); n++) {
    const Node& node = graph.node(n);
    if (node.op == Op::conv && multiplies(graph, node) && !depthwise.contains(graph.value(node.inputs[1]).weight)) convolutions.insert(n);
  }
  RoundingPlan plan = plan_rounding(graph, convolutions);
  if (plan.readers.empty()) return;
  std::set<ValueId> watched, seen;
  for (auto& [value, readers] : plan.readers) watched.insert(value);
  Ranges ranges(watched);
  Session session(std::make_shared<const Graph>(graph));
  session.set_observer([&](const Node& node, std::span<const Tensor> inputs, std::span<const Tensor>) {
    for (size_t i = 0; i < node.inputs.size(); i++)
      if (watched.contains(node.inputs[i]) && seen.insert(node.inputs[i]).second) ranges.observe_largest(node.inputs[i], inputs[i]);
  });
  session.run(samples);
  std::map<ValueId, float> scales;
  for (ValueId value : watched) scales[value] = ranges.scale_of(value, RangeMethod::kMinMax, 100, graph.value(value).name);
  insert_rounding(graph, plan, scales);
  infer_shapes(graph);
}

}  // namespace

std::string own_arithmetic(const Graph& graph) {
  std::map<std::string, int64_t> weights;
  for (const Node& node : graph.nodes()) {
    if (!multiplies(graph, node)) continue;
    const Weight& weight = *graph.weight_of(node.inputs[1]);
    weights[rounds_input(graph, node) ? "int8" : stored_in(weight.encoding)] += weight.size();
  }
  auto most = std::max_element(weights.begin(), weights.end(), [](auto& a, auto& b) { return a.second < b.second; });
  return most == weights.end() ? "f32" : most->first;
}

std::vector<Arithmetic> arithmetics_of(const Graph& graph, const std::vector<std::string>& wanted, std::vector<std::string>& remarks) {
  std::string own = own_arithmetic(graph);
  std::vector<Arithmetic> known = {{"f32", false, DType::kF32}, {"bf16", false, DType::kBF16}, {"int8", false, DType::kS8}};
  auto same = std::find_if(known.begin(), known.end(), [&](auto& a) { return a.name == own; });
  if (same == known.end()) same = known.insert(known.begin(), {own});
  same->own = true, same->compute.reset();

  int64_t bytes = multiplied_weights(graph) * kBytesPerWeight;
  bool own_only = wanted.empty() && bytes > kMostBytesUnasked;
  if (own_only)
    remarks.push_back(cat("only ", own, ", as the model states: f32, bf16 and int8 side by side, sparse and dense, would pack up to ", bytes >> 20,
                          " MiB of weights; --precision names those to time"));
  std::vector<Arithmetic> out;
  for (const Arithmetic& a : known) {
    bool named = std::any_of(wanted.begin(), wanted.end(), [&](auto& name) { return name == a.name || (a.own && name == "own"); });
    if (wanted.empty() ? !own_only || a.own : named) out.push_back(a);
  }
  for (const std::string& name : wanted)
    if (name != "own" && std::none_of(known.begin(), known.end(), [&](auto& a) { return a.name == name; }))
      throw InvalidArgument(cat("unknown precision '", name, "'; known: own, f32, bf16, int8"));
  return out;
}

std::shared_ptr<const Graph> graph_for(const std::shared_ptr<const Graph>& graph, const Arithmetic& arithmetic, const TensorMap& samples) {
  if (arithmetic.own) return graph;
  auto copy = std::make_shared<Graph>(*graph);
  if (arithmetic.compute == DType::kS8) {
    round_convolutions(*copy, samples);
    return copy;
  }
  for (NodeId n = 0; n < NodeId(copy->nodes().size()); n++)
    if (copy->node(n).op == Op::linear && rounding_of(copy->node(n))) copy->edit_node(n).attributes.set("activations", std::string());
  return copy;
}

}  // namespace lacuna
