#include "runtime/passes/fuse_dynamic.h"

#include <algorithm>

#include "runtime/passes/uses.h"

namespace lacuna {
namespace {

struct Match {
  PlanNode *linear, *last;  // the product, and the mul by both scales
  ValueId x;                // what is rounded
  ValueId scale;            // of the weight
};

class Matcher {
 public:
  Matcher(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) : graph_(graph), kept_(kept), uses_(graph, nodes) {}

  std::optional<Match> match(PlanNode& last) const {
    if (last.node.op != Op::mul) return std::nullopt;
    for (size_t i : {0, 1}) {
      PlanNode* linear = product_of(last.node.inputs[i]);
      const Node* quantize = linear ? quantized(*linear) : nullptr;
      ValueId scale = quantize ? scale_of_weight(last.node.inputs[1 - i], quantize->outputs[1]) : kNoValue;
      if (scale != kNoValue) return Match{linear, &last, quantize->inputs[0], scale};
    }
    return std::nullopt;
  }

 private:
  PlanNode* only_maker(ValueId v, Op op) const {
    PlanNode* maker = uses_.maker(v);
    return maker && maker->node.op == op && uses_.only_reader(v, kept_) ? maker : nullptr;
  }

  // The linear under casts to integers and back.
  PlanNode* product_of(ValueId v) const {
    const PlanNode* to_float = only_maker(v, Op::cast);
    const PlanNode* to_integer = to_float ? only_maker(to_float->node.inputs[0], Op::cast) : nullptr;
    if (!to_integer || graph_.value(v).dtype != DType::kF32 || graph_.value(to_integer->node.outputs[0]).dtype != DType::kS32) return nullptr;
    PlanNode* linear = only_maker(to_integer->node.inputs[0], Op::linear);
    return linear && !linear->has(2) && !linear->rounding && is_whole(graph_.weight_of(linear->node.inputs[1])) ? linear : nullptr;
  }

  // Are all weights integers? Otherwise the casts cut sums.
  static bool is_whole(const Weight* weight) {
    if (!weight || is_float(weight->encoding.values) || weight->encoding.has_minima) return false;
    if (weight->encoding.granularity == Encoding::Granularity::kNone) return false;
    Tensor scales = weight->load().scales.to(DType::kF32);
    return std::ranges::all_of(scales.data<float>(), [](float s) { return s == 1; });
  }

  // The dynamic_quantize whose codes, less their zero point, the linear reads.
  const Node* quantized(const PlanNode& linear) const {
    const Node* dequantize = uses_.made_by(linear.node.inputs[0], Op::dequantize);
    const Node* quantize = dequantize && dequantize->inputs.size() == 3 ? uses_.made_by(dequantize->inputs[0], Op::dynamic_quantize) : nullptr;
    bool same = quantize && dequantize->inputs[0] == quantize->outputs[0] && dequantize->inputs[2] == quantize->outputs[2];
    return same && constant_of(graph_, dequantize->inputs[1]) == 1.0 ? quantize : nullptr;
  }

  // v = the scale of x times a constant: that one.
  ValueId scale_of_weight(ValueId v, ValueId scale_of_x) const {
    const Node* product = uses_.made_by(v, Op::mul);
    for (size_t i : {0, 1}) {
      if (!product || product->inputs[i] != scale_of_x) continue;
      const Weight* weight = graph_.weight_of(product->inputs[1 - i]);
      if (weight && is_float(weight->encoding.values) && weight->shape.size() <= 1) return product->inputs[1 - i];
    }
    return kNoValue;
  }

  const Graph& graph_;
  const std::vector<bool>& kept_;
  Uses uses_;
};

}  // namespace

void fuse_dynamic(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  Matcher matcher(graph, kept, nodes);
  std::vector<Match> found;
  for (PlanNode& plan : nodes)
    if (auto match = matcher.match(plan)) found.push_back(*match);
  for (const Match& match : found) {
    match.linear->rounding.kind = InputRounding::Kind::kPerTensor;
    match.linear->node.inputs[0] = match.x;
    match.last->node.inputs = {match.linear->node.outputs[0], match.scale};
  }
  if (!found.empty()) remove_unread(kept, nodes);
}

}  // namespace lacuna
