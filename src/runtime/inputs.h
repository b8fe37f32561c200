// What a caller hands to run(): checked against the Graph's inputs, with the symbols bound from the shapes.
#pragma once

#include "graph/graph.h"
#include "runtime/session.h"

namespace lacuna {

struct BoundInputs {
  Bindings bindings;
  std::vector<Tensor> tensors;  // in the order of graph.inputs(), in storage types (f32 for every float)
};

// Integers convert among each other and so do floats; an integer does not become a float silently. An input left out takes the
// number of metadata "default:NAME", if there is one. `past` binds a symbol of that name.
// Throws InvalidArgument naming the input: missing, unknown (listing the known ones), misshapen (found and wanted) or mistyped.
BoundInputs bind_inputs(const Graph& graph, const TensorMap& given, int64_t past);

}  // namespace lacuna
