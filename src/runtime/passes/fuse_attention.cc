#include "runtime/passes/fuse_attention.h"

#include "runtime/passes/fuse_rounding.h"
#include "runtime/passes/uses.h"

namespace lacuna {
namespace {

class Matcher {
 public:
  Matcher(const Graph& graph, const std::vector<Fact>& facts, const std::vector<bool>& kept, std::vector<PlanNode>& nodes)
      : graph_(graph), facts_(facts), kept_(kept), uses_(graph, nodes) {}

  struct Match {
    PlanNode plan;
    PlanNode* last;  // whose place it takes
  };

  // From the product with v.
  std::optional<Match> match(PlanNode& context) const {
    const Node& node = context.node;
    if (!is_plain_product(node)) return std::nullopt;
    CodedAttention a;
    ValueId v = node.inputs[1], weights = before_rounding(node.inputs[0], a.weights, true);
    const PlanNode* softmax = weights == kNoValue || !alone(weights) ? nullptr : uses_.maker(weights);
    if (!softmax || softmax->node.op != Op::softmax || softmax->node.attributes.integer("flatten", 0)) return std::nullopt;
    int64_t axis = softmax->node.attributes.integer("axis", -1);
    if ((axis != -1 && axis != 3) || !match_operand(v, a.v) || a.v.perm[3] != 3) return std::nullopt;
    ValueId mask = kNoValue;
    const Node* scores = match_scores(softmax->node.inputs[0], a, mask);
    if (!scores || shape(scores->outputs[0]) != shape(softmax->node.inputs[0])) return std::nullopt;  // a mask may make them more
    ValueId q = scores->inputs[0], k = scores->inputs[1];
    if (!match_operand(q, a.q) || !match_operand(k, a.k) || a.q.perm[3] != 3) return std::nullopt;
    std::swap(a.k.perm[2], a.k.perm[3]);  // the product reads [batch, heads, columns, keys]
    if (a.k.perm[3] != 3 && a.k.perm[2] != 3) return std::nullopt;
    Node attention{.op = Op::attention, .name = softmax->node.name, .block = softmax->node.block, .inputs = {q, k, v, mask}, .outputs = node.outputs};
    Match out{{.node = std::move(attention)}, &context};
    take_result(a, out);
    out.plan.attention = std::make_shared<CodedAttention>(a);
    return out;
  }

 private:
  std::optional<Shape> shape(ValueId v) const {
    auto& shape = facts_[size_t(v)].shape;
    return shape ? constant_shape(*shape) : std::nullopt;
  }

  bool is_plain_product(const Node& node) const {
    auto& a = node.attributes;
    if (node.op != Op::matmul || a.integer("transpose_a", 0) || a.integer("transpose_b", 0) || a.number("scale", 1) != 1) return false;
    auto x = shape(node.inputs[0]), y = shape(node.inputs[1]);
    return x && y && x->size() == 4 && y->size() == 4 && (*x)[0] == (*y)[0] && (*x)[1] == (*y)[1];
  }

  bool alone(ValueId v) const { return uses_.only_reader(v, kept_); }

  // What quantize and dequantize nodes before v round, and how; with `must`, kNoValue where there are none, else v.
  ValueId before_rounding(ValueId v, InputRounding& rounding, bool must) const {
    const Node* dequantize = uses_.made_by(v, Op::dequantize);
    const Node* quantize = dequantize ? uses_.made_by(dequantize->inputs[0], Op::quantize) : nullptr;
    auto found = quantize && is_float(graph_.value(quantize->inputs[0]).dtype) ? static_rounding(graph_, *dequantize) : std::nullopt;
    if (!found || static_rounding(graph_, *quantize) != found) return must ? kNoValue : v;
    rounding = *found;
    return quantize->inputs[0];
  }

  // A constant of one element, coded or not.
  std::optional<double> number(ValueId v) const {
    const Node* coded = uses_.made_by(v, Op::dequantize);
    auto rounding = coded ? static_rounding(graph_, *coded) : std::nullopt;
    auto code = constant_of(graph_, coded ? coded->inputs[0] : v);
    if (!code || (coded && !rounding)) return std::nullopt;
    return coded ? (*code - rounding->zero_point) * rounding->scale : *code;
  }

  // node = x * c or x / c: x and the factor.
  std::optional<std::pair<ValueId, double>> factor_of(const Node& node) const {
    if (node.op != Op::mul && node.op != Op::div) return std::nullopt;
    for (size_t i : {1, 0}) {
      auto c = number(node.inputs[i]);
      if (!c || (node.op == Op::div && (i == 0 || *c == 0))) continue;
      return std::pair(node.inputs[1 - i], node.op == Op::div ? 1 / *c : *c);
    }
    return std::nullopt;
  }

  // On success v is what `operand` turns, scales and rounds.
  bool match_operand(ValueId& v, CodedAttention::Operand& operand) const {
    v = before_rounding(v, operand.rounding, true);
    while (v != kNoValue) {
      const PlanNode* maker = uses_.maker(v);
      if (!maker) break;
      if (maker->node.op == Op::transpose) {
        auto perm = maker->node.attributes.integers("perm");
        if (perm.size() != 4) break;
        for (int64_t& axis : operand.perm) axis = perm[size_t(axis)];
        v = maker->node.inputs[0];
      } else if (auto scaled = factor_of(maker->node); scaled && shape(scaled->first) == shape(v)) {
        operand.factor *= float(scaled->second);
        v = scaled->first;
      } else {
        break;
      }
    }
    auto found = v == kNoValue ? std::nullopt : shape(v);
    return found && found->size() == 4 && facts_[size_t(v)].dtype == DType::kF32;
  }

  // Upwards from the softmax: [round] [+ mask, or chosen by one] [round] [* scale] [round] product, each read by the next alone.
  const Node* match_scores(ValueId v, CodedAttention& a, ValueId& mask) const {
    if (!alone(v)) return nullptr;
    const PlanNode* top = uses_.maker(before_rounding(v, a.masked, false));
    bool adds = top && top->node.op == Op::add, chooses = top && top->node.op == Op::where;
    if (!adds && !chooses) {
      a.masked = {};
      return match_scaled(v, a);
    }
    for (size_t scores : {chooses ? 2 : 0, 1}) {
      CodedAttention attempt = a;
      const Node* product = match_scaled(top->node.inputs[scores], attempt);
      if (!product) continue;
      a = attempt;
      if (chooses) {
        auto fill = number(top->node.inputs[3 - scores]);
        if (!fill || *fill > -1000) return nullptr;  // not a mask
        a.hides = scores == 2, a.fill = float(*fill);
      }
      mask = top->node.inputs[chooses ? 0 : 1 - scores];
      return broadcasts(mask, top->node.outputs[0], chooses ? DType::kBool : DType::kF32) ? product : nullptr;
    }
    return nullptr;
  }

  // Is there an element of the mask for each key?
  bool broadcasts(ValueId mask, ValueId scores, DType type) const {
    auto from = shape(mask), to = shape(scores);
    bool fits = from && to && from->size() == 4 && (*from)[3] == (*to)[3] && facts_[size_t(mask)].dtype == type;
    for (size_t d = 0; fits && d < 3; d++) fits = (*from)[d] == 1 || (*from)[d] == (*to)[d];
    return fits;
  }

  const Node* match_scaled(ValueId v, CodedAttention& a) const {
    if (!alone(v)) return nullptr;
    ValueId under = before_rounding(v, a.scaled, false);
    const PlanNode* node = uses_.maker(under);
    auto scaled = node ? factor_of(node->node) : std::nullopt;
    if (scaled) {
      a.scale = float(scaled->second);
      v = scaled->first;
    } else {
      a.scaled = {};
    }
    node = alone(v) ? uses_.maker(before_rounding(v, a.product, false)) : nullptr;
    return node && is_plain_product(node->node) ? &node->node : nullptr;
  }

  // [round] [transpose to tokens first], each of what it alone reads.
  void take_result(CodedAttention& a, Match& to) const {
    ValueId v = to.plan.node.outputs[0];
    PlanNode* quantize = uses_.only_reader(v, kept_);
    PlanNode* dequantize = quantize && quantize->node.op == Op::quantize ? uses_.only_reader(quantize->node.outputs[0], kept_) : nullptr;
    if (dequantize && dequantize->node.op == Op::dequantize && before_rounding(dequantize->node.outputs[0], a.result, true) == v)
      v = dequantize->node.outputs[0], to.last = dequantize;
    PlanNode* turn = uses_.only_reader(v, kept_);
    if (turn && turn->node.op == Op::transpose && turn->node.attributes.integers("perm") == std::vector<int64_t>{0, 2, 1, 3})
      v = turn->node.outputs[0], to.last = turn, a.tokens_first = true;
    to.plan.node.outputs = {v};
  }

  const Graph& graph_;
  const std::vector<Fact>& facts_;
  const std::vector<bool>& kept_;
  Uses uses_;
};

}  // namespace

void fuse_attention(const Graph& graph, const std::vector<Fact>& facts, const std::vector<bool>& kept, const TakesAttention& takes,
                    std::vector<PlanNode>& nodes) {
  Matcher matcher(graph, facts, kept, nodes);
  std::vector<Matcher::Match> found;
  for (PlanNode& plan : nodes)
    if (auto match = matcher.match(plan); match && takes(match->plan)) found.push_back(*match);
  for (auto& match : found) *match.last = match.plan;
  if (!found.empty()) remove_unread(kept, nodes);
}

}  // namespace lacuna
