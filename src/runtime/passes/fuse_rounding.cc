#include "runtime/passes/fuse_rounding.h"

#include <algorithm>
#include <map>

#include "runtime/passes/code_table.h"
#include "runtime/passes/coded_steps.h"
#include "runtime/passes/fuse_epilogues.h"
#include "runtime/passes/uses.h"

namespace lacuna {
namespace {

// Of the products those that a kernel runs: the reference rounds nothing.
bool is_product(const Graph& graph, const Node& node) {
  const Weight* weight = node.op == Op::linear || node.op == Op::conv ? graph.weight_of(node.inputs[1]) : nullptr;
  return weight && weight->shape.size() <= 5;
}

bool is_clip(kernels::Activation a) {
  using enum kernels::Activation;
  return a == kNone || a == kRelu || a == kRelu6 || a == kClip;
}

bool rounds(const std::vector<PlanNode>& nodes) {
  return std::any_of(nodes.begin(), nodes.end(), [](auto& plan) { return plan.node.op == Op::quantize; });
}

// A node does the quantize and dequantize nodes that alone follow it, in their place. What was there reads and gives nothing afterwards, of which
// `uses` need not know.
void round_result(const Graph& graph, const std::vector<bool>& kept, const Uses& uses, PlanNode& plan, InputRounding PlanNode::*place) {
  PlanNode* quantize = uses.only_reader(plan.node.outputs[0], kept);
  bool rounds = quantize && quantize->node.op == Op::quantize && is_float(graph.value(quantize->node.inputs[0]).dtype);
  auto rounding = rounds ? static_rounding(graph, quantize->node) : std::nullopt;
  PlanNode* dequantize = rounding ? uses.only_reader(quantize->node.outputs[0], kept) : nullptr;
  if (!dequantize || dequantize->node.op != Op::dequantize || static_rounding(graph, dequantize->node) != rounding) return;
  plan.*place = *rounding;
  PlanNode done = plan;
  done.node.outputs = dequantize->node.outputs;
  *dequantize = done;
  plan = *quantize = PlanNode{.node = {.op = Op::identity}};
}

}  // namespace

bool rounds_result(Op op) { return op == Op::layer_norm || op == Op::rms_norm || op == Op::add || op == Op::sub || op == Op::mul || op == Op::div; }

std::optional<InputRounding> static_rounding(const Graph& graph, const Node& node) {
  if (node.op != Op::quantize && node.op != Op::dequantize) return std::nullopt;
  DType type = graph.value(node.op == Op::quantize ? node.outputs[0] : node.inputs[0]).dtype;
  if (type != DType::kS8 && type != DType::kU8) return std::nullopt;
  auto scale = constant_of(graph, node.inputs[1]);
  bool has_zero = node.inputs.size() > 2 && node.inputs[2] != kNoValue;
  auto zero = has_zero ? constant_of(graph, node.inputs[2]) : std::optional(0.0);
  if (!scale || !zero || !(*scale > 0)) return std::nullopt;
  return InputRounding{.kind = InputRounding::Kind::kStatic, .scale = float(*scale), .zero_point = int32_t(*zero), .type = type};
}

void fuse_rounding(const Graph& graph, const std::vector<bool>& kept, const TakesCodes& takes_codes, std::vector<PlanNode>& nodes) {
  Uses uses(graph, nodes);
  for (PlanNode& plan : nodes) {
    if (!is_product(graph, plan.node) || plan.rounding || plan.dynamic) continue;
    const Node* dequantize = uses.made_by(plan.node.inputs[0], Op::dequantize);
    auto rounding = dequantize ? static_rounding(graph, *dequantize) : std::nullopt;
    if (!rounding) continue;
    plan.rounding = *rounding;
    // The largest of some codes are codes of the same rounding.
    PlanNode* quantize = uses.maker(dequantize->inputs[0]);
    while (quantize && quantize->node.op == Op::max_pool) quantize = uses.maker(quantize->node.inputs[0]);
    bool same = quantize && quantize->node.op == Op::quantize && static_rounding(graph, quantize->node) == rounding;
    if (same && plan.node.op == Op::conv && takes_codes(plan.node, *rounding)) {
      plan.codes = quantize->codes = true;
      plan.node.inputs[0] = dequantize->inputs[0];
    } else if (same && quantize->node.outputs[0] == dequantize->inputs[0]) {
      plan.node.inputs[0] = quantize->node.inputs[0];
    }
  }
  remove_unread(kept, nodes);
  if (!rounds(nodes)) return;
  Uses linears(graph, nodes);
  for (PlanNode& plan : nodes) {
    bool open = is_product(graph, plan.node) && plan.node.op == Op::linear && !plan.product && !plan.sum;
    if (open) round_result(graph, kept, linears, plan, plan.has(2) ? &PlanNode::sum : &PlanNode::product);
  }
  std::erase_if(nodes, [](const PlanNode& plan) { return plan.node.outputs.empty(); });
}

namespace {

// What follows a conv that reads codes, as far as it can be done on the way to codes.
class Chain {
 public:
  Chain(const Graph& graph, const Uses& uses, const std::vector<bool>& kept, const PlanNode& conv)
      : graph_(graph), uses_(uses), kept_(kept), conv_(conv) {
    found_ = is_clip(conv.activation) && (!conv.has(3) || take_residual(conv.node.inputs[3]));
    activated_ = conv.activation != kernels::Activation::kNone;
    for (ValueId v = conv.node.outputs[0]; found_ && v != kNoValue;) v = step(v);
  }

  // Up to the last quantize node whose codes can be the result; nullopt if there is none.
  struct Result {
    PlanNode conv;
    PlanNode* quantize;            // takes the place of conv
    PlanNode* pool = nullptr;      // max_pool between
    std::vector<PlanNode*> done;   // nodes that conv now does
    PlanNode* residual = nullptr;  // the quantize node of the residual
  };
  const std::optional<Result>& result() const { return result_; }

 private:
  // The value after what reads v alone, or kNoValue.
  ValueId step(ValueId v) {
    PlanNode* next = uses_.only_reader(v, kept_);
    if (!next) return kNoValue;
    switch (next->node.op) {
      case Op::quantize: return round(*next);
      case Op::add: return add(*next, v);
      case Op::max_pool: return pool(*next);
      default: return activate(*next);
    }
  }

  ValueId round(PlanNode& quantize) {
    auto rounding = static_rounding(graph_, quantize.node);
    if (!rounding) return kNoValue;
    Result result{conv_, &quantize, pool_, done_, residual_};
    result.conv.output = *rounding;
    result_ = std::move(result);
    InputRounding& place = conv_.has(3) ? conv_.sum : conv_.product;
    if (pool_ || activated_ || place) return kNoValue;
    place = *rounding;
    if (auto table = code_table(graph_, uses_, kept_, quantize); table && wants_table(*table)) {
      conv_.table = std::make_shared<CodesByCode>(table->codes);
      conv_.output = *static_rounding(graph_, table->end->node);
      done_.insert(done_.end(), table->done.begin(), table->done.end());
      result_ = Result{conv_, table->end, nullptr, done_, residual_};
      return kNoValue;
    }
    // On through a dequantize node that alone reads the codes.
    PlanNode* dequantize = uses_.only_reader(quantize.node.outputs[0], kept_);
    if (!dequantize || dequantize->node.op != Op::dequantize || static_rounding(graph_, dequantize->node) != rounding) return kNoValue;
    done_.push_back(&quantize), done_.push_back(dequantize);
    return dequantize->node.outputs[0];
  }

  // Roundings and clips alone are arithmetic.
  bool wants_table(const CodeTable& table) const {
    return std::any_of(table.done.begin(), table.done.end(), [&](const PlanNode* plan) {
      auto activation = activation_of(graph_, plan->node);
      return plan->node.op != Op::quantize && plan->node.op != Op::dequantize && !(activation && is_clip(activation->activation));
    });
  }

  ValueId add(PlanNode& sum, ValueId v) {
    ValueId other = sum.node.inputs[sum.node.inputs[0] == v ? 1 : 0];
    const auto& shape = graph_.value(sum.node.outputs[0]).shape;
    if (conv_.has(3) || activated_ || pool_ || other == v || graph_.value(v).shape != shape || graph_.value(other).shape != shape ||
        !take_residual(other))
      return kNoValue;
    conv_.node.inputs.resize(3, kNoValue);
    conv_.node.inputs.push_back(other);
    take_residual(other);
    done_.push_back(&sum);
    return sum.node.outputs[0];
  }

  ValueId activate(PlanNode& plan) {
    auto activation = activation_of(graph_, plan.node);
    if (!activation || activated_ || pool_ || !is_clip(activation->activation)) return kNoValue;
    activated_ = true;
    conv_.activation = activation->activation, conv_.alpha = activation->alpha, conv_.beta = activation->beta;
    done_.push_back(&plan);
    return plan.node.outputs[0];
  }

  ValueId pool(PlanNode& plan) {
    if (pool_ || plan.node.outputs.size() != 1) return kNoValue;
    pool_ = &plan;
    return plan.node.outputs[0];
  }

  // A residual must come as codes.
  bool take_residual(ValueId value) {
    const Node* dequantize = uses_.made_by(value, Op::dequantize);
    auto rounding = dequantize ? static_rounding(graph_, *dequantize) : std::nullopt;
    if (!rounding || !uses_.maker(dequantize->inputs[0])) return false;
    if (!conv_.has(3)) return true;
    conv_.residual_codes = *rounding;
    conv_.node.inputs[3] = dequantize->inputs[0];
    residual_ = uses_.maker(dequantize->inputs[0]);
    return true;
  }

  const Graph& graph_;
  const Uses& uses_;
  const std::vector<bool>& kept_;
  PlanNode conv_;
  bool found_ = false, activated_ = false;
  PlanNode *pool_ = nullptr, *residual_ = nullptr;
  std::vector<PlanNode*> done_;
  std::optional<Result> result_;
};

// The mean of a picture of codes that a conv gave needs no floats before the end. A relu between becomes the conv's: rounding keeps order, and 0
// is a code.
void pool_codes(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  Uses uses(graph, nodes);
  for (PlanNode& plan : nodes) {
    if (plan.node.op != Op::global_average_pool) continue;
    PlanNode* relu = uses.maker(plan.node.inputs[0]);
    if (relu && (relu->node.op != Op::relu || !uses.only_reader(relu->node.outputs[0], kept))) relu = nullptr;
    const Node* dequantize = uses.made_by(relu ? relu->node.inputs[0] : plan.node.inputs[0], Op::dequantize);
    auto rounding = dequantize && uses.only_reader(dequantize->outputs[0], kept) ? static_rounding(graph, *dequantize) : std::nullopt;
    PlanNode* conv = rounding ? uses.maker(dequantize->inputs[0]) : nullptr;
    if (!conv || !conv->codes || !conv->output) continue;
    if (relu) {
      bool open = conv->node.op == Op::conv && !conv->table && conv->activation == kernels::Activation::kNone && conv->output == *rounding;
      if (!open || !uses.only_reader(dequantize->inputs[0], kept)) continue;
      conv->activation = kernels::Activation::kRelu;
    }
    plan.codes = true, plan.rounding = *rounding;
    plan.node.inputs[0] = dequantize->inputs[0];
    if (relu) *relu = PlanNode{.node = {.op = Op::identity}};
  }
  std::erase_if(nodes, [](const PlanNode& plan) { return plan.node.outputs.empty(); });
}

}  // namespace

void fuse_codes(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  // Later convolutions first: of two that are added, the later one takes the sum and the other is its residual.
  for (size_t n = nodes.size(); n-- > 0;) {
    if (!nodes[n].codes || nodes[n].node.op != Op::conv) continue;
    Uses uses(graph, nodes);
    auto found = Chain(graph, uses, kept, nodes[n]).result();
    if (!found) continue;
    ValueId result = found->quantize->node.outputs[0];
    if (found->residual && found->residual->node.op == Op::quantize) found->residual->codes = true;
    PlanNode nothing;
    nothing.node.op = Op::identity;
    for (PlanNode* done : found->done) *done = nothing;
    // A pool works on the codes of what it pooled.
    PlanNode pool = found->pool ? *found->pool : nothing;
    if (found->pool) {
      found->conv.node.outputs = {pool.node.inputs[0]};
      pool.codes = true, pool.output = found->conv.output, pool.node.outputs = {result};
      *found->pool = found->conv;
      *found->quantize = pool;
    } else {
      found->conv.node.outputs = {result};
      *found->quantize = found->conv;
    }
    nodes[n] = nothing;
  }
  std::erase_if(nodes, [](const PlanNode& plan) { return plan.node.outputs.empty(); });
  fuse_coded_steps(graph, kept, nodes);
  pool_codes(graph, kept, nodes);
  remove_unread(kept, nodes);
}

namespace {

bool moves(Op op) {
  return op == Op::reshape || op == Op::flatten || op == Op::squeeze || op == Op::unsqueeze || op == Op::identity || op == Op::transpose;
}

// Are the values of v, wherever they were moved since, rounded like this already?
bool rounded_before(const Uses& uses, ValueId v, const InputRounding& rounding) {
  const PlanNode* maker = uses.maker(v);
  while (maker && moves(maker->node.op)) maker = uses.maker(maker->node.inputs[0]);
  if (!maker || maker->codes) return false;
  const InputRounding& made = maker->attention ? maker->attention->result : maker->node.op == Op::dequantize ? maker->rounding : maker->sum;
  return maker->node.op != Op::conv && made && made.of_values() == rounding.of_values();
}

// A second rounding by the same scale changes nothing: who reads it reads what it read.
void skip_repeated(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  Uses uses(graph, nodes);
  std::map<ValueId, ValueId> instead;
  for (PlanNode& plan : nodes) {
    for (ValueId& v : plan.node.inputs)
      if (auto it = instead.find(v); it != instead.end()) v = it->second;
    if (plan.node.op != Op::dequantize || !plan.rounding || kept[size_t(plan.node.outputs[0])]) continue;
    if (rounded_before(uses, plan.node.inputs[0], plan.rounding)) instead[plan.node.outputs[0]] = plan.node.inputs[0];
  }
}

}  // namespace

void fuse_pairs(const Graph& graph, const std::vector<bool>& kept, std::vector<PlanNode>& nodes) {
  if (!rounds(nodes)) return;
  Uses uses(graph, nodes);
  for (PlanNode& plan : nodes)
    if (((is_product(graph, plan.node) && plan.node.op == Op::linear) || rounds_result(plan.node.op)) && !plan.sum)
      round_result(graph, kept, uses, plan, &PlanNode::sum);
  std::erase_if(nodes, [](const PlanNode& plan) { return plan.node.outputs.empty(); });
  Uses pairs(graph, nodes);
  for (PlanNode& plan : nodes) {
    auto rounding = plan.node.op == Op::dequantize ? static_rounding(graph, plan.node) : std::nullopt;
    PlanNode* quantize = rounding ? pairs.maker(plan.node.inputs[0]) : nullptr;
    if (!quantize || quantize->node.op != Op::quantize || quantize->codes || static_rounding(graph, quantize->node) != rounding) continue;
    if (kept[size_t(quantize->node.outputs[0])]) continue;  // as do those whose sizes only the run can tell
    if (!is_float(graph.value(quantize->node.inputs[0]).dtype)) continue;
    plan.rounding = *rounding;
    plan.node.inputs = {quantize->node.inputs[0]};
  }
  remove_unread(kept, nodes);
  skip_repeated(graph, kept, nodes);
  remove_unread(kept, nodes);
}

}  // namespace lacuna
