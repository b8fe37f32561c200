#include "graph/graph.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {
constexpr auto kOpNames = std::to_array<std::string_view>({
#define LACUNA_OP(name, help) #name,
#include "graph/ops.def"
#undef LACUNA_OP
});
}  // namespace

std::string_view name_of(Op op) noexcept { return kOpNames[size_t(op)]; }

std::optional<Op> op_from_name(std::string_view name) noexcept {
  auto it = std::find(kOpNames.begin(), kOpNames.end(), name);
  return it == kOpNames.end() ? std::nullopt : std::optional(Op(it - kOpNames.begin()));
}

namespace {
template <class T>
const T* get(const std::map<std::string, Attribute>& values, std::string_view name) {
  auto it = values.find(std::string(name));
  if (it == values.end()) return nullptr;
  if (const T* value = std::get_if<T>(&it->second)) return value;
  throw InvalidData(cat("attribute '", name, "' has the wrong type"));
}
}  // namespace

int64_t Attributes::integer(std::string_view name, int64_t fallback) const {
  auto* v = get<int64_t>(values_, name);
  return v ? *v : fallback;
}
double Attributes::number(std::string_view name, double fallback) const {
  auto it = values_.find(std::string(name));
  if (it == values_.end()) return fallback;
  if (auto* i = std::get_if<int64_t>(&it->second)) return double(*i);
  return *get<double>(values_, name);
}
std::string Attributes::text(std::string_view name, std::string_view fallback) const {
  auto* v = get<std::string>(values_, name);
  return v ? *v : std::string(fallback);
}
std::vector<int64_t> Attributes::integers(std::string_view name, std::vector<int64_t> fallback) const {
  auto* v = get<std::vector<int64_t>>(values_, name);
  return v ? *v : fallback;
}
std::vector<double> Attributes::numbers(std::string_view name, std::vector<double> fallback) const {
  auto* v = get<std::vector<double>>(values_, name);
  return v ? *v : fallback;
}

ValueId Graph::add_input(std::string name, DType dtype, SymShape shape) {
  values_.push_back({.name = std::move(name), .kind = ValueKind::kInput, .dtype = dtype, .shape = std::move(shape)});
  inputs_.push_back(ValueId(values_.size() - 1));
  return inputs_.back();
}

ValueId Graph::add_weight(WeightId id) {
  auto [it, fresh] = weight_values_.try_emplace(id, ValueId(values_.size()));
  if (fresh) {
    const Weight& weight = weights[id];
    // A coded weight reads as f32; a plain one as its own type.
    DType dtype = weight.encoding.granularity == Encoding::Granularity::kNone ? weight.encoding.values : DType::kF32;
    values_.push_back(
        {.name = weight.name, .kind = ValueKind::kWeight, .dtype = dtype, .shape = SymShape(weight.shape.begin(), weight.shape.end()), .weight = id});
  }
  return it->second;
}

ValueId Graph::add_state(std::string name, DType dtype, SymShape shape) {
  values_.push_back({.name = std::move(name), .kind = ValueKind::kState, .dtype = dtype, .shape = std::move(shape)});
  states_.push_back(ValueId(values_.size() - 1));
  return states_.back();
}

NodeId Graph::add_node(Op op, std::vector<ValueId> inputs, size_t outputs, Attributes attributes, std::string name, std::string block) {
  NodeId id = NodeId(nodes_.size());
  if (name.empty()) name = cat(name_of(op), "_", id);
  Node node{op, name, std::move(block), std::move(inputs), {}, std::move(attributes)};
  for (size_t i = 0; i < outputs; i++) {
    values_.push_back({.name = i ? cat(name, ":", i) : name, .kind = ValueKind::kResult, .producer = id});
    node.outputs.push_back(ValueId(values_.size() - 1));
  }
  nodes_.push_back(std::move(node));
  return id;
}

ValueId Graph::add(Op op, std::vector<ValueId> inputs, Attributes attributes, std::string name, std::string block) {
  return node(add_node(op, std::move(inputs), 1, std::move(attributes), std::move(name), std::move(block))).outputs[0];
}

void Graph::add_output(std::string name, ValueId value) { outputs_.push_back({std::move(name), value}); }

void Graph::replace_uses(ValueId from, ValueId to) {
  for (auto& node : nodes_) std::replace(node.inputs.begin(), node.inputs.end(), from, to);
  for (auto& output : outputs_)
    if (output.value == from) output.value = to;
}

void Graph::remove_input(ValueId input) {
  LACUNA_ASSERT(std::erase(inputs_, input) == 1);
  replace_uses(input, kNoValue);
}

std::vector<NodeId> Graph::users(ValueId value) const {
  std::vector<NodeId> out;
  for (size_t i = 0; i < nodes_.size(); i++)
    if (std::find(nodes_[i].inputs.begin(), nodes_[i].inputs.end(), value) != nodes_[i].inputs.end()) out.push_back(NodeId(i));
  return out;
}

std::vector<std::vector<NodeId>> Graph::all_users() const {
  std::vector<std::vector<NodeId>> out(values_.size());
  for (size_t i = 0; i < nodes_.size(); i++)
    for (ValueId v : nodes_[i].inputs)
      if (v != kNoValue && (out[size_t(v)].empty() || out[size_t(v)].back() != NodeId(i))) out[size_t(v)].push_back(NodeId(i));
  return out;
}

void Graph::set_nodes(std::vector<Node> nodes) {
  nodes_ = std::move(nodes);
  for (auto& value : values_) value.producer = -1;
  for (size_t i = 0; i < nodes_.size(); i++)
    for (ValueId v : nodes_[i].outputs)
      if (v != kNoValue) values_[size_t(v)].producer = NodeId(i);
}

void Graph::sort_topologically() {
  std::vector<int> waiting(nodes_.size());
  auto users_of = all_users();
  std::set<NodeId> ready;  // by original position, so that the order stays close to the source's
  for (size_t i = 0; i < nodes_.size(); i++) {
    std::set<ValueId> results;
    for (ValueId v : nodes_[i].inputs)
      if (v != kNoValue && values_[size_t(v)].kind == ValueKind::kResult) results.insert(v);
    waiting[i] = int(results.size());
    if (!waiting[i]) ready.insert(NodeId(i));
  }
  std::vector<Node> sorted;
  std::vector<bool> placed(nodes_.size());
  while (!ready.empty()) {
    NodeId id = *ready.begin();
    ready.erase(ready.begin());
    placed[size_t(id)] = true;
    for (ValueId v : nodes_[size_t(id)].outputs)
      if (v != kNoValue)
        for (NodeId user : users_of[size_t(v)])
          if (--waiting[size_t(user)] == 0) ready.insert(user);
    sorted.push_back(nodes_[size_t(id)]);
  }
  for (size_t i = 0; i < nodes_.size(); i++)
    if (!placed[i]) throw InvalidData(cat("node '", nodes_[i].name, "' is part of a cycle or reads a value that nothing produces"));
  set_nodes(std::move(sorted));
}

void Graph::forget_unread() {
  std::vector<bool> read(values_.size());
  for (auto& node : nodes_) {
    for (ValueId v : node.inputs)
      if (v != kNoValue) read[size_t(v)] = true;
    for (ValueId v : node.outputs)
      if (v != kNoValue) read[size_t(v)] = true;
  }
  for (auto& output : outputs_) read[size_t(output.value)] = true;
  std::vector<ValueId> renamed(values_.size(), kNoValue);
  std::vector<Value> values;
  WeightTable kept;
  weight_values_.clear();
  for (size_t i = 0; i < values_.size(); i++) {
    Value& value = values_[i];
    if (!read[i] && (value.kind == ValueKind::kWeight || value.kind == ValueKind::kResult)) continue;
    renamed[i] = ValueId(values.size());
    if (value.kind == ValueKind::kWeight) {
      value.weight = kept.add(weights[value.weight]);
      weight_values_[value.weight] = renamed[i];
    }
    values.push_back(std::move(value));
  }
  auto rename = [&](ValueId& v) {
    if (v != kNoValue) v = renamed[size_t(v)];
  };
  for (auto& node : nodes_) {
    std::for_each(node.inputs.begin(), node.inputs.end(), rename);
    std::for_each(node.outputs.begin(), node.outputs.end(), rename);
  }
  std::for_each(inputs_.begin(), inputs_.end(), rename);
  std::for_each(states_.begin(), states_.end(), rename);
  for (auto& output : outputs_) rename(output.value);
  values_ = std::move(values);
  weights = std::move(kept);
}

const Weight* Graph::weight_of(ValueId id) const {
  if (id == kNoValue || values_[size_t(id)].kind != ValueKind::kWeight) return nullptr;
  return &weights[values_[size_t(id)].weight];
}

}  // namespace lacuna
