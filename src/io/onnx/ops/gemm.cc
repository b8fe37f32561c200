// Gemm: alpha A' B' + beta C. Since 7; 9 and 13 add types, 11 makes C optional. A constant B makes a linear, else a matmul.
#include "io/onnx/gemm.h"

namespace lacuna::onnx {
namespace {

// A weight says its orientation by its layout, a result by an attribute.
Attributes orientation(OpContext& context, ValueId matrix, bool in_out) {
  return context.is_weight(matrix) ? Attributes{} : with({{"transposed", int64_t(in_out)}});
}

}  // namespace

ValueId add_gemm(OpContext& context, const GemmOperands& g, std::string_view suffix) {
  ValueId a = g.a;
  std::string stem = suffix.empty() ? "" : std::string(suffix) + "_";
  if (g.transpose_a) a = context.add(Op::transpose, {a}, with({{"perm", std::vector<int64_t>{1, 0}}}), stem + "a");
  auto bias = context.shape(g.c);
  auto b = context.shape(g.b);
  bool has_c = g.c != kNoValue && g.beta != 0;
  bool linear = is_constant_matrix(context, g.b) && context.claim(g.b, g.transpose_b ? MatrixLayout::kOutIn : MatrixLayout::kInOut);
  bool fused_bias = linear && has_c && g.alpha == 1 && g.beta == 1 && bias && bias->size() == 1 && (*bias)[0] == (*b)[g.transpose_b ? 0 : 1];
  bool scaled = g.alpha != 1, added = has_c && !fused_bias;
  auto name = [&](bool last, const char* part) { return last ? std::string(suffix) : stem + part; };
  std::string product = name(!scaled && !added, "product");
  ValueId y;
  if (linear) {
    y = context.add(Op::linear, {a, g.b, fused_bias ? g.c : kNoValue}, orientation(context, g.b, !g.transpose_b), product);
  } else {
    Attributes attributes;
    if (g.transpose_b) attributes.set("transpose_b", int64_t(1));
    y = context.add(Op::matmul, {a, g.b}, attributes, product);
  }
  if (scaled) y = context.add(Op::mul, {y, context.scalar(g.alpha, context.dtype(y), stem + "alpha")}, {}, name(!added, "scaled"));
  if (!added) return y;
  ValueId c = g.c;
  if (g.beta != 1) c = context.add(Op::mul, {c, context.scalar(g.beta, context.dtype(c), stem + "beta")}, {}, stem + "c");
  return context.add(Op::add, {y, c}, {}, suffix);
}

ValueId add_matmul(OpContext& context, ValueId a, ValueId b, std::string_view suffix) {
  if (is_constant_matrix(context, b) && is_float(context.dtype(a)) && context.claim(b, MatrixLayout::kInOut))
    return context.add(Op::linear, {a, b}, orientation(context, b, true), suffix);
  return context.add(Op::matmul, {a, b}, {}, suffix);
}

bool is_constant_matrix(OpContext& context, ValueId value) {
  auto rank = context.rank(value);
  if (!rank || *rank != 2) return false;
  const Graph& graph = context.builder().graph();
  for (int steps = 0; steps < 4; steps++) {
    if (const Weight* weight = graph.weight_of(value)) return is_float(weight->encoding.values) || steps > 0;
    NodeId producer = graph.value(value).producer;
    if (producer < 0) return false;
    const Node& node = graph.node(producer);
    if (node.op != Op::transpose && node.op != Op::dequantize) return false;
    value = node.inputs[0];
  }
  return false;
}

namespace import {

void gemm(OpContext& context) {
  GemmOperands g{.a = context.required(0), .b = context.required(1), .c = context.input(2)};
  g.transpose_a = context.integer("transA", 0) != 0;
  g.transpose_b = context.integer("transB", 0) != 0;
  g.alpha = context.number("alpha", 1);
  g.beta = context.number("beta", 1);
  context.set_output(0, add_gemm(context, g, ""));
}

void matmul(OpContext& context) { context.set_output(0, add_matmul(context, context.required(0), context.required(1), "")); }

}  // namespace import
}  // namespace lacuna::onnx
