#include "runtime/passes/code_table.h"

#include <map>
#include <set>

#include "lacuna/error.h"
#include "runtime/passes/fuse_rounding.h"
#include "runtime/reference/reference.h"

namespace lacuna {
namespace {

bool by_element(Op op) {
  using enum Op;
  switch (op) {
    case relu:
    case leaky_relu:
    case elu:
    case selu:
    case celu:
    case sigmoid:
    case hard_sigmoid:
    case hard_swish:
    case tanh:
    case gelu:
    case silu:
    case mish:
    case softplus:
    case softsign:
    case erf:
    case exp:
    case abs:
    case neg:
    case clip:
    case identity:
    case add:
    case sub:
    case mul:
    case div:
    case minimum:
    case maximum:
    case quantize:
    case dequantize: return true;
    default: return false;
  }
}

// Walks from a quantize node along everything that reads its codes.
class Walk {
 public:
  Walk(const Graph& graph, const Uses& uses, const std::vector<bool>& kept, PlanNode& quantize) : graph_(graph), uses_(uses), kept_(kept) {
    const ValueId codes = quantize.node.outputs[0];
    type_ = graph.value(codes).dtype;
    if (kept[size_t(codes)] || !static_rounding(graph, quantize.node)) return;
    // All 256 codes, signed ones in the order of their bytes.
    const size_t rank = graph.value(codes).shape ? graph.value(codes).shape->size() : 1;
    Shape shape(std::max<size_t>(rank, 1), 1);
    shape.back() = 256;
    Tensor all(type_, shape, false);
    for (int i = 0; i < 256; i++) all.mutable_raw()[i] = std::byte(type_ == DType::kU8 ? i ^ 0x80 : i);
    results_.emplace(codes, std::move(all));
    done_.push_back(&quantize);
    read(codes);
    while (!pending_.empty() && take(uses.node(*pending_.begin()))) pending_.erase(pending_.begin());
  }
  const std::optional<CodeTable>& found() const { return found_; }

 private:
  void read(ValueId value) {
    for (size_t n : uses_.readers(value)) pending_.insert(n);
  }

  // Of the first of the nodes that read what is known: all its inputs are known now, or it cannot be one of these.
  bool take(PlanNode& plan) {
    const Node& node = plan.node;
    if (!by_element(node.op) || !plan.plain() || node.outputs.size() != 1) return false;
    const bool rounds = node.op == Op::quantize || node.op == Op::dequantize;
    if (rounds && !static_rounding(graph_, node)) return false;
    std::vector<Tensor> inputs;
    for (ValueId v : node.inputs) {
      if (v == kNoValue) {
        inputs.emplace_back();
      } else if (auto it = results_.find(v); it != results_.end()) {
        inputs.push_back(it->second);
      } else if (auto known = constant(v)) {
        inputs.push_back(std::move(*known));
      } else {
        return false;
      }
    }
    std::vector<Tensor> outputs;
    try {
      outputs = evaluate_node(graph_, node, inputs);
    } catch (const Error&) {
      return false;  // the step that runs it will say so
    }
    if (outputs[0].size() != 256) return false;
    // Nothing else waits for a result: the table may end here.
    if (node.op == Op::quantize && pending_.size() == 1) found_ = CodeTable{&plan, done_, table_of(outputs[0])};
    if (kept_[size_t(node.outputs[0])]) return false;
    results_.emplace(node.outputs[0], std::move(outputs[0]));
    done_.push_back(&plan);
    read(node.outputs[0]);
    return true;
  }

  // One number, as it is or rounded.
  std::optional<Tensor> constant(ValueId v) const {
    if (constant_of(graph_, v)) return graph_.weight_of(v)->load().values;
    const Node* dequantize = uses_.made_by(v, Op::dequantize);
    if (!dequantize || !static_rounding(graph_, *dequantize) || !constant_of(graph_, dequantize->inputs[0])) return std::nullopt;
    std::vector<Tensor> inputs;
    for (ValueId input : dequantize->inputs) inputs.push_back(input == kNoValue ? Tensor() : graph_.weight_of(input)->load().values);
    return evaluate_node(graph_, *dequantize, inputs)[0];
  }

  static CodesByCode table_of(const Tensor& codes) {
    CodesByCode table;
    for (size_t i = 0; i < table.size(); i++) table[i] = int8_t(uint8_t(codes.raw()[i]) ^ (codes.dtype() == DType::kU8 ? 0x80 : 0));
    return table;
  }

  const Graph& graph_;
  const Uses& uses_;
  const std::vector<bool>& kept_;
  DType type_;
  std::map<ValueId, Tensor> results_;
  std::set<size_t> pending_;  // nodes in their order
  std::vector<PlanNode*> done_;
  std::optional<CodeTable> found_;
};

}  // namespace

std::optional<CodeTable> code_table(const Graph& graph, const Uses& uses, const std::vector<bool>& kept, PlanNode& quantize) {
  return Walk(graph, uses, kept, quantize).found();
}

}  // namespace lacuna
