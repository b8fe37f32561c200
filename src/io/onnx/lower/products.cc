// Products, convolutions, embeddings, recurrent layers.
#include <numeric>

#include "base/cat.h"
#include "io/onnx/lower/lowerings.h"

namespace lacuna::onnx::lower {
namespace {

// The weight as the product's type: a file may keep weights in halves and compute in floats.
std::string weight_as(Lowering& l, size_t i, DType wanted) { return l.has(i) ? l.cast(l.input(i), l.dtype(i), wanted) : ""; }

// x as its codes stand for it. ONNX rounds the whole tensor with one scale, where the Graph has one per token.
std::string rounded(Lowering& l, const std::string& x) {
  std::vector<std::string> codes = l.add_results("DynamicQuantizeLinear", {x}, 3);
  return l.add("DequantizeLinear", codes);
}

// Gemm for a matrix with bias; else MatMul by the weight, transposed if it lies [out, in], and Add.
void linear(Lowering& l) {
  const Weight* weight = l.weight(1);
  bool in_out = weight ? weight->layout == MatrixLayout::kInOut : l.attributes().integer("transposed", 0) != 0;
  DType type = l.dtype(0);
  std::string x = l.attributes().has("activations") ? rounded(l, l.input(0)) : l.input(0), w = weight_as(l, 1, type), bias = weight_as(l, 2, type);
  bool matrix = l.rank(0) == 2;
  if (matrix && (!bias.empty() || !in_out)) return l.finish("Gemm", {x, w, bias}, {{"transB", int64_t(in_out ? 0 : 1)}});
  if (!in_out) w = l.transpose(w, {1, 0});
  if (bias.empty()) return l.finish("MatMul", {x, w});
  l.finish("Add", {l.add("MatMul", {x, w}), bias});
}

std::string swapped(Lowering& l, size_t i) {
  int64_t rank = l.required_rank(i);
  if (rank < 2) return l.input(i);
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[size_t(rank) - 1], perm[size_t(rank) - 2]);
  return l.transpose(l.input(i), perm);
}

void matmul(Lowering& l) {
  std::string a = l.attributes().integer("transpose_a", 0) ? swapped(l, 0) : l.input(0);
  std::string b = l.attributes().integer("transpose_b", 0) ? swapped(l, 1) : l.input(1);
  double scale = l.attributes().number("scale", 1);
  if (scale == 1) return l.finish("MatMul", {a, b});
  l.finish("Mul", {l.add("MatMul", {a, b}), l.scalar(scale, l.dtype(0))});
}

std::map<std::string, AttributeValue> conv_attributes(Lowering& l) {
  auto attributes = l.copied({"strides", "pads", "dilations", "auto_pad", "output_padding", "output_shape"});
  attributes["group"] = l.attributes().integer("groups", 1);
  if (const SymShape* shape = l.shape(1)) {
    std::vector<int64_t> kernel;
    for (size_t i = 2; i < shape->size() && (*shape)[i].is_constant(); i++) kernel.push_back((*shape)[i].value());
    if (kernel.size() + 2 == shape->size()) attributes["kernel_shape"] = kernel;
  }
  return attributes;
}

void conv(Lowering& l) {
  DType type = l.dtype(0);
  l.finish(l.node().op == Op::conv ? "Conv" : "ConvTranspose", {l.input(0), weight_as(l, 1, type), weight_as(l, 2, type)}, conv_attributes(l));
}

void embedding(Lowering& l) {
  DType stored = l.dtype(1), wanted = stored == DType::kF64 ? DType::kF64 : DType::kF32;
  std::map<std::string, AttributeValue> axis = {{"axis", int64_t(0)}};
  if (stored == wanted || !is_float(stored)) return l.finish("Gather", {l.input(1), l.input(0)}, axis);
  l.finish("Cast", {l.add("Gather", {l.input(1), l.input(0)}, axis)}, {{"to", int64_t(wanted == DType::kF64 ? 11 : 1)}});
}

void recurrent(Lowering& l) {
  auto attributes =
      l.copied({"hidden_size", "direction", "activation_alpha", "activation_beta", "clip", "input_forget", "linear_before_reset", "layout"});
  if (l.attributes().has("activations")) {
    std::vector<std::string> names(1);
    for (char c : l.attributes().text("activations", "")) {
      if (c == ',')
        names.emplace_back();
      else
        names.back() += c;
    }
    attributes["activations"] = names;
  }
  l.finish(l.node().op == Op::lstm ? "LSTM" : l.node().op == Op::gru ? "GRU" : "RNN", l.inputs(), attributes);
}

const Entry kEntries[] = {
    {Op::linear, linear},       {Op::matmul, matmul},       {Op::conv, conv},
    {Op::conv_transpose, conv}, {Op::embedding, embedding}, {Op::einsum, LACUNA_LOWER_AS("Einsum", "equation")},
    {Op::lstm, recurrent},      {Op::gru, recurrent},       {Op::rnn, recurrent},
};

}  // namespace

std::span<const Entry> products() { return kEntries; }

}  // namespace lacuna::onnx::lower
