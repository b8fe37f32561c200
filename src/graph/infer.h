// Shape inference and constant folding over symbolic dimensions. Small integer tensors (shapes, axes, slice bounds) are
// propagated as vectors of dimension expressions.
#pragma once

#include "graph/graph.h"

namespace lacuna {

// What is known of one value.
struct Fact {
  DType dtype = DType::kF32;
  std::optional<SymShape> shape;
  // For integer (and bool) tensors of at most 4096 elements whose elements are known as expressions: row-major elements.
  std::optional<std::vector<Dim>> elements;
};

// Everything an op's inference sees and sets.
class InferContext {
 public:
  InferContext(const Graph& graph, const Node& node, std::vector<Fact>& facts) : graph_(graph), node_(node), facts_(facts) {}
  const Node& node() const { return node_; }
  const Attributes& attributes() const { return node_.attributes; }
  size_t input_count() const { return node_.inputs.size(); }
  bool has_input(size_t i) const { return i < node_.inputs.size() && node_.inputs[i] != kNoValue; }
  const Fact& input(size_t i) const;                        // throws InvalidData if absent
  const SymShape* shape(size_t i) const;                    // nullptr if unknown
  const std::vector<Dim>* elements(size_t i) const;         // nullptr if unknown or absent
  std::optional<std::vector<int64_t>> constants(size_t i) const;  // elements, if all are integers
  void set(size_t output, DType dtype, std::optional<SymShape> shape);
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

// Facts of every value for the given bindings (none: fully symbolic). Indexed by ValueId. Nodes whose shapes cannot be
// known before the run leave them unknown. Throws InvalidData naming the node whose shapes contradict.
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
