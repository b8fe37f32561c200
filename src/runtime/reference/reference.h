// The reference executor's ops: one function per op of graph/ops.def, plain loops, obviously right; what everything else is
// compared with. Float tensors are f32 here whatever the Graph declares (f16, bf16 and f64 are converted at the door); sums and
// dot products accumulate in double.
#pragma once

#include <string>

#include "graph/graph.h"

namespace lacuna {

// What a run hands to every op.
struct ReferenceContext {
  const Graph* graph = nullptr;
  int64_t past = 0;  // tokens already in the caches
};

// One node with the values it reads and writes. An absent optional input is an empty Tensor; ask has().
// States are [b, kv_heads, capacity, width] f32 and written in place.
struct OpCall {
  const Node& node;
  std::span<const Tensor> inputs;
  std::span<Tensor> outputs;
  const ReferenceContext& context;

  bool has(size_t input) const { return input < node.inputs.size() && node.inputs[input] != kNoValue; }
  const Tensor& in(size_t input) const;  // throws InvalidData if absent
  // The output as a writable tensor with unspecified content: the preset one (an arena's) if it fits, or a new one.
  Tensor& make(size_t output, DType dtype, const Shape& shape) const;
  // The output shares the bytes of `value`, unless a preset output wants a copy.
  void share(size_t output, const Tensor& value) const;

  int64_t integer(std::string_view name, int64_t fallback) const { return node.attributes.integer(name, fallback); }
  double number(std::string_view name, double fallback) const { return node.attributes.number(name, fallback); }
  std::string text(std::string_view name, std::string_view fallback) const { return node.attributes.text(name, fallback); }
  std::vector<int64_t> integers(std::string_view name, std::vector<int64_t> fallback = {}) const {
    return node.attributes.integers(name, std::move(fallback));
  }
  // Throws InvalidData naming the node.
  [[noreturn]] void fail(const std::string& message) const;
};

using ReferenceFn = void (*)(const OpCall& call);
ReferenceFn reference_of(Op op);

// One node by its reference, for constant folding (Evaluate of graph/passes): values in the types that `graph` declares come in and go
// out. Throws InvalidData.
std::vector<Tensor> evaluate_node(const Graph& graph, const Node& node, std::span<const Tensor> inputs);

// How a type is held while running: f32 for every float.
constexpr DType storage_type(DType type) { return is_float(type) ? DType::kF32 : type; }

namespace reference {
#define LACUNA_OP(name, help) void name(const OpCall& call);
#include "graph/ops.def"
#undef LACUNA_OP
}  // namespace reference

}  // namespace lacuna
