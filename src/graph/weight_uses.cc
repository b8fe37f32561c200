// Where each weight is used, and whether it may be pruned by default.
#include <algorithm>
#include <array>
#include <set>

#include "base/cat.h"
#include "graph/infer.h"

namespace lacuna {
namespace {

class Uses {
 public:
  explicit Uses(const Graph& graph) : graph_(graph), users_(graph.all_users()) {
    for (const Node& node : graph.nodes())
      if (node.op == Op::embedding)
        if (const Weight* table = graph.weight_of(node.inputs[1])) vocabularies_.insert(table->shape[0]);
  }

  std::vector<WeightUse> run() const {
    std::vector<WeightUse> out;
    std::set<ValueId> seen;
    for (const Node& node : graph_.nodes())
      for (ValueId v : node.inputs)
        if (graph_.weight_of(v) && seen.insert(v).second) out.push_back(use_of(v));
    return out;
  }

 private:
  enum class End { kNone, kHead, kRouter };

  bool multiplies(const Node& node, ValueId weight) const {
    return (node.op == Op::linear || node.op == Op::conv) && node.inputs.size() > 1 && node.inputs[1] == weight;
  }

  WeightUse use_of(ValueId value) const {
    auto& users = users_[size_t(value)];
    auto first = std::find_if(users.begin(), users.end(), [&](NodeId id) { return multiplies(graph_.node(id), value); });
    WeightUse use{.weight = graph_.value(value).weight, .node = first == users.end() ? users[0] : *first};
    use.op_type = op_type(graph_.node(use.node), value);
    use.reason = reason(use, value, first != users.end());
    use.prunable = use.reason.empty();
    return use;
  }

  std::string op_type(const Node& node, ValueId value) const {
    bool bias = (node.op == Op::linear || node.op == Op::conv || node.op == Op::conv_transpose) && node.inputs[1] != value;
    if (bias) return "Bias";
    size_t rank = graph_.value(value).shape->size();
    switch (node.op) {
      case Op::linear: return "Linear";
      case Op::conv: return cat("Conv", rank - 2, "d");
      case Op::conv_transpose: return cat("ConvTranspose", rank - 2, "d");
      case Op::embedding: return "Embedding";
      case Op::lstm: return "LSTM";
      case Op::gru: return "GRU";
      case Op::layer_norm: return "LayerNorm";
      case Op::rms_norm: return "RMSNorm";
      case Op::batch_norm: return "BatchNorm";
      case Op::group_norm: return "GroupNorm";
      case Op::instance_norm: return "InstanceNorm";
      default: return std::string(name_of(node.op));
    }
  }

  std::string reason(const WeightUse& use, ValueId value, bool multiplied) const {
    const Node& node = graph_.node(use.node);
    for (NodeId id : users_[size_t(value)]) {
      const Node& user = graph_.node(id);
      if (user.op == Op::embedding || (user.op == Op::gather && user.inputs[0] == value && is_float(graph_.value(value).dtype)))
        return multiplied ? "embedding, tied to an output head" : "embedding";
    }
    if (!multiplied) return why_not_multiplied(node, value);
    const Weight& weight = *graph_.weight_of(value);
    if (node.op == Op::conv) {
      int64_t groups = node.attributes.integer("groups", 1);
      return groups > 1 && weight.shape[1] == 1 ? "depthwise convolution" : "";
    }
    if (weight.shape.size() != 2) return "not a matrix";
    bool in_out = linear_is_in_out(graph_, node);
    int64_t out = weight.shape[in_out ? 1 : 0], in = weight.shape[in_out ? 0 : 1];
    std::set<NodeId> visited;
    End end = follow(node.outputs[0], visited);
    if (end == End::kRouter) return "router";
    if (end == End::kHead && (out != in || vocabularies_.contains(out))) return "output head";
    return "";
  }

  std::string why_not_multiplied(const Node& node, ValueId value) const {
    switch (node.op) {
      case Op::conv_transpose: return node.inputs[1] == value ? "transposed convolution" : "bias or norm";
      case Op::matmul:
      case Op::einsum: return "operand of a product of activations";
      case Op::lstm:
      case Op::gru: return "recurrent";
      default: return is_float(graph_.value(value).dtype) ? "bias or norm" : "indices or sizes";
    }
  }

  // May the way from a head to an output lead through this op? What keeps or narrows class scores, one position at a time.
  bool keeps_scores(const Node& node) const {
    static constexpr auto kOps = std::to_array<Op>(
        {Op::softmax, Op::log_softmax, Op::sigmoid,   Op::hard_sigmoid, Op::tanh,       Op::relu,   Op::exp,      Op::log,     Op::neg,
         Op::abs,     Op::clip,        Op::cast,      Op::identity,     Op::slice,      Op::gather, Op::split,    Op::squeeze, Op::unsqueeze,
         Op::reshape, Op::flatten,     Op::transpose, Op::arg_max,      Op::arg_min,    Op::top_k,  Op::shape_of, Op::add,     Op::sub,
         Op::mul,     Op::div,         Op::softplus,  Op::quantize,     Op::dequantize, Op::concat});
    if (std::find(kOps.begin(), kOps.end(), node.op) == kOps.end()) return false;
    bool binary = node.op == Op::add || node.op == Op::sub || node.op == Op::mul || node.op == Op::div;
    if (!binary) return true;
    return graph_.weight_of(node.inputs[0]) || graph_.weight_of(node.inputs[1]);  // not a residual
  }

  // Where the scores in a value end: kHead if in outputs only; kRouter if they are ranked and then used.
  End follow(ValueId value, std::set<NodeId>& visited) const {
    bool output = std::any_of(graph_.outputs().begin(), graph_.outputs().end(), [&](auto& o) { return o.value == value; });
    End end = output ? End::kHead : End::kNone;
    for (NodeId id : users_[size_t(value)]) {
      if (!visited.insert(id).second) continue;
      const Node& node = graph_.node(id);
      if (!keeps_scores(node)) return End::kNone;
      for (ValueId result : node.outputs) {
        if (result == kNoValue || (users_[size_t(result)].empty() && !is_output(result))) continue;
        End next = follow(result, visited);
        if (node.op == Op::top_k && next != End::kHead) return End::kRouter;
        if (next != End::kHead) return next;
        end = next;
      }
    }
    return end;
  }

  bool is_output(ValueId value) const {
    return std::any_of(graph_.outputs().begin(), graph_.outputs().end(), [&](auto& o) { return o.value == value; });
  }

  const Graph& graph_;
  std::vector<std::vector<NodeId>> users_;
  std::set<int64_t> vocabularies_;
};

}  // namespace

std::vector<WeightUse> weight_uses(const Graph& graph) { return Uses(graph).run(); }

}  // namespace lacuna
