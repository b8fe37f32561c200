// Shape inference and constant folding over symbolic dimensions. Small integer tensors (shapes, axes, slice bounds) are
// propagated as vectors of dimension expressions.
#pragma once

#include "graph/graph.h"

namespace lacuna {

inline constexpr int64_t kMaxElements = 4096;  // larger tensors do not hold shapes

// What is known of one value.
struct Fact {
  DType dtype = DType::kF32;
  std::optional<SymShape> shape;
  // For tensors of at most 4096 elements that are all known as integer expressions: row-major elements. Integers and bools, and
  // floats that are whole numbers (exports compute sizes through floats), never minus zero.
  std::optional<std::vector<Dim>> elements;
};

// Everything an op's inference sees and sets.
class InferContext {
 public:
  InferContext(const Graph& graph, const Node& node, std::vector<Fact>& facts) : graph_(graph), node_(node), facts_(facts) {}
  const Node& node() const { return node_; }
  const Attributes& attributes() const { return node_.attributes; }
  const Graph& graph() const { return graph_; }
  size_t input_count() const { return node_.inputs.size(); }
  size_t output_count() const { return node_.outputs.size(); }
  bool has_input(size_t i) const { return i < node_.inputs.size() && node_.inputs[i] != kNoValue; }
  const Fact& input(size_t i) const;                              // throws InvalidData if absent
  const Fact& output(size_t i) const;                             // as set so far; nothing is known of one that is absent
  const SymShape* shape(size_t i) const;                          // nullptr if unknown
  const std::vector<Dim>* elements(size_t i) const;               // nullptr if unknown or absent
  std::optional<std::vector<int64_t>> constants(size_t i) const;  // elements, if all are integers
  std::optional<std::vector<double>> numbers(size_t i) const;     // constants, or the values of a float weight of at most 64 elements
  // A dimension that only the run can tell, as a symbol of its own ("?12.0": value 12, axis 0) that no binding names.
  Dim unknown(size_t output, size_t axis) const;
  // Sets what is known of an output; outputs that the node does not have are ignored.
  void set(size_t output, DType dtype, std::optional<SymShape> shape);
  // After set. Dropped if the shape is not constant or too large, or if a constant does not fit the dtype.
  void set_elements(size_t output, std::vector<Dim> elements);
  // Throws InvalidData naming the node.
  [[noreturn]] void fail(const std::string& message) const;

 private:
  const Graph& graph_;
  const Node& node_;
  std::vector<Fact>& facts_;
};

// One op: what it takes and how its shapes follow. The table is built from schemas.def-like lists in ops/.
struct OpSchema {
  Op op;
  int min_inputs, max_inputs;  // -1: any number
  int min_outputs, max_outputs;
  std::vector<std::string_view> attributes;  // every attribute it may carry
  void (*infer)(InferContext& context);
};
const OpSchema& schema_of(Op op);

// What an attribute of this name holds, whichever op carries it; nullopt: no op has such an attribute.
enum class AttributeKind { kInteger, kNumber, kText, kIntegers, kNumbers };
std::optional<AttributeKind> attribute_kind(std::string_view name) noexcept;

// Is this linear's weight [in, out] (ONNX MatMul, GPT-2)? By the weight's layout, or by attribute `transposed` if the weight is a result.
bool linear_is_in_out(const Graph& graph, const Node& node);

// What is known of an input, weight or state without running anything; of a result, its recorded type.
Fact initial_fact(const Graph& graph, ValueId value, const Bindings& bindings = {});
// Facts of every value for the given bindings (none: fully symbolic). Indexed by ValueId. Nodes whose shapes cannot be
// known before the run leave them unknown. Throws InvalidData naming the node whose shapes contradict.
// Symbols that start with '?' are dimensions that only the run can tell.
std::vector<Fact> infer_facts(const Graph& graph, const Bindings& bindings = {});
// infer_facts, written into the Graph's values.
void infer_shapes(Graph& graph);

// The symbols of the Graph's inputs, sorted: "batch", "tokens", ...
std::vector<std::string> symbols_of(const Graph& graph);

// Broadcasts numpy-style; a symbolic dimension against a constant > 1 takes the constant, against another symbol must be equal
// or gives the left one. Throws InvalidData on a contradiction.
SymShape broadcast(const SymShape& a, const SymShape& b, std::string_view what);
int64_t normalise_axis(int64_t axis, int64_t rank, const InferContext& context);

}  // namespace lacuna
