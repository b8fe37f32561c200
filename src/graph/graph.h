// The Graph: the only description of a model. SSA values, nodes, named inputs, outputs and states, and the weights.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "graph/dim.h"
#include "sparse/weight.h"

namespace lacuna {

// The op set: ops.def lists every op once, with its help.
enum class Op : uint16_t {
#define LACUNA_OP(name, help) name,
#include "graph/ops.def"
#undef LACUNA_OP
};
constexpr bool is_recurrent(Op op) noexcept { return op == Op::lstm || op == Op::gru || op == Op::rnn; }
std::string_view name_of(Op op) noexcept;  // "conv", "rms_norm"
std::optional<Op> op_from_name(std::string_view name) noexcept;

using ValueId = int32_t;
using NodeId = int32_t;
inline constexpr ValueId kNoValue = -1;  // an absent optional input

// Attributes of a node, by name; each op's schema says which it takes.
using Attribute = std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;
class Attributes {
 public:
  void set(std::string name, Attribute value) { values_[std::move(name)] = std::move(value); }
  bool has(std::string_view name) const { return values_.contains(std::string(name)); }
  int64_t integer(std::string_view name, int64_t fallback) const;
  double number(std::string_view name, double fallback) const;  // accepts integers
  std::string text(std::string_view name, std::string_view fallback) const;
  std::vector<int64_t> integers(std::string_view name, std::vector<int64_t> fallback = {}) const;
  std::vector<double> numbers(std::string_view name, std::vector<double> fallback = {}) const;
  const std::map<std::string, Attribute>& all() const { return values_; }
  bool operator==(const Attributes&) const = default;

 private:
  std::map<std::string, Attribute> values_;
};

enum class ValueKind : uint8_t { kInput, kWeight, kState, kResult };

struct Value {
  std::string name;
  ValueKind kind = ValueKind::kResult;
  DType dtype = DType::kF32;
  std::optional<SymShape> shape;  // nullopt: not even the rank is known before the run
  WeightId weight = -1;           // for kWeight
  NodeId producer = -1;           // for kResult
};

struct Node {
  Op op;
  std::string name;   // unique; the source's name where it had one
  std::string block;  // block path: "layers.3.mlp", "layer1.0"; the unit of streaming, calibration and reports
  std::vector<ValueId> inputs, outputs;
  Attributes attributes;
};

// A named input or output as the user sees it.
class Graph {
 public:
  std::string family;                           // "llama", "onnx", ...: for reports and export only
  std::map<std::string, std::string> metadata;  // what the exporter of the same kind needs (config.json verbatim, opset)
  WeightTable weights;

  ValueId add_input(std::string name, DType dtype, SymShape shape);
  ValueId add_weight(WeightId weight);  // one value per weight, shared by all uses
  ValueId add_state(std::string name, DType dtype, SymShape shape);
  // Adds a node with `outputs` results; shapes are filled in by infer_shapes. An empty name becomes "op_N".
  NodeId add_node(Op op, std::vector<ValueId> inputs, size_t outputs = 1, Attributes attributes = {}, std::string name = {}, std::string block = {});
  // The single result of add_node.
  ValueId add(Op op, std::vector<ValueId> inputs, Attributes attributes = {}, std::string name = {}, std::string block = {});
  void add_output(std::string name, ValueId value);

  std::span<const Node> nodes() const { return nodes_; }
  const Node& node(NodeId id) const { return nodes_[size_t(id)]; }
  Node& edit_node(NodeId id) { return nodes_[size_t(id)]; }
  std::span<const Value> values() const { return values_; }
  const Value& value(ValueId id) const { return values_[size_t(id)]; }
  Value& edit_value(ValueId id) { return values_[size_t(id)]; }
  struct Output {
    std::string name;
    ValueId value;
  };
  std::span<const ValueId> inputs() const { return inputs_; }
  std::span<const ValueId> states() const { return states_; }
  std::span<const Output> outputs() const { return outputs_; }
  std::vector<Output>& edit_outputs() { return outputs_; }

  // Node order is execution order (topological). For passes:
  void replace_uses(ValueId from, ValueId to);         // in nodes and outputs
  void remove_input(ValueId input);                    // its uses become kNoValue: nodes that can do without it only
  std::vector<NodeId> users(ValueId value) const;      // O(nodes)
  std::vector<std::vector<NodeId>> all_users() const;  // by value, O(nodes)
  // Replaces the whole node list (in topological order); values keep their ids, producers are renewed.
  void set_nodes(std::vector<Node> nodes);
  void sort_topologically();  // throws InvalidData on a cycle, naming a node
  // Forgets weights and results that no node and no output reads. Ids of values and weights change.
  void forget_unread();

  // The weight a value refers to, or nullptr.
  const Weight* weight_of(ValueId value) const;

 private:
  friend Graph graph_from_json(std::string_view json, WeightTable weights);

  std::vector<Node> nodes_;
  std::vector<Value> values_;
  std::vector<ValueId> inputs_, states_;
  std::vector<Output> outputs_;
  std::map<WeightId, ValueId> weight_values_;
};

// Which weights are multiplied where: the first user that is a linear or conv, for prunability and reports.
struct WeightUse {
  WeightId weight;
  NodeId node;
  bool prunable;        // by default (docs/ARCHITECTURE.md): linear, conv and conv_transpose, not embeddings, output heads, depthwise or routers
  std::string reason;   // why not prunable: "embedding", "output head", "depthwise convolution", "bias or norm", ...
  std::string op_type;  // "Linear", "Conv2d", "Embedding": the names `targets` accept; "Bias" for biases of those
};
std::vector<WeightUse> weight_uses(const Graph& graph);

// Checks every invariant of the Graph (ids, order, one producer, schema arity, known attributes, weight layouts).
// Throws InvalidData listing all problems, not the first only.
void verify(const Graph& graph);

// lacuna.json's "graph" object. `weights` are named, not stored.
std::string graph_to_json(const Graph& graph);
// Weights are looked up by name in `weights`. Validates as foreign bytes: throws InvalidData.
Graph graph_from_json(std::string_view json, WeightTable weights);

}  // namespace lacuna
