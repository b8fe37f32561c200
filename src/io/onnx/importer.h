// How the import function of an ONNX op sees its node: decoded attributes, operands and what is known of them, and the
// Graph it adds to. Import functions live in ops/, one file per op or family; ops.def lists them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "graph/infer.h"

namespace lacuna::onnx {

using AttributeValue = std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>, std::vector<std::string>, Tensor>;

// One node, decoded. Absent optional inputs are kNoValue; unnamed outputs are "".
struct SourceNode {
  std::string domain, type, name, block;
  int version = 0;  // the op's own version: the newest of ops.def's list that is not newer than the model's opset
  std::vector<ValueId> inputs;
  std::vector<std::string> outputs;
  std::map<std::string, AttributeValue> attributes;
};

// Attributes of a Graph node, written in one expression.
inline Attributes with(std::initializer_list<std::pair<const char*, Attribute>> values) {
  Attributes out;
  for (auto& [name, value] : values) out.set(name, value);
  return out;
}

// Thrown by import functions for what a node asks and Lacuna does not do; the importer collects them all.
struct UnsupportedNode {
  std::string message;
};

// The Graph under construction with what is known of its values so far.
class GraphBuilder {
 public:
  explicit GraphBuilder(Graph& graph) : graph_(graph) {}
  Graph& graph() { return graph_; }

  // Adds a node named `name` (made unique) and infers its outputs.
  NodeId add_node(Op op, std::vector<ValueId> inputs, size_t outputs, Attributes attributes, const std::string& name, const std::string& block);
  // A weight of `name` (made unique) holding these values.
  ValueId add_constant(const std::string& name, Tensor values);
  std::string unique_weight_name(const std::string& name);

  const Fact& fact(ValueId value);
  // The values of a constant: a plain weight, or a result whose elements are all known integers.
  std::optional<Tensor> constant(ValueId value);

 private:
  void catch_up();  // facts of inputs and weights added since

  Graph& graph_;
  std::vector<Fact> facts_;
  std::set<std::string> node_names_;
  std::map<std::string, int> node_numbers_, weight_numbers_;  // by name: the last number put behind it
};

class OpContext {
 public:
  OpContext(GraphBuilder& builder, const SourceNode& node) : builder_(builder), node_(node), results_(node.outputs.size(), kNoValue) {}

  const std::string& type() const { return node_.type; }
  int version() const { return node_.version; }
  size_t input_count() const { return node_.inputs.size(); }
  bool has(size_t i) const { return i < node_.inputs.size() && node_.inputs[i] != kNoValue; }
  ValueId input(size_t i) const { return has(i) ? node_.inputs[i] : kNoValue; }
  ValueId required(size_t i) const;  // throws InvalidData if absent
  size_t output_count() const { return node_.outputs.size(); }
  bool wants(size_t i) const { return i < node_.outputs.size() && !node_.outputs[i].empty(); }

  // Attributes; InvalidData if of another type.
  bool has_attribute(const std::string& name) const { return node_.attributes.contains(name); }
  int64_t integer(const std::string& name, int64_t fallback) const;
  double number(const std::string& name, double fallback) const;
  std::string text(const std::string& name, const std::string& fallback) const;
  std::vector<int64_t> integers(const std::string& name) const;  // empty if absent
  std::vector<double> numbers(const std::string& name) const;
  std::vector<std::string> texts(const std::string& name) const;
  Tensor tensor(const std::string& name) const;  // required
  // Copies attributes of these names, if present, into `into`, under the same name.
  void copy(Attributes& into, std::initializer_list<const char*> names) const;

  // What is known before the run.
  DType dtype(ValueId value) const { return builder_.fact(value).dtype; }
  std::optional<SymShape> shape(ValueId value) const;
  std::optional<int64_t> rank(ValueId value) const;
  int64_t required_rank(ValueId value) const;  // unsupported() if unknown
  std::optional<std::vector<int64_t>> integers_of(ValueId value) const;
  std::optional<std::vector<double>> numbers_of(ValueId value) const;
  bool is_weight(ValueId value) const { return builder_.graph().weight_of(value) != nullptr; }

  // Makes `layout` the view of a plain weight; false if another use has made it a different one. Results are claimed later, by
  // claim_weights: true.
  bool claim(ValueId matrix, MatrixLayout layout);

  // Adds a node; without suffix it carries the ONNX node's name, with one NAME/suffix.
  ValueId add(Op op, std::vector<ValueId> inputs, Attributes attributes = {}, std::string_view suffix = "") {
    return add_node(op, std::move(inputs), 1, std::move(attributes), suffix)[0];
  }
  std::vector<ValueId> add_node(Op op, std::vector<ValueId> inputs, size_t outputs, Attributes attributes, std::string_view suffix = "");
  // Constants named NAME/suffix.
  ValueId constant(Tensor values, std::string_view suffix);
  ValueId constant(const std::vector<int64_t>& values, std::string_view suffix);  // a vector
  ValueId scalar(double value, DType dtype, std::string_view suffix);
  ValueId reshape(ValueId x, const std::vector<int64_t>& shape, std::string_view suffix);
  ValueId cast(ValueId x, DType to, std::string_view suffix);

  void set_output(size_t i, ValueId value);
  const std::vector<ValueId>& results() const { return results_; }

  [[noreturn]] void unsupported(const std::string& message) const { throw UnsupportedNode{message}; }
  [[noreturn]] void invalid(const std::string& message) const;  // InvalidData naming the node

  GraphBuilder& builder() { return builder_; }

 private:
  template <class T>
  const T* attribute(const std::string& name) const;

  GraphBuilder& builder_;
  const SourceNode& node_;
  std::vector<ValueId> results_;
};

// One line of ops.def.
struct OpEntry {
  std::string_view domain, type;
  std::vector<int> versions;                 // ascending; every version this build accepts
  std::vector<std::string_view> attributes;  // every attribute it may carry
  void (*import)(OpContext& context);
};
std::span<const OpEntry> all_ops();
// nullptr if unknown.
const OpEntry* find_op(std::string_view domain, std::string_view type);

}  // namespace lacuna::onnx
