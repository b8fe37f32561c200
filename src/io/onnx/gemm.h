// Products that several ONNX ops come down to.
#pragma once

#include "io/onnx/importer.h"

namespace lacuna::onnx {

struct GemmOperands {
  ValueId a, b, c = kNoValue;
  bool transpose_a = false, transpose_b = false;
  double alpha = 1, beta = 1;
};
// alpha A' B' + beta C, named like the ONNX node (and suffix).
ValueId add_gemm(OpContext& context, const GemmOperands& operands, std::string_view suffix);

// a b by numpy's rules; a constant matrix b makes a linear.
ValueId add_matmul(OpContext& context, ValueId a, ValueId b, std::string_view suffix);

// Is this a matrix that does not depend on inputs: a weight, or one behind DequantizeLinear or Transpose? claim_weights makes a
// weight of it, or turns the linear into a matmul.
bool is_constant_matrix(OpContext& context, ValueId value);

// Convolution attributes as the Graph has them (group -> groups); checks kernel_shape against the weight.
Attributes conv_attributes(OpContext& context, ValueId weight);

}  // namespace lacuna::onnx
