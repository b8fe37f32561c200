// A node of the plan's own copy of the Graph, with what was fused into it.
#pragma once

#include "graph/graph.h"
#include "kernels/linear.h"
#include "runtime/rounding.h"

namespace lacuna {

// Linear and conv take y = activation(product + bias + residual): the residual is input 3 of the node.
struct PlanNode {
  Node node;
  kernels::Activation activation = kernels::Activation::kNone;
  float alpha = 0, beta = 0;  // of the activation, as in kernels::Epilogue
  InputRounding rounding;     // of input 0, done by the step itself

  bool has(size_t input) const { return input < node.inputs.size() && node.inputs[input] != kNoValue; }
  ValueId residual() const { return has(3) ? node.inputs[3] : kNoValue; }
};

}  // namespace lacuna
