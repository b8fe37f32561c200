#include "base/cat.h"
#include "io/onnx/importer.h"
#include "lacuna/error.h"

namespace lacuna::onnx {
namespace {

// `name`, or the next of name_2, name_3 ... that is not taken: counting on from the last one, many equal names stay cheap.
template <class Taken>
std::string unique_name(const std::string& name, std::map<std::string, int>& numbers, Taken&& taken) {
  if (!taken(name)) return name;
  int& number = numbers.try_emplace(name, 1).first->second;
  for (;;)
    if (std::string unique = cat(name, "_", ++number); !taken(unique)) return unique;
}

}  // namespace

NodeId GraphBuilder::add_node(Op op, std::vector<ValueId> inputs, size_t outputs, Attributes attributes, const std::string& name,
                              const std::string& block) {
  catch_up();
  std::string unique = unique_name(name, node_numbers_, [&](const std::string& n) { return node_names_.contains(n); });
  node_names_.insert(unique);
  NodeId id = graph_.add_node(op, std::move(inputs), outputs, std::move(attributes), unique, block);
  facts_.resize(graph_.values().size());
  InferContext context(graph_, graph_.node(id), facts_);
  schema_of(op).infer(context);
  return id;
}

std::string GraphBuilder::unique_weight_name(const std::string& name) {
  return unique_name(name, weight_numbers_, [&](const std::string& n) { return graph_.weights.find(n) >= 0; });
}

ValueId GraphBuilder::add_constant(const std::string& name, Tensor values) {
  Weight weight;
  weight.name = unique_weight_name(name);
  weight.shape = values.shape();
  weight.encoding.values = values.dtype();
  weight.source = in_memory({.values = std::move(values)});
  return graph_.add_weight(graph_.weights.add(std::move(weight)));
}

const Fact& GraphBuilder::fact(ValueId value) {
  catch_up();
  return facts_[size_t(value)];
}

void GraphBuilder::catch_up() {
  for (size_t i = facts_.size(); i < graph_.values().size(); i++) facts_.push_back(initial_fact(graph_, ValueId(i)));
}

std::optional<Tensor> GraphBuilder::constant(ValueId value) {
  if (value == kNoValue) return std::nullopt;
  if (const Weight* weight = graph_.weight_of(value)) {
    if (weight->encoding.granularity != Encoding::Granularity::kNone) return std::nullopt;
    return weight->load().values;
  }
  const Fact& known = fact(value);
  if (!known.elements || !known.shape || bits_of(known.dtype) < 8) return std::nullopt;
  auto elements = constant_shape(*known.elements);
  auto shape = constant_shape(*known.shape);
  if (!elements || !shape) return std::nullopt;
  return Tensor::of<int64_t>(*shape, *elements).to(known.dtype);
}

ValueId OpContext::required(size_t i) const {
  if (!has(i)) invalid(cat("input ", i, " is missing"));
  return node_.inputs[i];
}

void OpContext::invalid(const std::string& message) const { throw InvalidData(cat("node '", node_.name, "' (", node_.type, "): ", message)); }

template <class T>
const T* OpContext::attribute(const std::string& name) const {
  auto it = node_.attributes.find(name);
  if (it == node_.attributes.end()) return nullptr;
  if (auto* value = std::get_if<T>(&it->second)) return value;
  invalid(cat("attribute '", name, "' has the wrong type"));
}

int64_t OpContext::integer(const std::string& name, int64_t fallback) const {
  auto* v = attribute<int64_t>(name);
  return v ? *v : fallback;
}
double OpContext::number(const std::string& name, double fallback) const {
  auto* v = attribute<double>(name);
  return v ? *v : fallback;
}
std::string OpContext::text(const std::string& name, const std::string& fallback) const {
  auto* v = attribute<std::string>(name);
  return v ? *v : fallback;
}
std::vector<int64_t> OpContext::integers(const std::string& name) const {
  auto* v = attribute<std::vector<int64_t>>(name);
  return v ? *v : std::vector<int64_t>{};
}
std::vector<double> OpContext::numbers(const std::string& name) const {
  auto* v = attribute<std::vector<double>>(name);
  return v ? *v : std::vector<double>{};
}
std::vector<std::string> OpContext::texts(const std::string& name) const {
  auto* v = attribute<std::vector<std::string>>(name);
  return v ? *v : std::vector<std::string>{};
}
Tensor OpContext::tensor(const std::string& name) const {
  auto* v = attribute<Tensor>(name);
  if (!v) invalid(cat("attribute '", name, "' is missing"));
  return *v;
}

void OpContext::copy(Attributes& into, std::initializer_list<const char*> names) const {
  for (const char* name : names) {
    auto it = node_.attributes.find(name);
    if (it == node_.attributes.end()) continue;
    if (auto* i = std::get_if<int64_t>(&it->second)) into.set(name, *i);
    if (auto* f = std::get_if<double>(&it->second)) into.set(name, *f);
    if (auto* s = std::get_if<std::string>(&it->second)) into.set(name, *s);
    if (auto* v = std::get_if<std::vector<int64_t>>(&it->second)) into.set(name, *v);
    if (auto* v = std::get_if<std::vector<double>>(&it->second)) into.set(name, *v);
  }
}

std::optional<SymShape> OpContext::shape(ValueId value) const { return value == kNoValue ? std::nullopt : builder_.fact(value).shape; }

std::optional<int64_t> OpContext::rank(ValueId value) const {
  auto known = shape(value);
  return known ? std::optional(int64_t(known->size())) : std::nullopt;
}

int64_t OpContext::required_rank(ValueId value) const {
  auto known = rank(value);
  if (!known) unsupported("the number of dimensions of its input is not known before the run");
  return *known;
}

std::optional<std::vector<int64_t>> OpContext::integers_of(ValueId value) const {
  auto values = builder_.constant(value);
  if (!values || !is_integer(values->dtype()) || bits_of(values->dtype()) < 8) return std::nullopt;
  Tensor wide = values->to(DType::kS64);
  auto data = wide.data<int64_t>();
  return std::vector<int64_t>(data.begin(), data.end());
}

std::optional<std::vector<double>> OpContext::numbers_of(ValueId value) const {
  auto values = builder_.constant(value);
  if (!values || bits_of(values->dtype()) < 8) return std::nullopt;
  Tensor wide = values->to(DType::kF64);
  auto data = wide.data<double>();
  return std::vector<double>(data.begin(), data.end());
}

bool OpContext::claim(ValueId matrix, MatrixLayout layout) {
  Graph& graph = builder_.graph();
  if (!graph.weight_of(matrix)) return true;
  Weight& weight = graph.weights.edit(graph.value(matrix).weight);
  if (weight.layout == MatrixLayout::kNone) weight.layout = layout;
  return weight.layout == layout;
}

std::vector<ValueId> OpContext::add_node(Op op, std::vector<ValueId> inputs, size_t outputs, Attributes attributes, std::string_view suffix) {
  while (!inputs.empty() && inputs.back() == kNoValue) inputs.pop_back();
  NodeId id = builder_.add_node(op, std::move(inputs), outputs, std::move(attributes), suffix.empty() ? node_.name : cat(node_.name, "/", suffix),
                                node_.block);
  return builder_.graph().node(id).outputs;
}

ValueId OpContext::constant(Tensor values, std::string_view suffix) { return builder_.add_constant(cat(node_.name, "/", suffix), std::move(values)); }

ValueId OpContext::constant(const std::vector<int64_t>& values, std::string_view suffix) {
  return constant(Tensor::of<int64_t>({int64_t(values.size())}, values), suffix);
}

ValueId OpContext::scalar(double value, DType dtype, std::string_view suffix) {
  return constant(Tensor::of<double>({}, std::vector<double>{value}).to(dtype), suffix);
}

ValueId OpContext::reshape(ValueId x, const std::vector<int64_t>& shape, std::string_view suffix) {
  return add(Op::reshape, {x, constant(shape, cat(suffix, "_shape"))}, {}, suffix);
}

ValueId OpContext::cast(ValueId x, DType to, std::string_view suffix) {
  if (dtype(x) == to) return x;
  Attributes attributes;
  attributes.set("to", std::string(name_of(to)));
  return add(Op::cast, {x}, attributes, suffix);
}

void OpContext::set_output(size_t i, ValueId value) {
  if (i < results_.size()) results_[i] = value;
}

}  // namespace lacuna::onnx
