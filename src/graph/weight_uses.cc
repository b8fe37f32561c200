// Where each weight is used, and whether it may be pruned by default.
#include <algorithm>
#include <array>
#include <map>
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
    return (node.op == Op::linear || node.op == Op::conv || node.op == Op::conv_transpose) && node.inputs.size() > 1 && node.inputs[1] == weight;
  }

  static bool is_recurrent_matrix(const Node& node, ValueId value) { return node.inputs[1] == value || node.inputs[2] == value; }

  WeightUse use_of(ValueId value) const {
    auto& users = users_[size_t(value)];
    auto find = [&](bool transposed) {
      return std::find_if(users.begin(), users.end(),
                          [&](NodeId id) { return (graph_.node(id).op == Op::conv_transpose) == transposed && multiplies(graph_.node(id), value); });
    };
    auto first = find(false);  // the others may read a weight that is laid out for these
    if (first == users.end()) first = find(true);
    WeightUse use{.weight = graph_.value(value).weight, .node = first == users.end() ? users[0] : *first};
    use.op_type = op_type(graph_.node(use.node), value);
    use.reason = reason(use, value, first != users.end());
    use.prunable = use.reason.empty();
    return use;
  }

  std::string op_type(const Node& node, ValueId value) const {
    bool product = node.op == Op::linear || node.op == Op::conv || node.op == Op::conv_transpose;
    if ((product && node.inputs[1] != value) || (is_recurrent(node.op) && !is_recurrent_matrix(node, value))) return "Bias";
    size_t rank = graph_.value(value).shape->size();
    switch (node.op) {
      case Op::linear: return "Linear";
      case Op::conv: return cat("Conv", rank - 2, "d");
      case Op::conv_transpose: return cat("ConvTranspose", rank - 2, "d");
      case Op::embedding: return "Embedding";
      case Op::lstm: return "LSTM";
      case Op::gru: return "GRU";
      case Op::rnn: return "RNN";
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
    int64_t out = weight.shape[0], in = weight.shape[1];
    if (node.op == Op::conv) {
      if (node.attributes.integer("groups", 1) > 1 && in == 1) return "depthwise convolution";
      bool pointwise = element_count(std::span(weight.shape).subspan(2)) == 1;
      if (!pointwise) return "";
    } else if (node.op == Op::conv_transpose) {
      if (node.attributes.integer("groups", 1) > 1) return "transposed convolution in groups";
      if (weight.layout != MatrixLayout::kInOut) return "transposed convolution whose weight is no matrix";
      return "";
    } else {
      if (weight.shape.size() != 2) return "not a matrix";
      if (linear_is_in_out(graph_, node)) std::swap(out, in);
    }
    Ways ways{.head = node.outputs[0]};
    End end = follow(node.outputs[0], ways);
    if (end == End::kRouter) return "router";
    if (end == End::kHead && (out != in || vocabularies_.contains(out))) return "output head";
    return "";
  }

  std::string why_not_multiplied(const Node& node, ValueId value) const {
    switch (node.op) {
      case Op::matmul:
      case Op::einsum: return "operand of a product of activations";
      case Op::lstm:
      case Op::gru:
      case Op::rnn: return is_recurrent_matrix(node, value) ? "recurrent" : "bias or norm";
      default: return is_float(graph_.value(value).dtype) ? "bias or norm" : "indices or sizes";
    }
  }

  // What follow() has found out about the ways from one head.
  struct Ways {
    ValueId head;
    std::map<NodeId, End> ends;
    std::map<ValueId, bool> derived = {{head, true}};
  };

  // Is a value computed from the head? Looks back no further than the head itself, so that a residual costs nothing.
  bool derives(ValueId value, Ways& ways) const {
    NodeId first = graph_.value(ways.head).producer;
    std::vector<ValueId> path = {value};
    while (!path.empty()) {
      ValueId at = path.back();
      const Value& v = graph_.value(at);
      auto [it, fresh] = ways.derived.try_emplace(at, false);
      if (fresh && v.kind == ValueKind::kResult && v.producer > first) {
        for (ValueId input : graph_.node(v.producer).inputs)
          if (input != kNoValue && !ways.derived.contains(input)) path.push_back(input);
        continue;
      }
      path.pop_back();
      if (!it->second && v.kind == ValueKind::kResult && v.producer > first) {
        auto& inputs = graph_.node(v.producer).inputs;
        it->second = std::any_of(inputs.begin(), inputs.end(), [&](ValueId i) {
          auto known = ways.derived.find(i);
          return known != ways.derived.end() && known->second;
        });
      }
    }
    return ways.derived.at(value);
  }

  // Is a value made of constants and sizes only (a grid of boxes), or a single number (a scale)?
  bool is_scale_or_grid(ValueId value, int depth = 32) const {
    const Value& v = graph_.value(value);
    if (v.kind == ValueKind::kWeight) return true;
    if (v.shape && std::all_of(v.shape->begin(), v.shape->end(), [](const Dim& d) { return d == Dim(1); })) return true;
    if (v.kind != ValueKind::kResult || depth == 0) return false;
    const Node& node = graph_.node(v.producer);
    if (node.op == Op::shape_of || node.op == Op::size_of) return true;
    return std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId i) { return i == kNoValue || is_scale_or_grid(i, depth - 1); });
  }

  // May the way from a head to an output lead through this op? What keeps or narrows class scores, one position at a time, or
  // brings them to another resolution.
  bool keeps_scores(const Node& node, Ways& ways) const {
    static constexpr auto kOps = std::to_array<Op>({Op::softmax,
                                                    Op::log_softmax,
                                                    Op::sigmoid,
                                                    Op::hard_sigmoid,
                                                    Op::tanh,
                                                    Op::relu,
                                                    Op::exp,
                                                    Op::log,
                                                    Op::neg,
                                                    Op::abs,
                                                    Op::clip,
                                                    Op::cast,
                                                    Op::identity,
                                                    Op::slice,
                                                    Op::gather,
                                                    Op::split,
                                                    Op::squeeze,
                                                    Op::unsqueeze,
                                                    Op::reshape,
                                                    Op::flatten,
                                                    Op::transpose,
                                                    Op::depth_to_space,
                                                    Op::arg_max,
                                                    Op::arg_min,
                                                    Op::top_k,
                                                    Op::shape_of,
                                                    Op::add,
                                                    Op::sub,
                                                    Op::mul,
                                                    Op::div,
                                                    Op::pow,
                                                    Op::softplus,
                                                    Op::quantize,
                                                    Op::dequantize,
                                                    Op::concat,
                                                    Op::resize,
                                                    Op::global_average_pool,
                                                    Op::global_max_pool});
    if (std::find(kOps.begin(), kOps.end(), node.op) == kOps.end()) return false;
    bool binary = node.op == Op::add || node.op == Op::sub || node.op == Op::mul || node.op == Op::div || node.op == Op::pow;
    return !binary || std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return derives(v, ways) || is_scale_or_grid(v); });
  }

  static constexpr int kLongestWay = 1000;  // ops between a head and an output; recursion ends there

  // Where the scores in a value end: kHead if in outputs only; kRouter if they are ranked and then used.
  End follow(ValueId value, Ways& ways, int length = 0) const {
    if (length > kLongestWay) return End::kNone;
    End end = is_output(value) ? End::kHead : End::kNone;
    for (NodeId id : users_[size_t(value)]) {
      if (graph_.node(id).op == Op::shape_of || graph_.node(id).op == Op::size_of) continue;  // sizes are no scores
      auto [it, fresh] = ways.ends.try_emplace(id, End::kNone);
      if (fresh) it->second = follow_node(graph_.node(id), ways, length);
      end = it->second;
      if (end != End::kHead) break;
    }
    return end;
  }

  End follow_node(const Node& node, Ways& ways, int length) const {
    End end = End::kNone;
    if (!keeps_scores(node, ways)) return end;
    for (ValueId result : node.outputs) {
      if (result == kNoValue || (users_[size_t(result)].empty() && !is_output(result))) continue;
      end = follow(result, ways, length + 1);
      if (end != End::kHead) return node.op == Op::top_k ? End::kRouter : end;
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
