#include "graph/infer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

std::string label(const Node& node) { return cat("node '", node.name, "' (", name_of(node.op), ")"); }

// nullopt, or what is wrong: a negative size, or more elements than can be counted.
std::optional<std::string> shape_problem(const SymShape& shape) {
  int64_t count = 1;
  for (const Dim& d : shape) {
    if (!d.is_constant()) continue;
    if (d.value() < 0) return cat("shape ", to_string(shape), " has a negative size");
    if (d.value() != 0 && __builtin_mul_overflow(count, d.value(), &count)) return cat("shape ", to_string(shape), " overflows");
    if (count > (int64_t(1) << 56)) return cat("shape ", to_string(shape), " overflows");
  }
  return std::nullopt;
}

// Does every known value fit the type without rounding or wrapping?
bool fits(int64_t v, DType type) {
  auto between = [&](int64_t low, int64_t high) { return v >= low && v <= high; };
  switch (type) {
    case DType::kF64: return between(-(int64_t(1) << 53), int64_t(1) << 53);
    case DType::kF32: return between(-(1 << 24), 1 << 24);
    case DType::kF16: return between(-2048, 2048);
    case DType::kBF16: return between(-256, 256);
    case DType::kS64: return true;
    case DType::kS32: return between(INT32_MIN, INT32_MAX);
    case DType::kS16: return between(INT16_MIN, INT16_MAX);
    case DType::kS8: return between(INT8_MIN, INT8_MAX);
    case DType::kU64: return v >= 0;
    case DType::kU32: return between(0, UINT32_MAX);
    case DType::kU16: return between(0, UINT16_MAX);
    case DType::kU8: return between(0, UINT8_MAX);
    case DType::kBool: return between(0, 1);
    case DType::kS4: return between(-8, 7);
    case DType::kU4: return between(0, 15);
  }
  return false;
}

std::optional<std::vector<double>> values_of(const Weight& weight) {
  if (weight.encoding.granularity != Encoding::Granularity::kNone || bits_of(weight.encoding.values) < 8) return std::nullopt;
  WeightData data = weight.load();
  if (data.mask || data.values.size() != weight.size()) return std::nullopt;
  Tensor values = data.values.to(DType::kF64);
  auto span = values.data<double>();
  return std::vector<double>(span.begin(), span.end());
}

constexpr int64_t kMaxFloats = 64;  // of weights that may be sizes or scales: larger float weights are not read

// Elements of a small weight that holds whole numbers.
std::optional<std::vector<Dim>> elements_of(const Weight& weight) {
  if (weight.layout != MatrixLayout::kNone || weight.size() > (is_float(weight.encoding.values) ? kMaxFloats : kMaxElements)) return std::nullopt;
  if (weight.encoding.values == DType::kS64 && weight.encoding.granularity == Encoding::Granularity::kNone) {
    WeightData data = weight.load();
    if (data.mask || data.values.size() != weight.size()) return std::nullopt;
    auto span = data.values.data<int64_t>();
    return std::vector<Dim>(span.begin(), span.end());
  }
  auto values = values_of(weight);
  if (!values) return std::nullopt;
  std::vector<Dim> out;
  for (double v : *values) {
    if (v != std::floor(v) || std::abs(v) > 0x1p53 || (v == 0 && std::signbit(v)) || !fits(int64_t(v), weight.encoding.values)) return std::nullopt;
    out.push_back(Dim(int64_t(v)));
  }
  return out;
}

}  // namespace

const Fact& InferContext::input(size_t i) const {
  if (!has_input(i)) fail(cat("input ", i, " is missing"));
  return facts_[size_t(node_.inputs[i])];
}

const Fact& InferContext::output(size_t i) const {
  static const Fact nothing;
  return i < node_.outputs.size() && node_.outputs[i] != kNoValue ? facts_[size_t(node_.outputs[i])] : nothing;
}

const SymShape* InferContext::shape(size_t i) const {
  if (!has_input(i)) return nullptr;
  auto& shape = input(i).shape;
  return shape ? &*shape : nullptr;
}

const std::vector<Dim>* InferContext::elements(size_t i) const {
  if (!has_input(i)) return nullptr;
  auto& elements = input(i).elements;
  return elements ? &*elements : nullptr;
}

std::optional<std::vector<int64_t>> InferContext::constants(size_t i) const {
  auto* known = elements(i);
  return known ? constant_shape(*known) : std::nullopt;
}

std::optional<std::vector<double>> InferContext::numbers(size_t i) const {
  if (auto known = constants(i)) return std::vector<double>(known->begin(), known->end());
  if (!has_input(i)) return std::nullopt;
  const Weight* weight = graph_.weight_of(node_.inputs[i]);
  return weight && weight->size() <= kMaxFloats ? values_of(*weight) : std::nullopt;
}

Dim InferContext::unknown(size_t output, size_t axis) const { return Dim::symbol(cat("?", node_.outputs[output], ".", axis)); }

void InferContext::set(size_t output, DType dtype, std::optional<SymShape> shape) {
  if (output >= node_.outputs.size() || node_.outputs[output] == kNoValue) return;
  if (shape)
    if (auto problem = shape_problem(*shape)) fail(*problem);
  facts_[size_t(node_.outputs[output])] = {dtype, std::move(shape), std::nullopt};
}

void InferContext::set_elements(size_t output, std::vector<Dim> elements) {
  if (output >= node_.outputs.size() || node_.outputs[output] == kNoValue) return;
  Fact& fact = facts_[size_t(node_.outputs[output])];
  auto shape = fact.shape ? constant_shape(*fact.shape) : std::nullopt;
  if (!shape || int64_t(elements.size()) > kMaxElements || element_count(*shape) != int64_t(elements.size())) return;
  for (const Dim& d : elements)
    if (d.is_constant() && !fits(d.value(), fact.dtype)) return;
  fact.elements = std::move(elements);
}

void InferContext::fail(const std::string& message) const { throw InvalidData(cat(label(node_), ": ", message)); }

Fact initial_fact(const Graph& graph, ValueId id, const Bindings& bindings) {
  const Value& value = graph.value(id);
  Fact fact{.dtype = value.dtype};
  if (value.kind == ValueKind::kResult) return fact;
  if (value.shape) {
    fact.shape.emplace();
    for (const Dim& d : *value.shape) fact.shape->push_back(d.bind(bindings));
    if (auto problem = shape_problem(*fact.shape)) throw InvalidData(cat("value '", value.name, "': ", *problem));
  }
  if (const Weight* weight = graph.weight_of(id)) fact.elements = elements_of(*weight);
  return fact;
}

std::vector<Fact> infer_facts(const Graph& graph, const Bindings& bindings) {
  std::vector<Fact> facts;
  for (size_t i = 0; i < graph.values().size(); i++) facts.push_back(initial_fact(graph, ValueId(i), bindings));
  for (const Node& node : graph.nodes()) {
    InferContext context(graph, node, facts);
    try {
      schema_of(node.op).infer(context);
    } catch (const InvalidData& e) {
      std::string message = e.what();
      if (message.starts_with(label(node))) throw;
      context.fail(message);
    }
  }
  return facts;
}

void infer_shapes(Graph& graph) {
  auto facts = infer_facts(graph);
  for (size_t i = 0; i < facts.size(); i++) {
    Value& value = graph.edit_value(ValueId(i));
    if (value.kind != ValueKind::kResult) continue;
    value.dtype = facts[i].dtype;
    value.shape = facts[i].shape;
  }
}

std::vector<std::string> symbols_of(const Graph& graph) {
  std::set<std::string> symbols;
  for (ValueId id : graph.inputs())
    if (graph.value(id).shape)
      for (const Dim& d : *graph.value(id).shape) d.collect_symbols(symbols);
  return {symbols.begin(), symbols.end()};
}

SymShape broadcast(const SymShape& a, const SymShape& b, std::string_view what) {
  const SymShape &longer = a.size() >= b.size() ? a : b, &shorter = a.size() >= b.size() ? b : a;
  SymShape out = longer;
  size_t lead = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); i++) {
    const Dim &x = a[a.size() - shorter.size() + i], &y = b[b.size() - shorter.size() + i];
    Dim& d = out[lead + i];
    if (x == y || y == Dim(1))
      d = x;
    else if (x == Dim(1))
      d = y;
    else if (x.is_constant() && y.is_constant())
      throw InvalidData(cat(what, ": shapes ", to_string(a), " and ", to_string(b), " do not broadcast: ", x.value(), " against ", y.value()));
    else if (x.is_constant() || y.is_constant())
      d = x.is_constant() ? x : y;
    else
      d = x.to_string().find('?') == std::string::npos ? x : y;  // prefer what a binding can name
  }
  return out;
}

int64_t normalise_axis(int64_t axis, int64_t rank, const InferContext& context) {
  if (axis < -rank || axis >= rank) context.fail(cat("axis ", axis, " is outside of a tensor with ", rank, " dimensions"));
  return axis < 0 ? axis + rank : axis;
}

bool linear_is_in_out(const Graph& graph, const Node& node) {
  if (const Weight* weight = graph.weight_of(node.inputs[1])) return weight->layout == MatrixLayout::kInOut;
  return node.attributes.integer("transposed", 0) != 0;
}

}  // namespace lacuna
