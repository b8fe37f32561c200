// Products: linear, matmul, embedding, einsum. Sums accumulate in double.
#include <map>

#include "base/parallel.h"
#include "runtime/reference/support.h"
#include "runtime/rounding.h"

namespace lacuna::reference {

// y[t, o] = sum_i x[t, i] w[o, i] + b[o]; with activations = s8, x is what its codes stand for.
void linear(const OpCall& call) {
  const Tensor &x = call.in(0), &weight = call.in(1);
  const Weight* source = call.context.graph ? call.context.graph->weight_of(call.node.inputs[1]) : nullptr;
  bool in_out = source ? source->layout == MatrixLayout::kInOut : call.integer("transposed", 0) != 0;
  int64_t in = weight.dim(in_out ? 0 : 1), out = weight.dim(in_out ? 1 : 0);
  if (x.rank() < 1 || x.dim(-1) != in) call.fail(cat("input ", to_string(x.shape()), " does not fit weight ", to_string(weight.shape())));
  const float* bias = call.has(2) ? elements<float>(call.in(2)) : nullptr;
  Shape shape = x.shape();
  shape.back() = out;
  Tensor& y = call.make(0, DType::kF32, shape);
  const float *xs = elements<float>(x), *ws = elements<float>(weight);
  int64_t tokens = in ? x.size() / in : element_count(shape) / std::max<int64_t>(out, 1);
  std::vector<float> rounded;
  if (InputRounding rounding = rounding_of(call.node)) {
    rounded.resize(size_t(x.size()));
    round_tokens(rounding, xs, tokens, in, rounded.data());
    xs = rounded.data();
  }
  parallel_for(out, [&](int64_t o) {
    for (int64_t t = 0; t < tokens; t++) {
      double sum = bias ? bias[o] : 0;
      for (int64_t i = 0; i < in; i++) sum += double(xs[t * in + i]) * (in_out ? ws[i * out + o] : ws[o * in + i]);
      elements<float>(y)[t * out + o] = float(sum);
    }
  });
}

// numpy rules: a 1-D operand is a row (left) or a column (right) and loses that axis again.
void matmul(const OpCall& call) {
  Tensor a = call.in(0), b = call.in(1);
  bool row = a.rank() == 1, column = b.rank() == 1;
  if (row) a = a.reshaped({1, a.dim(0)});
  if (column) b = b.reshaped({b.dim(0), 1});
  if (a.rank() < 2 || b.rank() < 2) call.fail("operands are scalars");
  bool ta = !row && call.integer("transpose_a", 0), tb = !column && call.integer("transpose_b", 0);
  int64_t m = a.dim(ta ? -1 : -2), k = a.dim(ta ? -2 : -1), n = b.dim(tb ? -2 : -1);
  if (k != b.dim(tb ? -1 : -2)) call.fail(cat("shapes ", to_string(a.shape()), " and ", to_string(b.shape()), " do not multiply"));
  double scale = call.number("scale", 1);
  Shape batch_a(a.shape().begin(), a.shape().end() - 2), batch_b(b.shape().begin(), b.shape().end() - 2);
  Shape batch = broadcast_shapes(call, batch_a, batch_b), shape = batch;
  if (!row) shape.push_back(m);
  if (!column) shape.push_back(n);
  Tensor& y = call.make(0, a.dtype(), shape);
  with_type(a.dtype(), [&](auto type) {
    using T = decltype(type);
    using Sum = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;
    std::array strides{broadcast_strides(batch_a, batch), broadcast_strides(batch_b, batch)};
    for_each<2>(batch, strides, [&](int64_t at, auto& from) {
      const T *as = elements<T>(a) + from[0] * m * k, *bs = elements<T>(b) + from[1] * k * n;
      for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
          Sum sum = 0;
          for (int64_t l = 0; l < k; l++) sum += Sum(as[ta ? l * m + i : i * k + l]) * Sum(bs[tb ? j * k + l : l * n + j]);
          if constexpr (std::is_floating_point_v<T>) sum *= scale;
          elements<T>(y)[(at * m + i) * n + j] = T(sum);
        }
    });
  });
}

void embedding(const OpCall& call) {
  const Tensor& table = call.in(1);
  int64_t vocab = table.dim(0), width = table.dim(1), least = call.integer("from_end", 0) ? -vocab : 0;
  Shape shape = call.in(0).shape();
  shape.push_back(width);
  Tensor& y = call.make(0, table.dtype(), shape);
  with_width(table.dtype(), [&](auto type) {
    using T = decltype(type);
    int64_t at = 0;
    for (int64_t id : integers_of(call.in(0))) {
      if (id < least || id >= vocab) call.fail(cat("id ", id, " is outside of a table with ", vocab, " rows"));
      const T* row = elements<T>(table) + (id < 0 ? id + vocab : id) * width;
      std::copy(row, row + width, elements<T>(y) + at);
      at += width;
    }
  });
}

namespace {

// An equation with its ellipses spelled out: each operand and the result as a list of axis names.
struct Equation {
  std::vector<std::vector<int>> operands;  // ellipsis axes have names from 1000 on, right-aligned
  std::vector<int> result;
};

Equation parse_equation(const OpCall& call) {
  std::string text = call.text("equation", "");
  std::erase(text, ' ');
  size_t arrow = text.find("->");
  std::vector<std::string> terms(1);
  for (char c : text.substr(0, arrow)) {
    if (c == ',')
      terms.emplace_back();
    else
      terms.back() += c;
  }
  if (terms.size() != call.node.inputs.size())
    call.fail(cat("equation '", text, "' has ", terms.size(), " operands, the node has ", call.node.inputs.size()));
  Equation equation;
  int widest = 0;
  std::map<int, int> uses;
  for (size_t n = 0; n < terms.size(); n++) {
    std::vector<int> axes;
    for (size_t c = 0; c < terms[n].size(); c++) {
      if (terms[n][c] != '.') {
        axes.push_back(terms[n][c]);
        uses[terms[n][c]]++;
        continue;
      }
      c += 2;
      int count = int(call.in(n).rank()) - int(terms[n].size() - 3);
      widest = std::max(widest, count);
      for (int i = count; i > 0; i--) axes.push_back(1000 + i);
    }
    if (int64_t(axes.size()) != call.in(n).rank()) call.fail(cat("operand '", terms[n], "' does not fit shape ", to_string(call.in(n).shape())));
    equation.operands.push_back(axes);
  }
  std::string right = arrow == std::string::npos ? "..." : text.substr(arrow + 2);
  for (size_t c = 0; c < right.size(); c++) {
    if (right[c] != '.') {
      equation.result.push_back(right[c]);
      continue;
    }
    c += 2;
    for (int i = widest; i > 0; i--) equation.result.push_back(1000 + i);
  }
  if (arrow == std::string::npos)
    for (auto [name, count] : uses)
      if (count == 1) equation.result.push_back(name);
  return equation;
}

}  // namespace

// Sums the product of all operands over every assignment of the axes that are not in the result.
void einsum(const OpCall& call) {
  Equation equation = parse_equation(call);
  std::map<int, int64_t> sizes;
  for (size_t n = 0; n < equation.operands.size(); n++)
    for (size_t i = 0; i < equation.operands[n].size(); i++) {
      int64_t& size = sizes.try_emplace(equation.operands[n][i], 1).first->second;
      int64_t d = call.in(n).shape()[i];
      if (size != d && size != 1 && d != 1) call.fail(cat("sizes ", size, " and ", d, " of one axis differ"));
      size = std::max(size, d);
    }
  std::vector<int> axes = equation.result;
  Shape shape, all;
  for (int name : equation.result) shape.push_back(sizes.at(name));
  for (auto [name, size] : sizes)
    if (std::find(axes.begin(), axes.end(), name) == axes.end()) axes.push_back(name);
  for (int name : axes) all.push_back(sizes.at(name));
  std::vector<std::vector<int64_t>> strides;  // per operand, along `axes`
  for (size_t n = 0; n < equation.operands.size(); n++) {
    auto own = strides_of(call.in(n).shape());
    std::vector<int64_t> along(axes.size(), 0);
    for (size_t i = 0; i < own.size(); i++)
      if (call.in(n).shape()[i] != 1) along[size_t(std::find(axes.begin(), axes.end(), equation.operands[n][i]) - axes.begin())] += own[i];
    strides.push_back(along);
  }
  Tensor& y = call.make(0, call.in(0).dtype(), shape);
  with_type(y.dtype(), [&](auto type) {
    using T = decltype(type);
    std::vector<double> sums(size_t(y.size()), 0);
    int64_t inner = std::max<int64_t>(1, element_count(std::span(all).subspan(shape.size())));
    for_each_index(all, [&](std::span<const int64_t> index, int64_t i) {
      double product = 1;
      for (size_t n = 0; n < strides.size(); n++) {
        int64_t offset = 0;
        for (size_t k = 0; k < index.size(); k++) offset += index[k] * strides[n][k];
        product *= double(elements<T>(call.in(n))[offset]);
      }
      sums[size_t(i / inner)] += product;
    });
    for (size_t i = 0; i < sums.size(); i++) elements<T>(y)[i] = T(sums[i]);
  });
}

}  // namespace lacuna::reference
