// A node of the plan's own copy of the Graph, with what was fused into it.
#pragma once

#include <array>
#include <memory>

#include "graph/graph.h"
#include "kernels/linear.h"
#include "runtime/rounding.h"

namespace lacuna {

// In place of a number of channels per block: [n, spatial..., channels].
inline constexpr int64_t kChannelsLast = -1;
// Likewise: the codes of tokens (kernels/coded_tokens.h), rounded as entry kTokenCodes - layout of SharedTables::codings says.
inline constexpr int64_t kTokenCodes = -2;

// An attention whose operands and weights are codes (kernels::CodedAttentionProblem). Inputs of the node: q, k, v of four dimensions, each turned by
// its perm into [batch, heads, tokens, columns], and the mask. Output [batch, tokens, heads, columns] with `tokens_first`, else [batch, heads, ...].
struct CodedAttention {
  struct Operand {
    InputRounding rounding;
    float factor = 1;
    std::array<int64_t, 4> perm{0, 1, 2, 3};
  };
  Operand q, k, v;
  InputRounding product, scaled, masked, weights, result;
  float scale = 1;
  // A mask of bools holds where keys are not seen if it `hides`, else where they are; the others have this score.
  bool hides = false;
  float fill = 0;
  bool tokens_first = false;
};

// An add or mul of two pictures, or of one and a number for each channel, a concat along channels, one output of a split of them, or a resize that
// repeats pixels, of codes held with the channels of a pixel together: how each input was rounded. The result is rounded by PlanNode::output.
struct CodedStep {
  std::vector<InputRounding> inputs;
  int64_t first = 0;  // channel of the input that this output of a split begins with
};

// Attention over a cache appends to it.
inline bool writes_state(const Node& node) { return node.op == Op::attention && node.inputs.size() > 4; }

// A signed code for each signed code, at its unsigned byte.
using CodesByCode = std::array<int8_t, 256>;

// Linear and conv take y = activation(product + bias + residual): the residual is input 3 of the node.
struct PlanNode {
  Node node;
  bool dynamic = false;  // its sizes only the run can tell: it runs as the reference, and nothing becomes part of it
  kernels::Activation activation = kernels::Activation::kNone;
  float alpha = 0, beta = 0;  // of the activation, as in kernels::Epilogue
  // Of input 0, done by the step itself: linear and conv; of the codes that a global_average_pool with `codes` reads; a dequantize node that has it
  // reads values and gives them rounded.
  InputRounding rounding;
  // With `codes`, a conv reads the codes of its rounded input, a result of a quantize node, in signed bytes with the channels of a pixel
  // together (kChannelsLast); quantize and max_pool nodes write them so, and so does what has `output`.
  bool codes = false;
  InputRounding residual_codes, output;  // of input 3 and output 0
  // Of product + bias and of that + residual, on the way to the codes of a conv. Of the product before the bias and of the result of a linear;
  // of the result of a norm or of arithmetic.
  InputRounding product, sum;
  // Of a conv, from codes of the last of these roundings to codes of `output`: what nodes did in between.
  std::shared_ptr<const CodesByCode> table;
  std::shared_ptr<const CodedAttention> attention;
  std::shared_ptr<const CodedStep> coded;

  // Does it what its node does and no more? In which layout codes lie is another question.
  bool plain() const {
    return activation == kernels::Activation::kNone && !rounding && !residual_codes && !output && !product && !sum && !table && !attention && !coded;
  }
  bool has(size_t input) const { return input < node.inputs.size() && node.inputs[input] != kNoValue; }
  ValueId residual() const { return has(3) ? node.inputs[3] : kNoValue; }
};

}  // namespace lacuna
