// Turns the constants that products read into weights in the sense of the Graph.
#pragma once

#include "graph/graph.h"

namespace lacuna::onnx {

// For every linear, conv and conv_transpose (not in groups, and of a plain constant): gives its weight the matrix layout it is used in, looks through
// a transpose, and makes codes behind DequantizeLinear a coded weight under the name of the codes; then removes nodes that nothing reads. A linear
// whose matrix cannot be a weight (two uses that contradict, scales along the inputs) becomes a matmul. metadata["onnx.quantized"] keeps the source
// names of scales and zero points for the exporter.
void claim_weights(Graph& graph);

}  // namespace lacuna::onnx
