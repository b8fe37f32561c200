// einsum of two operands -> matmul between transposes and reshapes, which the passes behind this one turn into linear and attention.
//
// Labels are batch (in both operands and the result), contracted (in both, not in the result) or free (in one operand and the result).
//   weight:      'abc,cde->abde', W constant: matmul(x [a, b, c], W [c, d * e]), reshaped to [a, b, d, e]; 'abcd,cde->abe': x is reshaped to
//                [a, b, c * d]. A bias [d, e] that is added is flattened with it. This is how Keras writes attention.
//   activations: one contracted label, one free label on each side: 'aecd,abcd->acbe' = matmul of [a, c, b, d] and [a, c, d, e].
// The weight keeps its name, type and values; only its shape is flattened to a matrix.
#include <algorithm>

#include "graph/passes/rewrite.h"

namespace lacuna::passes {
namespace {

class ReshapedSource : public WeightSource {
 public:
  ReshapedSource(std::shared_ptr<const WeightSource> source, Shape shape) : source_(std::move(source)), shape_(std::move(shape)) {}
  WeightData load() const override {
    WeightData data = source_->load();
    data.values = data.values.reshaped(shape_);
    return data;
  }
  int64_t stored_bytes() const override { return source_->stored_bytes(); }
  void drop() const override { source_->drop(); }

 private:
  std::shared_ptr<const WeightSource> source_;
  Shape shape_;
};

struct Operand {
  ValueId value;
  std::string labels;
};

struct Equation {
  Operand a, b;
  std::string result, batch, contracted, free_a, free_b;  // the groups in the order of the result, contracted in that of b
};

bool has(std::string_view labels, char label) { return labels.find(label) != labels.npos; }

std::optional<Equation> parse(const Node& node) {
  if (node.inputs.size() != 2) return std::nullopt;
  std::string text = node.attributes.text("equation", "");
  std::erase(text, ' ');
  size_t comma = text.find(','), arrow = text.find("->");
  if (comma == text.npos || arrow == text.npos || has(text, '.')) return std::nullopt;
  Equation e{.a = {node.inputs[0], text.substr(0, comma)}, .b = {node.inputs[1], text.substr(comma + 1, arrow - comma - 1)}};
  e.result = text.substr(arrow + 2);
  for (auto* labels : {&e.a.labels, &e.b.labels, &e.result}) {
    std::string sorted = *labels;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) return std::nullopt;  // a diagonal
  }
  for (char c : e.result) (has(e.a.labels, c) ? has(e.b.labels, c) ? e.batch : e.free_a : e.free_b) += c;
  for (char c : e.b.labels)
    if (has(e.a.labels, c) && !has(e.result, c)) e.contracted += c;
  bool summed = e.a.labels.size() != e.batch.size() + e.contracted.size() + e.free_a.size() ||
                e.b.labels.size() != e.batch.size() + e.contracted.size() + e.free_b.size();  // over one operand alone
  return summed || e.contracted.empty() ? std::nullopt : std::optional(e);
}

Equation swapped(Equation e) {
  std::swap(e.a, e.b);
  std::swap(e.free_a, e.free_b);
  std::string order;
  for (char c : e.b.labels)
    if (has(e.contracted, c)) order += c;
  e.contracted = order;
  return e;
}

// Builds a chain of nodes whose last one takes the place of a node that is there.
class Chain {
 public:
  Chain(Rewriter& rewriter, const Node& last) : rewriter_(rewriter), last_(rewriter.id_of(last)) {}

  ValueId transposed(const Operand& from, const std::string& to) {
    return from.labels == to ? from.value : rewriter_.insert_before(last_, Op::transpose, {from.value}, perm(from.labels, to), "turned");
  }
  ValueId add(Op op, std::vector<ValueId> inputs, std::string_view suffix) {
    return rewriter_.insert_before(last_, op, std::move(inputs), {}, suffix);
  }
  ValueId reshaped(ValueId value, const std::vector<int64_t>& dims, std::string_view suffix) {
    return add(Op::reshape, {value, rewriter_.constant(dims)}, suffix);
  }
  void finish(Op op, std::vector<ValueId> inputs, Attributes attributes = {}) {
    rewriter_.replace(rewriter_.node(last_), op, std::move(inputs), std::move(attributes));
  }
  void finish_transposed(const Operand& from, const std::string& to) { finish(Op::transpose, {from.value}, perm(from.labels, to)); }

 private:
  static Attributes perm(const std::string& from, const std::string& to) {
    std::vector<int64_t> axes;
    for (char c : to) axes.push_back(int64_t(from.find(c)));
    Attributes out;
    out.set("perm", std::move(axes));
    return out;
  }

  Rewriter& rewriter_;
  NodeId last_;
};

// A float constant that nothing else reads, not yet seen as a matrix.
const Weight* own_constant(const Rewriter& rewriter, const Graph& graph, ValueId value) {
  const Weight* weight = graph.weight_of(value);
  bool plain = weight && weight->layout == MatrixLayout::kNone && weight->encoding.granularity == Encoding::Granularity::kNone;
  return plain && is_float(weight->encoding.values) && bits_of(weight->encoding.values) >= 8 && rewriter.single_use(value) ? weight : nullptr;
}

void flatten(Graph& graph, ValueId value, const Shape& shape) {
  Weight& weight = graph.weights.edit(graph.value(value).weight);
  weight.shape = shape;
  weight.source = std::make_shared<ReshapedSource>(weight.source, shape);
  SymShape symbolic;
  for (int64_t d : shape) symbolic.emplace_back(d);
  graph.edit_value(value).shape = symbolic;
}

// The addition that alone reads the product, if what it adds is a constant of the shape of the free dimensions of the weight.
const Node* match_bias(const Rewriter& rewriter, const Graph& graph, ValueId product, const Shape& free) {
  const Node* add = rewriter.only_user(product);
  if (!add || add->op != Op::add || add->inputs[0] == add->inputs[1]) return nullptr;
  ValueId bias = rewriter.other_input(*add, product);
  const Weight* weight = own_constant(rewriter, graph, bias);
  return weight && weight->shape == free ? add : nullptr;
}

// e.b is the weight.
bool to_linear(Rewriter& rewriter, const Node& node, const Equation& e) {
  Graph& graph = rewriter.graph();
  const Weight* weight = own_constant(rewriter, graph, e.b.value);
  if (!weight || !e.batch.empty() || e.free_a.empty() || e.free_b.empty() || graph.weight_of(e.a.value)) return false;
  std::string free;  // in the order of the weight
  for (char c : e.b.labels)
    if (has(e.free_b, c)) free += c;
  bool in_out = e.b.labels == e.contracted + free, out_in = e.b.labels == free + e.contracted;
  if (!in_out && !out_in) return false;
  Shape inner, outer;
  for (size_t i = 0; i < e.b.labels.size(); i++) (has(e.contracted, e.b.labels[i]) ? inner : outer).push_back(weight->shape[i]);
  int64_t in = element_count(inner), out = element_count(outer);

  bool in_order = e.result == e.free_a + free;
  const Node* biased = in_order ? match_bias(rewriter, graph, node.outputs[0], outer) : nullptr;
  ValueId bias = biased ? rewriter.other_input(*biased, node.outputs[0]) : kNoValue;
  bool flat = outer.size() == 1;
  flatten(graph, e.b.value, in_out ? Shape{in, out} : Shape{out, in});
  if (biased && !flat) flatten(graph, bias, {out});

  Chain chain(rewriter, biased ? *biased : node);
  std::vector<int64_t> kept(e.free_a.size(), 0), split = kept;
  ValueId x = chain.transposed(e.a, e.free_a + e.contracted);
  if (inner.size() > 1) {
    kept.push_back(in);
    x = chain.reshaped(x, kept, "joined");
  }
  ValueId matrix = e.b.value;
  if (out_in) matrix = chain.transposed({matrix, "oi"}, "io");
  if (flat && in_order && !biased) {
    chain.finish(Op::matmul, {x, matrix});
    return true;
  }
  ValueId y = chain.add(Op::matmul, {x, matrix}, "product");
  if (biased && flat) {
    chain.finish(Op::add, {y, bias});
    return true;
  }
  if (biased) y = chain.add(Op::add, {y, bias}, "biased");
  split.insert(split.end(), outer.begin(), outer.end());
  if (in_order) {
    chain.finish(Op::reshape, {y, rewriter.constant(split)});
    return true;
  }
  if (!flat) y = chain.reshaped(y, split, "split");
  chain.finish_transposed({y, e.free_a + free}, e.result);
  return true;
}

bool to_matmul(Rewriter& rewriter, const Node& node, Equation e) {
  if (e.contracted.size() != 1 || e.free_a.size() != 1 || e.free_b.size() != 1) return false;
  for (auto& operand : {e.a, e.b})
    if (rewriter.rank(operand.value) != int64_t(operand.labels.size()) || !is_float(rewriter.dtype(operand.value))) return false;
  // An operand whose dimension is 1 where the other's is not is repeated by einsum, but not by a product.
  Dim inner_a = (*rewriter.shape(e.a.value))[e.a.labels.find(e.contracted)], inner_b = (*rewriter.shape(e.b.value))[e.b.labels.find(e.contracted)];
  if (inner_a.is_constant() && inner_b.is_constant() && !(inner_a == inner_b)) return false;
  if (e.result.find(e.free_a) > e.result.find(e.free_b)) e = swapped(e);
  Chain chain(rewriter, node);
  ValueId a = chain.transposed(e.a, e.batch + e.free_a + e.contracted), b = chain.transposed(e.b, e.batch + e.contracted + e.free_b);
  std::string product = e.batch + e.free_a + e.free_b;
  if (product == e.result) {
    chain.finish(Op::matmul, {a, b});
    return true;
  }
  chain.finish_transposed({chain.add(Op::matmul, {a, b}, "product"), product}, e.result);
  return true;
}

}  // namespace

int64_t einsum(Graph& graph, const PassOptions&) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); i++) {
    const Node& node = rewriter.node(NodeId(i));
    auto equation = node.op == Op::einsum ? parse(node) : std::nullopt;
    if (!equation) continue;
    to_linear(rewriter, node, *equation) || to_linear(rewriter, node, swapped(*equation)) || to_matmul(rewriter, node, *equation);
  }
  return rewriter.finish();
}

}  // namespace lacuna::passes
