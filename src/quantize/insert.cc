#include "quantize/insert.h"

#include <algorithm>

#include "base/cat.h"

namespace lacuna {
namespace {

std::string free_weight_name(const Graph& graph, const std::string& wanted) {
  std::string name = wanted;
  for (int i = 2; graph.weights.find(name) >= 0; i++) name = cat(wanted, "_", i);
  return name;
}

ValueId add_constant(Graph& graph, const std::string& name, Tensor value) {
  Weight weight{
      .name = free_weight_name(graph, name), .shape = value.shape(), .encoding = {.values = value.dtype()}, .source = in_memory({.values = value})};
  return graph.add_weight(graph.weights.add(std::move(weight)));
}

// The addition that takes the result of a product, perhaps after a batch norm or the addition of a bias; -1 if there is none.
NodeId residual_addition(const Graph& graph, const std::vector<std::vector<NodeId>>& users, ValueId value) {
  for (;;) {
    if (users[size_t(value)].size() != 1) return -1;
    const Node& user = graph.node(users[size_t(value)][0]);
    bool bias = user.op == Op::add && (graph.weight_of(user.inputs[0]) || graph.weight_of(user.inputs[1]));
    if (user.op == Op::add && !bias) return users[size_t(value)][0];
    if (!bias && user.op != Op::batch_norm) return -1;
    value = user.outputs[0];
  }
}

// The linear or conv that gives a value, perhaps through a batch norm or bias; -1 if there is none.
NodeId product_behind(const Graph& graph, ValueId value, const std::set<NodeId>& products) {
  for (NodeId id = graph.value(value).producer; id >= 0; id = graph.value(value).producer) {
    if (products.contains(id)) return id;
    const Node& node = graph.node(id);
    bool bias = node.op == Op::add && (graph.weight_of(node.inputs[0]) || graph.weight_of(node.inputs[1]));
    if (!bias && node.op != Op::batch_norm) return -1;
    value = bias && graph.weight_of(node.inputs[0]) ? node.inputs[1] : node.inputs[0];
  }
  return -1;
}

}  // namespace

RoundingPlan plan_rounding(const Graph& graph, const std::set<NodeId>& products) {
  RoundingPlan plan;
  auto users = graph.all_users();
  std::set<NodeId> additions;
  for (NodeId id : products) {
    NodeId maker = graph.value(graph.node(id).inputs[0]).producer;
    if (maker >= 0 && graph.node(maker).op == Op::dequantize) continue;  // rounded already
    plan.readers[graph.node(id).inputs[0]].push_back(id);
    NodeId sum = residual_addition(graph, users, graph.node(id).outputs[0]);
    if (sum < 0 || !additions.insert(sum).second) continue;
    // Of two products that are added the later one takes the sum (fuse_epilogues), and the other is its residual.
    const Node& add = graph.node(sum);
    NodeId first = product_behind(graph, add.inputs[0], products), second = product_behind(graph, add.inputs[1], products);
    ValueId residual = first > second ? add.inputs[1] : add.inputs[0];
    if (graph.value(residual).shape == graph.value(add.outputs[0]).shape) plan.readers[residual].push_back(sum);
  }
  return plan;
}

void insert_rounding(Graph& graph, const RoundingPlan& plan, const std::map<ValueId, float>& scales) {
  for (auto& [value, readers] : plan.readers) {
    std::string name = graph.value(value).name;
    if (name.empty()) name = cat("value_", value);
    float scale = scales.at(value);
    int8_t zero = 0;
    ValueId scale_value = add_constant(graph, name + "_scale", Tensor::of<float>({}, std::span(&scale, 1)));
    ValueId zero_value = add_constant(graph, name + "_zero_point", Tensor::of<int8_t>({}, std::span(&zero, 1)));
    std::string block = graph.node(readers[0]).block;
    ValueId codes = graph.add(Op::quantize, {value, scale_value, zero_value}, {}, name + "/quantize", block);
    ValueId rounded = graph.add(Op::dequantize, {codes, scale_value, zero_value}, {}, name + "/dequantize", block);
    graph.edit_value(codes).name = name + "_codes";
    graph.edit_value(rounded).name = name + "_rounded";
    for (NodeId reader : readers) {
      auto& inputs = graph.edit_node(reader).inputs;
      if (graph.node(reader).op == Op::add)
        std::replace(inputs.begin(), inputs.end(), value, rounded);
      else
        inputs[0] = rounded;
    }
  }
  graph.sort_topologically();
}

}  // namespace lacuna
