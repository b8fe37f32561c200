#include "graph/passes/rewrite.h"

#include <algorithm>
#include <cmath>

#include "base/cat.h"

namespace lacuna::passes {

Rewriter::Rewriter(Graph& graph) : graph_(graph), count_(graph.nodes().size()), users_(graph.all_users()), outputs_(graph.values().size()) {
  for (auto& output : graph.outputs()) outputs_[size_t(output.value)] = true;
}

const Node* Rewriter::producer(ValueId value) const {
  if (value == kNoValue || graph_.value(value).producer < 0) return nullptr;
  return &graph_.node(graph_.value(value).producer);
}

const Node* Rewriter::producer(ValueId value, Op op) const {
  const Node* node = producer(value);
  return node && node->op == op ? node : nullptr;
}

bool Rewriter::single_use(ValueId value) const { return users_[size_t(value)].size() == 1 && !outputs_[size_t(value)]; }

const Node* Rewriter::only_user(ValueId value) const { return single_use(value) ? &graph_.node(users_[size_t(value)][0]) : nullptr; }

std::optional<double> Rewriter::scalar(ValueId value) const {
  const Weight* weight = graph_.weight_of(value);
  if (!weight || weight->size() != 1 || weight->encoding.granularity != Encoding::Granularity::kNone || bits_of(weight->encoding.values) < 8)
    return std::nullopt;
  return weight->load().values.to(DType::kF64).data<double>()[0];
}

double Rewriter::precision(ValueId value) const {
  const Weight* weight = graph_.weight_of(value);
  DType type = weight ? weight->encoding.values : DType::kF64;
  return type == DType::kF16 ? 0x1p-10 : type == DType::kBF16 ? 0x1p-7 : 1e-6;
}

bool Rewriter::is_scalar(ValueId value, double wanted, double tolerance) const {
  auto v = scalar(value);
  if (!v) return false;
  return std::abs(*v - wanted) <= std::max(tolerance, precision(value)) * std::abs(wanted);
}

std::optional<std::vector<int64_t>> Rewriter::integers(ValueId value) const {
  const Weight* weight = graph_.weight_of(value);
  if (!weight || weight->size() > kMaxElements || is_float(weight->encoding.values) || bits_of(weight->encoding.values) < 8) return std::nullopt;
  Tensor values = weight->load().values.to(DType::kS64);
  return std::vector<int64_t>(values.data<int64_t>().begin(), values.data<int64_t>().end());
}

std::optional<Rewriter::Scaled> Rewriter::with_scalar(const Node& node) const {
  for (size_t i = 0; i < 2; i++)
    if (auto c = scalar(node.inputs[i]); c && !graph_.weight_of(node.inputs[1 - i])) return Scaled{node.inputs[1 - i], *c};
  return std::nullopt;
}

ValueId Rewriter::other_input(const Node& node, ValueId value) const {
  return node.inputs[0] == value ? node.inputs[1] : node.inputs[1] == value ? node.inputs[0] : kNoValue;
}

const SymShape* Rewriter::shape(ValueId value) const {
  auto& shape = graph_.value(value).shape;
  return shape ? &*shape : nullptr;
}

std::optional<int64_t> Rewriter::trailing_axes(const Node& node) const {
  auto axes = node.inputs.size() > 1 && node.inputs[1] != kNoValue ? integers(node.inputs[1]) : node.attributes.integers("axes");
  int64_t rank = this->rank(node.inputs[0]);
  if (!axes || axes->empty()) return std::nullopt;
  for (int64_t& axis : *axes) {
    if (axis >= 0 && rank < 0) return std::nullopt;
    if (axis >= 0) axis -= rank;
  }
  std::sort(axes->begin(), axes->end());
  for (size_t i = 0; i < axes->size(); i++)
    if ((*axes)[i] != int64_t(i) - int64_t(axes->size())) return std::nullopt;
  return axes->front();
}

void Rewriter::replace(const Node& node, Op op, std::vector<ValueId> inputs, Attributes attributes, const Node* named_after) {
  Node& edited = graph_.edit_node(id_of(node));
  edited.op = op;
  edited.inputs = std::move(inputs);
  edited.attributes = std::move(attributes);
  if (named_after && named_after != &node) {
    Node& other = graph_.edit_node(id_of(*named_after));
    std::swap(edited.name, other.name);
    std::swap(edited.block, other.block);
  }
  changes_++;
}

ValueId Rewriter::insert_before(NodeId position, Op op, std::vector<ValueId> inputs, Attributes attributes, std::string_view suffix) {
  std::string name = cat(node(position).name, "/", suffix), block = node(position).block;
  while (std::any_of(graph_.nodes().begin(), graph_.nodes().end(), [&](const Node& n) { return n.name == name; })) name += "_";
  // add_node makes the value; the node itself waits until finish, so that ids stay what they are.
  NodeId added = graph_.add_node(op, std::move(inputs), 1, std::move(attributes), std::move(name), std::move(block));
  inserted_.emplace(position, graph_.node(added));
  ValueId result = graph_.node(added).outputs[0];
  outputs_.resize(graph_.values().size());
  users_.resize(graph_.values().size());
  return result;
}

ValueId Rewriter::constant(const std::vector<int64_t>& values) {
  std::string name = "constant";
  for (int64_t v : values) name += cat("_", v);
  WeightId id = graph_.weights.find(name);
  // A source weight may be called the same.
  if (id >= 0 && !(graph_.value(graph_.add_weight(id)).dtype == DType::kS64 && integers(graph_.add_weight(id)) == values &&
                   graph_.weights[id].shape.size() == 1)) {
    name = free_weight_name(graph_, name);
    id = -1;
  }
  if (id < 0) {
    WeightData data{.values = Tensor::of<int64_t>({int64_t(values.size())}, values)};
    id = graph_.weights.add(
        {.name = name, .shape = {int64_t(values.size())}, .encoding = {.values = DType::kS64}, .source = in_memory(std::move(data))});
  }
  ValueId value = graph_.add_weight(id);
  outputs_.resize(graph_.values().size());
  users_.resize(graph_.values().size());
  return value;
}

void Rewriter::forward(ValueId from, ValueId to) {
  graph_.replace_uses(from, to);
  auto& readers = users_[size_t(to)];
  readers.insert(readers.end(), users_[size_t(from)].begin(), users_[size_t(from)].end());
  std::sort(readers.begin(), readers.end());
  readers.erase(std::unique(readers.begin(), readers.end()), readers.end());
  users_[size_t(from)].clear();
  outputs_[size_t(to)] = outputs_[size_t(to)] || outputs_[size_t(from)];
  outputs_[size_t(from)] = false;
  changes_++;
}

int64_t Rewriter::finish() {
  if (changes_ == 0) return 0;
  std::vector<Node> nodes;
  for (size_t i = 0; i < count_; i++) {
    auto [begin, end] = inserted_.equal_range(NodeId(i));
    for (auto it = begin; it != end; ++it) nodes.push_back(it->second);
    nodes.push_back(graph_.node(NodeId(i)));
  }
  graph_.set_nodes(std::move(nodes));
  remove_dead_nodes(graph_);
  infer_shapes(graph_);
  return changes_;
}

std::string free_weight_name(const Graph& graph, const std::string& wanted) {
  std::string name = wanted;
  for (int i = 1; graph.weights.find(name) >= 0; i++) name = cat(wanted, "#", i);
  return name;
}

int64_t remove_dead_nodes(Graph& graph) {
  std::vector<bool> needed(graph.values().size());
  for (auto& output : graph.outputs()) needed[size_t(output.value)] = true;
  std::vector<Node> kept;
  for (size_t i = graph.nodes().size(); i-- > 0;) {
    const Node& node = graph.nodes()[i];
    if (std::none_of(node.outputs.begin(), node.outputs.end(), [&](ValueId v) { return v != kNoValue && needed[size_t(v)]; })) continue;
    for (ValueId v : node.inputs)
      if (v != kNoValue) needed[size_t(v)] = true;
    kept.push_back(node);
  }
  int64_t removed = int64_t(graph.nodes().size() - kept.size());
  if (removed == 0) return 0;
  std::reverse(kept.begin(), kept.end());
  graph.set_nodes(std::move(kept));
  return removed;
}

}  // namespace lacuna::passes
