#include "runtime/passes/coded_steps.h"

#include <algorithm>
#include <optional>

#include "runtime/passes/fuse_rounding.h"
#include "runtime/passes/uses.h"
#include "runtime/reference/support.h"

namespace lacuna {
namespace {

// Does every pixel become a block of equal ones?
bool repeats_pixels(const Graph& graph, const Node& node) {
  const auto &in = graph.value(node.inputs[0]).shape, &out = graph.value(node.outputs[0]).shape;
  if (node.attributes.text("mode", "nearest") != "nearest" || node.attributes.text("coordinate_transformation_mode", "") == "tf_crop_and_resize" ||
      !out || (*in)[0] != (*out)[0] || (*in)[1] != (*out)[1])
    return false;
  Shape size = {1, 1};
  for (size_t d : {2, 3}) {
    if (!(*in)[d].is_constant() || !(*out)[d].is_constant()) return false;
    const int64_t from = (*in)[d].value(), to = (*out)[d].value();
    if (from == 0 || to < from || to % from) return false;
    size.push_back(from);
  }
  std::vector<float> scales;
  std::vector<int64_t> sizes;
  for (size_t i : {2, 3}) {
    if (i >= node.inputs.size() || node.inputs[i] == kNoValue) continue;
    const Weight* weight = graph.weight_of(node.inputs[i]);
    if (!weight) return false;
    Tensor values = weight->load().values.to(DType::kF32);
    for (float v : values.data<float>()) i == 2 ? scales.push_back(v) : sizes.push_back(int64_t(v));
  }
  if (sizes.size() == 4) sizes[0] = sizes[1] = 1;
  if (scales.size() == 4 && (scales[0] != 1 || scales[1] != 1)) return false;
  reference::ResizePlan plan = reference::resize_plan(OpCall{node, {}, {}, {}}, size, {}, scales, sizes);
  for (size_t d : {2, 3}) {
    if (plan.shape[d] != (*out)[d].value()) return false;
    for (size_t i = 0; i < plan.taps[d].size(); i++)
      if (plan.taps[d][i].size() != 1 || plan.taps[d][i][0].index != int64_t(i) * size[d] / plan.shape[d]) return false;
  }
  return true;
}

// Adds, muls, concats and splits of channels, max_pools and what repeats pixels, between dequantize and quantize nodes, of pictures of which codes
// are there already.
class CodedSteps {
 public:
  CodedSteps(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) : graph_(graph), kept_(kept), uses_(graph, nodes) {}

  // Nodes that go are left without outputs.
  bool take(PlanNode& plan) {
    const Op op = plan.node.op;
    if (!plan.plain() || plan.codes || plan.node.inputs.empty()) return false;
    Node node = plan.node;
    if ((op == Op::add || op == Op::mul) && graph_.value(node.inputs[0]).shape != graph_.value(node.outputs[0]).shape)
      std::swap(node.inputs[0], node.inputs[1]);  // the gate last
    if (!is_picture(node.inputs[0]) || !fits(node) || !read_inputs(node) || !read_outputs(node)) return false;
    if (moves_codes(op) && roundings_[0] != results_[0]) return false;
    for (PlanNode* maker : makers_) maker->codes = true;
    int64_t first = 0;
    plan = PlanNode{.node = {.op = Op::identity}};
    for (size_t i = 0; i < quantizes_.size(); i++) {
      PlanNode made;
      made.node = node, made.codes = true, made.output = results_[i];
      made.node.inputs = codes_, made.node.outputs = {quantizes_[i]->node.outputs[0]};
      if (op != Op::max_pool) made.coded = std::make_shared<CodedStep>(CodedStep{roundings_, first});
      if (op == Op::split) first += channels(node.outputs[i]);
      *quantizes_[i] = made;
    }
    return true;
  }

 private:
  static bool moves_codes(Op op) { return op == Op::max_pool || op == Op::resize; }
  bool fits(const Node& node) const {
    switch (node.op) {
      case Op::add:
      case Op::mul: return pairs(node);
      case Op::concat:
      case Op::split: return of_channels(node);
      case Op::max_pool: return node.outputs.size() == 1;
      case Op::resize: return repeats_pixels(graph_, node);
      default: return false;
    }
  }
  bool is_picture(ValueId v) const {
    return v != kNoValue && graph_.value(v).shape && graph_.value(v).shape->size() == 4 && is_float(graph_.value(v).dtype);
  }
  // A picture and another, or one number for each channel of each image.
  bool pairs(const Node& node) const {
    const auto &out = graph_.value(node.outputs[0]).shape, &second = graph_.value(node.inputs[1]).shape;
    if (graph_.value(node.inputs[0]).shape != out || !second) return false;
    return second == out || *second == SymShape{(*out)[0], (*out)[1], Dim(1), Dim(1)};
  }
  int64_t channels(ValueId v) const { return (*graph_.value(v).shape)[1].value(); }
  bool of_channels(const Node& node) const {
    int64_t axis = node.attributes.integer("axis", 0);
    auto known = [&](ValueId v) { return is_picture(v) && (*graph_.value(v).shape)[1].is_constant(); };
    return (axis == 1 || axis == -3) && std::all_of(node.outputs.begin(), node.outputs.end(), known);
  }

  // Values that stand for codes: those of a node that holds them so, or of a quantize node that may.
  bool read_inputs(const Node& node) {
    codes_.clear(), roundings_.clear(), makers_.clear();
    bool any = false;
    for (size_t i = 0; i < (node.op == Op::split || node.op == Op::max_pool || node.op == Op::resize ? 1 : node.inputs.size()); i++) {
      const Node* dequantize = uses_.made_by(node.inputs[i], Op::dequantize);
      auto rounding = dequantize ? static_rounding(graph_, *dequantize) : std::nullopt;
      PlanNode* maker = rounding ? uses_.maker(dequantize->inputs[0]) : nullptr;
      if (!maker || !(maker->codes || (static_rounding(graph_, maker->node) && is_picture(maker->node.inputs[0])))) return false;
      any = any || maker->codes;
      codes_.push_back(dequantize->inputs[0]), roundings_.push_back(*rounding), makers_.push_back(maker);
    }
    return any;
  }

  // All outputs are read by a quantize node alone.
  bool read_outputs(const Node& node) {
    quantizes_.clear(), results_.clear();
    for (ValueId v : node.outputs) {
      PlanNode* quantize = v == kNoValue ? nullptr : uses_.only_reader(v, kept_);
      if (!quantize || quantize->node.op != Op::quantize || kept_[size_t(quantize->node.outputs[0])]) return false;
      auto rounding = static_rounding(graph_, quantize->node);
      if (!rounding) return false;
      quantizes_.push_back(quantize), results_.push_back(*rounding);
    }
    return true;
  }

  const Graph& graph_;
  const std::vector<bool>& kept_;
  Uses uses_;
  std::vector<ValueId> codes_;
  std::vector<InputRounding> roundings_, results_;
  std::vector<PlanNode*> makers_, quantizes_;
};

}  // namespace

void fuse_coded_steps(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  if (std::none_of(nodes.begin(), nodes.end(), [](const PlanNode& plan) { return plan.codes; })) return;
  std::optional<CodedSteps> steps(std::in_place, graph, kept, nodes);
  // Earlier ones first: what they give are codes for those behind them.
  for (PlanNode& plan : nodes)
    if (steps->take(plan)) steps.emplace(graph, kept, nodes);
  std::erase_if(nodes, [](const PlanNode& plan) { return plan.node.outputs.empty(); });
}

}  // namespace lacuna
