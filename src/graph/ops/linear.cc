// Products: linear, matmul, embedding, einsum.
#include <map>

#include "base/cat.h"
#include "graph/ops/rules.h"
#include "lacuna/error.h"

namespace lacuna::ops {
namespace {

// x [..., in], weight [out, in] or [in, out], bias [out] -> [..., out]; with activations = s8 x is rounded per token first
void linear(InferContext& context) {
  const Fact& x = context.input(0);
  expect_rank(context, 0, 1, true);
  expect_rank(context, 1, 2);
  if (std::string rounded = context.attributes().text("activations", ""); !rounded.empty() && rounded != "s8")
    context.fail(cat("attribute 'activations' is '", rounded, "', wanted s8"));
  bool in_out = linear_is_in_out(context.graph(), context.node());
  const SymShape* weight = context.shape(1);
  if (!x.shape || !weight) return context.set(0, x.dtype, std::nullopt);
  Dim in = (*weight)[in_out ? 0 : 1], out = (*weight)[in_out ? 1 : 0];
  expect_equal(context, x.shape->back(), in, "the width of the input and the weight's input features");
  if (auto* bias = context.shape(2)) {
    expect_rank(context, 2, 1);
    expect_equal(context, bias->back(), out, "the length of the bias and the weight's output features");
  }
  SymShape shape = *x.shape;
  shape.back() = out;
  context.set(0, x.dtype, shape);
}

// numpy rules: a 1-D operand is a row (left) or a column (right) and loses that axis again.
void matmul(InferContext& context) {
  const Fact &a = context.input(0), &b = context.input(1);
  DType dtype = promote(a.dtype, b.dtype);
  expect_rank(context, 0, 1, true);
  expect_rank(context, 1, 1, true);
  if (!a.shape || !b.shape) return context.set(0, dtype, std::nullopt);
  SymShape x = *a.shape, y = *b.shape;
  bool row = x.size() == 1, column = y.size() == 1;
  if (row) x.insert(x.begin(), Dim(1));
  if (column) y.push_back(Dim(1));
  if (!row && context.attributes().integer("transpose_a", 0)) std::swap(x[x.size() - 1], x[x.size() - 2]);
  if (!column && context.attributes().integer("transpose_b", 0)) std::swap(y[y.size() - 1], y[y.size() - 2]);
  expect_equal(context, x.back(), y[y.size() - 2], "the inner dimensions");
  SymShape out = broadcast({x.begin(), x.end() - 2}, {y.begin(), y.end() - 2}, "batch dimensions");
  if (!row) out.push_back(x[x.size() - 2]);
  if (!column) out.push_back(y.back());
  context.set(0, dtype, out);
}

// ids [...], weight [vocab, width] -> [..., width] in f32 (f64 if the table is); with from_end = 1 negative ids count from the end
void embedding(InferContext& context) {
  const Fact &ids = context.input(0), &weight = context.input(1);
  expect_rank(context, 1, 2);
  if (is_float(ids.dtype)) context.fail(cat("ids are ", name_of(ids.dtype), ", wanted integers"));
  DType dtype = weight.dtype == DType::kF64 ? DType::kF64 : is_float(weight.dtype) ? DType::kF32 : weight.dtype;
  if (!ids.shape || !weight.shape) return context.set(0, dtype, std::nullopt);
  SymShape out = *ids.shape;
  out.push_back(weight.shape->back());
  context.set(0, dtype, out);
}

// "bij,bjk->bik", implicit outputs, "..." as in numpy.
void einsum(InferContext& context) {
  std::string equation = context.attributes().text("equation", "");
  std::erase(equation, ' ');
  size_t arrow = equation.find("->");
  std::string left = equation.substr(0, arrow);
  std::vector<std::string> terms(1);
  for (char c : left) {
    if (c == ',')
      terms.emplace_back();
    else
      terms.back() += c;
  }
  if (terms.size() != context.input_count())
    context.fail(cat("equation '", equation, "' has ", terms.size(), " operands, the node has ", context.input_count()));
  DType dtype = context.input(0).dtype;
  std::map<char, Dim> sizes;
  std::map<char, int> uses;
  SymShape ellipsis;
  for (size_t i = 0; i < terms.size(); i++) {
    dtype = promote(dtype, context.input(i).dtype);
    if (!context.shape(i)) return context.set(0, dtype, std::nullopt);
    const SymShape& shape = *context.shape(i);
    size_t dots = terms[i].find("...");
    size_t letters = terms[i].size() - (dots == std::string::npos ? 0 : 3);
    if (letters > shape.size() || (dots == std::string::npos && letters != shape.size()))
      context.fail(cat("operand '", terms[i], "' does not fit shape ", to_string(shape)));
    size_t axis = 0;
    for (size_t c = 0; c < terms[i].size();) {
      if (c == dots) {
        size_t count = shape.size() - letters;
        ellipsis = broadcast(ellipsis, {shape.begin() + long(axis), shape.begin() + long(axis + count)}, "ellipsis");
        axis += count, c += 3;
        continue;
      }
      char letter = terms[i][c++];
      if (!((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z'))) context.fail(cat("equation '", equation, "' cannot be read"));
      const Dim& size = shape[axis++];
      auto [it, fresh] = sizes.try_emplace(letter, size);
      if (!fresh && size != Dim(1)) {
        if (it->second != Dim(1)) expect_equal(context, it->second, size, cat("sizes of '", letter, "'"));
        it->second = size;
      }
      uses[letter]++;
    }
  }
  std::string right;
  if (arrow == std::string::npos) {
    right = left.find("...") == std::string::npos ? "" : "...";
    for (auto& [letter, n] : uses)
      if (n == 1) right += letter;
  } else {
    right = equation.substr(arrow + 2);
  }
  SymShape out;
  for (size_t c = 0; c < right.size();) {
    if (right.compare(c, 3, "...") == 0) {
      out.insert(out.end(), ellipsis.begin(), ellipsis.end());
      c += 3;
      continue;
    }
    auto it = sizes.find(right[c++]);
    if (it == sizes.end()) context.fail(cat("equation '", equation, "' cannot be read"));
    out.push_back(it->second);
  }
  context.set(0, dtype, out);
}

const OpSchema kSchemas[] = {
    {Op::linear, 2, 3, 1, 1, {"transposed", "activations"}, linear},
    {Op::matmul, 2, 2, 1, 1, {"transpose_a", "transpose_b", "scale"}, matmul},
    {Op::embedding, 2, 2, 1, 1, {"from_end"}, embedding},
    {Op::einsum, 1, -1, 1, 1, {"equation"}, einsum},
};

}  // namespace

std::span<const OpSchema> linear_schemas() { return kSchemas; }

}  // namespace lacuna::ops
