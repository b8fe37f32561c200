// Activation functions out of their parts. Exports order the factors of a product as they like, so a product is first
// flattened into its constant and its other factors.
//   gelu       0.5 x (1 + erf(x / sqrt(2)))    and    0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
//   silu       x sigmoid(x)
//   mish       x tanh(softplus(x))
//   hard_sigmoid  clip(x + 3, 0, 6) / 6        hard_swish  x hard_sigmoid(x)
#include <algorithm>
#include <array>
#include <cmath>

#include "graph/passes/rewrite.h"

namespace lacuna::passes {
namespace {

bool close(double a, double b, double tolerance = 1e-4) { return std::abs(a - b) <= tolerance * std::abs(b); }

struct Product {
  double constant = 1, tolerance = 1e-4;  // relative
  std::vector<ValueId> factors;           // sorted

  bool is(double wanted, std::vector<ValueId> of) const {
    std::sort(of.begin(), of.end());
    return close(constant, wanted, tolerance) && factors == of;
  }
};

// Factors of `value`; `x` and `y` are never taken apart.
void flatten(const Rewriter& rewriter, ValueId value, ValueId x, ValueId y, int depth, Product& out) {
  const Node* node = value == x || value == y ? nullptr : rewriter.producer(value);
  if (auto c = rewriter.scalar(value)) {
    out.constant *= *c;
    out.tolerance = std::max(out.tolerance, rewriter.precision(value));
  } else if (node && depth > 0 && node->op == Op::mul) {
    flatten(rewriter, node->inputs[0], x, y, depth - 1, out);
    flatten(rewriter, node->inputs[1], x, y, depth - 1, out);
  } else if (node && depth > 0 && node->op == Op::div && rewriter.scalar(node->inputs[1])) {
    out.constant /= *rewriter.scalar(node->inputs[1]);
    out.tolerance = std::max(out.tolerance, rewriter.precision(node->inputs[1]));
    flatten(rewriter, node->inputs[0], x, y, depth - 1, out);
  } else if (node && depth > 0 && node->op == Op::pow && (rewriter.is_scalar(node->inputs[1], 2) || rewriter.is_scalar(node->inputs[1], 3))) {
    for (int i = 0; i < int(*rewriter.scalar(node->inputs[1])); i++) flatten(rewriter, node->inputs[0], x, y, depth - 1, out);
  } else {
    out.factors.push_back(value);
  }
}

Product product_of(const Rewriter& rewriter, ValueId value, ValueId x, ValueId y = kNoValue) {
  Product out;
  flatten(rewriter, value, x, y, 4, out);
  std::sort(out.factors.begin(), out.factors.end());
  return out;
}

// The first value among the factors of a product for which `accept` holds, looking through inner products.
template <class Accept>
const Node* find_factor(const Rewriter& rewriter, const Node& product, Accept&& accept, int depth = 3) {
  for (ValueId v : product.inputs) {
    const Node* node = rewriter.producer(v);
    if (!node) continue;
    if (accept(*node)) return node;
    if (depth > 0 && (node->op == Op::mul || node->op == Op::div))
      if (const Node* found = find_factor(rewriter, *node, accept, depth - 1)) return found;
  }
  return nullptr;
}

// x of 1 + erf(x / sqrt(2)).
ValueId match_erf(const Rewriter& rewriter, const Node& erf) {
  const Node* scaled = rewriter.producer(erf.inputs[0]);
  if (!scaled || (scaled->op != Op::mul && scaled->op != Op::div)) return kNoValue;
  for (ValueId x : scaled->inputs)
    if (product_of(rewriter, erf.inputs[0], x).is(M_SQRT1_2, {x})) return x;
  return kNoValue;
}

// x of 1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)), also as x (1 + 0.044715 x^2).
ValueId match_tanh(const Rewriter& rewriter, const Node& tanh) {
  constexpr double kRoot = 0.7978845608028654, kCubic = 0.044715;  // sqrt(2 / pi); Hendrycks and Gimpel 2016
  const Node* inner = rewriter.producer(tanh.inputs[0]);
  if (!inner || inner->op != Op::mul) return kNoValue;
  const Node* sum = find_factor(rewriter, *inner, [](const Node& n) { return n.op == Op::add; });
  if (!sum) return kNoValue;
  for (size_t i = 0; i < 2; i++) {
    ValueId x = sum->inputs[i], s = sum->outputs[0];
    if (!rewriter.scalar(x) && product_of(rewriter, sum->inputs[1 - i], x).is(kCubic, {x, x, x}) &&
        product_of(rewriter, tanh.inputs[0], x, s).is(kRoot, {s}))
      return x;
    if (!rewriter.is_scalar(sum->inputs[i], 1)) continue;
    for (ValueId candidate : inner->inputs) {
      for (const Node* up = rewriter.producer(candidate); candidate != kNoValue; candidate = kNoValue) {
        std::vector<ValueId> tries = {candidate};
        if (up && up->op == Op::mul) tries.insert(tries.end(), up->inputs.begin(), up->inputs.end());
        for (ValueId t : tries)
          if (product_of(rewriter, sum->inputs[1 - i], t).is(kCubic, {t, t}) && product_of(rewriter, tanh.inputs[0], t, s).is(kRoot, {t, s}))
            return t;
      }
    }
  }
  return kNoValue;
}

bool raise_gelu(Rewriter& rewriter, const Node& node) {
  // y = 1 + erf(...) or 1 + tanh(...)
  auto half = [&](const Node& n) -> const Node* {
    auto one = n.op == Op::add ? rewriter.with_scalar(n) : std::nullopt;
    const Node* function = one && close(one->constant, 1) ? rewriter.producer(one->value) : nullptr;
    return function && (function->op == Op::erf || function->op == Op::tanh) ? function : nullptr;
  };
  const Node* y = find_factor(rewriter, node, [&](const Node& n) { return half(n) != nullptr; });
  if (!y) return false;
  const Node& function = *half(*y);
  ValueId x = function.op == Op::erf ? match_erf(rewriter, function) : match_tanh(rewriter, function);
  if (x == kNoValue || !product_of(rewriter, node.outputs[0], x, y->outputs[0]).is(0.5, {x, y->outputs[0]})) return false;
  Attributes attributes;
  attributes.set("approximate", std::string(function.op == Op::erf ? "none" : "tanh"));
  rewriter.replace(node, Op::gelu, {x}, attributes);
  return true;
}

// x f(x) for f = sigmoid, hard_sigmoid, tanh of softplus.
bool raise_gate(Rewriter& rewriter, const Node& node) {
  if (node.op != Op::mul) return false;
  for (size_t i = 0; i < 2; i++) {
    ValueId x = node.inputs[i];
    const Node* gate = rewriter.producer(node.inputs[1 - i]);
    if (!gate) continue;
    if (gate->op == Op::sigmoid && gate->inputs[0] == x) return rewriter.replace(node, Op::silu, {x}, {}), true;
    bool hard = gate->op == Op::hard_sigmoid && gate->inputs[0] == x && close(gate->attributes.number("alpha", 0.2), 1.0 / 6) &&
                close(gate->attributes.number("beta", 0.5), 0.5);
    if (hard) return rewriter.replace(node, Op::hard_swish, {x}, {}), true;
    const Node* softplus = gate->op == Op::tanh ? rewriter.producer(gate->inputs[0], Op::softplus) : nullptr;
    if (softplus && softplus->inputs[0] == x) return rewriter.replace(node, Op::mish, {x}, {}), true;
  }
  return false;
}

bool is_clip_to_6(const Rewriter& rewriter, const Node& node) {
  if (node.op != Op::clip) return false;
  auto bound = [&](size_t i, const char* name, double fallback) {
    if (node.inputs.size() > i && node.inputs[i] != kNoValue) return rewriter.scalar(node.inputs[i]).value_or(fallback);
    return node.attributes.number(name, fallback);
  };
  return bound(1, "min", -1) == 0 && bound(2, "max", -1) == 6;
}

bool raise_hard(Rewriter& rewriter, const Node& node) {
  const Node* clip = find_factor(rewriter, node, [&](const Node& n) { return is_clip_to_6(rewriter, n); });
  const Node* sum = clip ? rewriter.producer(clip->inputs[0], Op::add) : nullptr;
  auto three = sum ? rewriter.with_scalar(*sum) : std::nullopt;
  if (!three || !close(three->constant, 3)) return false;
  ValueId x = three->value;
  Product product = product_of(rewriter, node.outputs[0], x, clip->outputs[0]);
  if (product.is(1.0 / 6, {x, clip->outputs[0]})) return rewriter.replace(node, Op::hard_swish, {x}, {}), true;
  if (!product.is(1.0 / 6, {clip->outputs[0]})) return false;
  Attributes attributes;
  attributes.set("alpha", 1.0 / 6);
  attributes.set("beta", 0.5);
  rewriter.replace(node, Op::hard_sigmoid, {x}, attributes);
  return true;
}

}  // namespace

int64_t activations(Graph& graph, const PassOptions&) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); i++) {
    const Node& node = rewriter.node(NodeId(i));
    if (node.op != Op::mul && node.op != Op::div) continue;
    if (!raise_gate(rewriter, node) && !raise_gelu(rewriter, node)) raise_hard(rewriter, node);
  }
  return rewriter.finish();
}

}  // namespace lacuna::passes
