#include "io/onnx/claim_weights.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/cat.h"
#include "graph/infer.h"
#include "io/onnx/tensors.h"

namespace lacuna::onnx {
namespace {

MatrixLayout flipped(MatrixLayout layout) { return layout == MatrixLayout::kInOut ? MatrixLayout::kOutIn : MatrixLayout::kInOut; }

class Claimer {
 public:
  explicit Claimer(Graph& graph) : graph_(graph), users_(graph.all_users()) {}

  void run() {
    std::vector<NodeId> refused;
    for (size_t i = 0; i < graph_.nodes().size(); i++) {
      const Node& node = graph_.node(NodeId(i));
      if (is_recurrent(node.op)) claim_recurrent(NodeId(i));
      bool linear = node.op == Op::linear;
      if (!linear && node.op != Op::conv) continue;
      MatrixLayout layout = !linear ? MatrixLayout::kConv : linear_is_in_out(graph_, node) ? MatrixLayout::kInOut : MatrixLayout::kOutIn;
      ValueId claimed = claim(node.inputs[1], layout);
      if (claimed != kNoValue) {
        graph_.edit_node(NodeId(i)).inputs[1] = claimed;
        if (linear) graph_.edit_node(NodeId(i)).attributes = {};
      } else if (linear) {
        refused.push_back(NodeId(i));
      }
    }
    for (NodeId id : refused) to_matmul(id);
    // Those that share a weight with another product leave it as that one reads it.
    for (const Node& node : graph_.nodes())
      if (node.op == Op::conv_transpose && node.attributes.integer("groups", 1) == 1 && graph_.weight_of(node.inputs[1]))
        claim(node.inputs[1], MatrixLayout::kInOut);
    widen_nibbles();
    if (!quantized_.empty()) graph_.metadata["onnx.quantized"] = quantized_.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

 private:
  // The weight value that stands for this constant in this layout, or kNoValue.
  ValueId claim(ValueId value, MatrixLayout layout) {
    if (const Weight* found = graph_.weight_of(value)) {
      Weight& weight = graph_.weights.edit(graph_.value(value).weight);
      if (!is_float(weight.encoding.values) && weight.encoding.granularity == Encoding::Granularity::kNone) return kNoValue;
      if (weight.layout == MatrixLayout::kNone && found->shape.size() >= 2) weight.layout = layout;
      return weight.layout == layout ? value : kNoValue;
    }
    NodeId producer = graph_.value(value).producer;
    if (producer < 0) return kNoValue;
    const Node& node = graph_.node(producer);
    if (node.op == Op::transpose && layout != MatrixLayout::kConv && node.attributes.integers("perm", {1, 0}) == std::vector<int64_t>{1, 0})
      return claim(node.inputs[0], flipped(layout));
    if (node.op == Op::dequantize) return claim_codes(node, layout);
    return kNoValue;
  }

  // [directions, gates * hidden, in] and [directions, gates * hidden, hidden].
  void claim_recurrent(NodeId id) {
    for (size_t i = 1; i <= 2; i++)
      if (ValueId claimed = claim(graph_.node(id).inputs[i], MatrixLayout::kOutIn); claimed != kNoValue) graph_.edit_node(id).inputs[i] = claimed;
  }

  static ValueId input(const Node& node, size_t i) { return i < node.inputs.size() ? node.inputs[i] : kNoValue; }

  ValueId claim_codes(const Node& dequantize, MatrixLayout layout) {
    ValueId codes = dequantize.inputs[0], scale = dequantize.inputs[1], zero = input(dequantize, 2);
    const Weight* weight = graph_.weight_of(codes);
    if (!weight || weight->shape.size() < 2 || !graph_.weight_of(scale) || (zero != kNoValue && !graph_.weight_of(zero))) return kNoValue;
    if (weight->encoding.granularity != Encoding::Granularity::kNone)
      return weight->layout == layout ? codes : kNoValue;  // claimed by an earlier use
    if (bits_of(weight->encoding.values) > 8 || is_float(weight->encoding.values) || weight->encoding.values == DType::kBool) return kNoValue;
    for (NodeId user : users_[size_t(codes)]) {
      const Node& other = graph_.node(user);
      if (other.op != Op::dequantize || other.inputs != dequantize.inputs || other.attributes != dequantize.attributes) return kNoValue;
    }
    MatrixView view(layout, weight->shape);
    Encoding encoding = weight->encoding;
    auto coded = scales_of(dequantize, *weight, layout, view, encoding);
    if (!coded) return kNoValue;
    auto& names = quantized_[weight->name];
    names["output"] = graph_.value(dequantize.outputs[0]).name;
    names["node"] = dequantize.name;
    names["scale"] = graph_.value(scale).name;
    if (zero != kNoValue) names["zero_point"] = graph_.value(zero).name;
    Weight& edited = graph_.weights.edit(graph_.value(codes).weight);
    edited.layout = layout;
    edited.encoding = encoding;
    edited.source = coded_source(edited.source, coded->first, coded->second);
    graph_.edit_value(codes).dtype = DType::kF32;
    for (NodeId user : users_[size_t(codes)]) graph_.replace_uses(graph_.node(user).outputs[0], codes);
    return codes;
  }

  // Scales and zero points of the matrix view; sets the encoding. nullopt: they do not lie along its rows.
  std::optional<std::pair<Tensor, Tensor>> scales_of(const Node& node, const Weight& codes, MatrixLayout layout, const MatrixView& view,
                                                     Encoding& encoding) {
    Tensor scales = graph_.weight_of(node.inputs[1])->load().values;
    Tensor zeros = input(node, 2) == kNoValue ? Tensor() : graph_.weight_of(node.inputs[2])->load().values;
    bool has_zeros = input(node, 2) != kNoValue;
    if (has_zeros && (zeros.dtype() != codes.encoding.values || zeros.shape() != scales.shape())) return std::nullopt;
    if (!is_float(scales.dtype()) || scales.dtype() == DType::kF64) return std::nullopt;
    encoding.scales = scales.dtype();
    encoding.has_zero_points = has_zeros;
    int64_t rank = int64_t(codes.shape.size()), axis = node.attributes.integer("axis", 1), block = node.attributes.integer("block_size", 0);
    if (axis < 0) axis += rank;
    int64_t row_axis = layout == MatrixLayout::kInOut ? 1 : 0;
    if (block > 0) return blocks_of(scales, zeros, layout, view, axis != row_axis && rank == 2, block, encoding);
    if (scales.size() == 1) {
      encoding.granularity = Encoding::Granularity::kTensor;
      return std::pair(scales.reshaped({1}), has_zeros ? zeros.reshaped({1}) : Tensor());
    }
    if (axis != row_axis || scales.shape() != Shape{view.rows}) return std::nullopt;
    encoding.granularity = Encoding::Granularity::kRow;
    return std::pair(scales, zeros);
  }

  std::optional<std::pair<Tensor, Tensor>> blocks_of(Tensor scales, Tensor zeros, MatrixLayout layout, const MatrixView& view, bool along_columns,
                                                     int64_t block, Encoding& encoding) {
    if (!along_columns || layout == MatrixLayout::kConv) return std::nullopt;
    int64_t blocks = (view.cols + block - 1) / block;
    bool turned = layout == MatrixLayout::kInOut;
    if (scales.shape() != (turned ? Shape{blocks, view.rows} : Shape{view.rows, blocks})) return std::nullopt;
    encoding.granularity = Encoding::Granularity::kGroup;
    encoding.group = block;
    if (!turned) return std::pair(scales, zeros);
    return std::pair(transposed(scales), encoding.has_zero_points ? transposed(zeros) : Tensor());
  }

  // A matrix of whole bytes or of nibbles.
  static Tensor transposed(const Tensor& x) {
    int64_t rows = x.dim(0), cols = x.dim(1), bits = bits_of(x.dtype());
    Tensor out(x.dtype(), {cols, rows});
    const std::byte* from = x.raw();
    std::byte* to = out.mutable_raw();
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < cols; c++)
        if (bits == 4)  // rows start on a byte
          to[c * ((rows + 1) / 2) + r / 2] |= (from[r * ((cols + 1) / 2) + c / 2] >> (c % 2 * 4) & std::byte(15)) << (r % 2 * 4);
        else
          std::memcpy(to + (c * rows + r) * bits / 8, from + (r * cols + c) * bits / 8, size_t(bits / 8));
    return out;
  }

  // Executors hold nothing narrower than a byte: 4-bit constants that did not become coded weights are widened.
  void widen_nibbles() {
    for (auto& value : graph_.values()) {
      const Weight* weight = graph_.weight_of(ValueId(&value - graph_.values().data()));
      if (!weight || bits_of(weight->encoding.values) != 4 || weight->encoding.granularity != Encoding::Granularity::kNone) continue;
      Weight& edited = graph_.weights.edit(value.weight);
      edited.encoding.values = weight->encoding.values == DType::kS4 ? DType::kS8 : DType::kU8;
      edited.source = widened_source(edited.source);
      graph_.edit_value(ValueId(&value - graph_.values().data())).dtype = edited.encoding.values;
    }
  }

  // linear(x, w, bias) -> matmul(x, w) [+ bias]
  void to_matmul(NodeId id) {
    Node node = graph_.node(id);
    bool in_out = linear_is_in_out(graph_, node);
    ValueId result = node.outputs[0], bias = input(node, 2);
    Node& product = graph_.edit_node(id);
    product.op = Op::matmul;
    product.attributes = {};
    if (!in_out) product.attributes.set("transpose_b", int64_t(1));
    product.inputs.resize(2);
    if (bias == kNoValue) return;
    ValueId sum = graph_.add(Op::add, {result, bias}, {}, node.name + "/bias", node.block);
    graph_.edit_value(sum).name = graph_.value(result).name;
    std::string sum_name = graph_.node(graph_.value(sum).producer).name;
    graph_.replace_uses(result, sum);
    for (auto& n : graph_.nodes())
      if (n.name == sum_name) graph_.edit_node(graph_.value(sum).producer).inputs[0] = result;
    graph_.sort_topologically();
  }

  Graph& graph_;
  std::vector<std::vector<NodeId>> users_;
  nlohmann::json quantized_;
};

void remove_unread(Graph& graph) {
  std::set<ValueId> read;
  for (auto& output : graph.outputs()) read.insert(output.value);
  std::vector<Node> kept;
  for (size_t i = graph.nodes().size(); i-- > 0;) {
    const Node& node = graph.node(NodeId(i));
    if (std::none_of(node.outputs.begin(), node.outputs.end(), [&](ValueId v) { return read.contains(v); })) continue;
    for (ValueId v : node.inputs) read.insert(v);
    kept.push_back(node);
  }
  if (kept.size() == graph.nodes().size()) return;
  std::reverse(kept.begin(), kept.end());
  graph.set_nodes(std::move(kept));
}

}  // namespace

void claim_weights(Graph& graph) {
  Claimer(graph).run();
  remove_unread(graph);
}

}  // namespace lacuna::onnx
