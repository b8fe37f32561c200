#include "runtime/inputs.h"

#include <algorithm>
#include <charconv>

#include "base/cat.h"
#include "lacuna/error.h"
#include "runtime/reference/reference.h"
#include "runtime/reference/support.h"

namespace lacuna {
namespace {

// The name of the symbol if the dimension is one and nothing else.
std::optional<std::string> bare_symbol(const Dim& d) {
  if (d.is_constant()) return std::nullopt;
  std::set<std::string> symbols;
  d.collect_symbols(symbols);
  if (symbols.size() == 1 && d == Dim::symbol(*symbols.begin())) return *symbols.begin();
  return std::nullopt;
}

std::string bound_text(const SymShape& wanted, const Bindings& bindings) {
  std::set<std::string> symbols;
  for (const Dim& d : wanted) d.collect_symbols(symbols);
  std::string text = to_string(wanted);
  bool first = true;
  for (auto& name : symbols)
    if (auto it = bindings.find(name); it != bindings.end()) {
      text += cat(first ? " with " : ", ", name, " = ", it->second);
      first = false;
    }
  return text;
}

[[noreturn]] void misshapen(const std::string& name, const Tensor& t, const SymShape& wanted, const Bindings& bindings) {
  throw InvalidArgument(cat("input '", name, "' has shape ", to_string(t.shape()), ", wanted ", bound_text(wanted, bindings)));
}

void check_names(const Graph& graph, const TensorMap& given) {
  std::vector<std::string> known;
  for (ValueId id : graph.inputs()) known.push_back(graph.value(id).name);
  for (auto& [name, tensor] : given)
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw InvalidArgument(cat("input '", name, "' is not an input of this model; it has: ", join(known)));
}

Tensor converted(const Value& value, const Tensor& t) {
  DType wanted = storage_type(value.dtype);
  if (t.dtype() == wanted) return t;
  if (is_float(t.dtype()) != is_float(wanted))
    throw InvalidArgument(cat("input '", value.name, "' is ", name_of(t.dtype()), ", wanted ", name_of(value.dtype)));
  return t.to(wanted);
}

// Rows of the smallest table that the ids index as they are; nullopt if none does, or if negative ids count from its end.
std::optional<int64_t> rows_indexed_by(const Graph& graph, ValueId ids) {
  std::optional<int64_t> rows;
  for (const Node& node : graph.nodes())
    if (node.op == Op::embedding && node.inputs[0] == ids && !node.attributes.integer("from_end", 0))
      if (const Weight* table = graph.weight_of(node.inputs[1])) rows = std::min(rows.value_or(table->shape[0]), table->shape[0]);
  return rows;
}

void check_ids(const Graph& graph, ValueId input, const Tensor& ids) {
  auto rows = rows_indexed_by(graph, input);
  if (!rows) return;
  std::vector<int64_t> values = reference::integers_of(ids);
  auto wrong = std::find_if(values.begin(), values.end(), [&](int64_t id) { return id < 0 || id >= *rows; });
  if (wrong == values.end()) return;
  Shape position(ids.rank());
  int64_t at = wrong - values.begin();
  for (size_t i = position.size(); i-- > 0; at /= ids.shape()[i]) position[i] = at % ids.shape()[i];
  throw InvalidArgument(cat("input '", graph.value(input).name, "' holds the id ", *wrong, " at position ", to_string(position), ", wanted 0 to ",
                            *rows - 1, " (a vocabulary of ", *rows, ")"));
}

// The most tokens of a sequence; with a padding id those that are none.
int64_t tokens_that_count(const Tensor& ids, std::optional<int64_t> padding) {
  if (!padding) return ids.dim(1);
  std::vector<int64_t> values = reference::integers_of(ids);
  int64_t most = 0;
  for (auto row = values.begin(); row != values.end(); row += ids.dim(1))
    most = std::max(most, ids.dim(1) - int64_t(std::count(row, row + ids.dim(1), *padding)));
  return most;
}

// A model that learned its positions has a row for each and no more. Where a mask decides which tokens take a position nothing is checked here.
void check_positions(const Graph& graph, std::span<const Tensor> tensors, int64_t past) {
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::embedding) continue;
    NodeId maker = graph.value(node.inputs[0]).producer;
    const Weight* table = graph.weight_of(node.inputs[1]);
    if (!table || maker < 0 || graph.node(maker).op != Op::positions || graph.node(maker).inputs.size() > 1) continue;
    const Node& positions = graph.node(maker);
    auto input = std::find(graph.inputs().begin(), graph.inputs().end(), positions.inputs[0]);
    if (input == graph.inputs().end()) continue;
    const Tensor& ids = tensors[size_t(input - graph.inputs().begin())];
    std::optional<int64_t> padding;
    if (positions.attributes.has("padding_id")) padding = positions.attributes.integer("padding_id", 0);
    int64_t most = table->shape[0] - positions.attributes.integer("offset", 0) - (padding ? *padding + 1 : 0);
    if (int64_t tokens = tokens_that_count(ids, padding); past + tokens > most)
      throw InvalidArgument(cat("input '", graph.value(*input).name, "' ", to_string(ids.shape()), " holds ", tokens, " tokens",
                                past ? cat(" behind ", past, " in the cache") : "", "; the model takes at most ", most, " positions"));
  }
}

std::optional<double> default_of(const Graph& graph, const std::string& name) {
  auto it = graph.metadata.find(cat("default:", name));
  if (it == graph.metadata.end()) return std::nullopt;
  double value = 0;
  auto [end, error] = std::from_chars(it->second.data(), it->second.data() + it->second.size(), value);
  if (error != std::errc()) throw InvalidData(cat("metadata '", it->first, "' is '", it->second, "', wanted a number"));
  return value;
}

Tensor filled(const Value& value, Shape shape, double number) {
  Tensor t(DType::kF64, std::move(shape));
  std::fill_n(t.mutable_data<double>().begin(), t.size(), number);
  return t.to(storage_type(value.dtype));
}

}  // namespace

BoundInputs bind_inputs(const Graph& graph, const TensorMap& given, int64_t past) {
  check_names(graph, given);
  BoundInputs out;
  if (!graph.states().empty()) out.bindings["past"] = past;
  // Dimensions that are one symbol or a constant first: they bind; then expressions, which can only be checked.
  for (ValueId id : graph.inputs()) {
    const Value& value = graph.value(id);
    auto it = given.find(value.name);
    if (it == given.end()) {
      if (!default_of(graph, value.name))
        throw InvalidArgument(cat("input '", value.name, "' is missing, wanted ", value.shape ? to_string(*value.shape) : "a tensor"));
      continue;
    }
    if (!value.shape) continue;
    const Tensor& t = it->second;
    if (t.shape().size() != value.shape->size()) misshapen(value.name, t, *value.shape, out.bindings);
    for (size_t i = 0; i < t.shape().size(); i++)
      if (auto symbol = bare_symbol((*value.shape)[i])) {
        auto [bound, fresh] = out.bindings.try_emplace(*symbol, t.shape()[i]);
        if (!fresh && bound->second != t.shape()[i]) misshapen(value.name, t, *value.shape, out.bindings);
      }
  }
  for (ValueId id : graph.inputs()) {
    const Value& value = graph.value(id);
    SymShape bound;
    if (value.shape)
      for (const Dim& d : *value.shape) bound.push_back(d.bind(out.bindings));
    if (auto it = given.find(value.name); it != given.end()) {
      for (size_t i = 0; i < bound.size(); i++)
        if (bound[i].is_constant() && bound[i].value() != it->second.shape()[i]) misshapen(value.name, it->second, *value.shape, out.bindings);
      out.tensors.push_back(converted(value, it->second));
      check_ids(graph, id, out.tensors.back());
      continue;
    }
    auto shape = constant_shape(bound);
    if (!value.shape || !shape) throw InvalidArgument(cat("input '", value.name, "' is missing and its shape does not follow from the other inputs"));
    out.tensors.push_back(filled(value, *shape, *default_of(graph, value.name)));
  }
  check_positions(graph, out.tensors, past);
  return out;
}

}  // namespace lacuna
