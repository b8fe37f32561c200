#include "runtime/passes/fold_batch_norm.h"

#include <cmath>

#include "base/cat.h"

namespace lacuna {
namespace {

// The factor and offset of each channel: y = x * factor + offset.
struct Affine {
  std::vector<float> factor, offset;
};
Affine affine_of(const Weight& scale, const Weight& bias, const Weight& mean, const Weight& variance, double epsilon) {
  Tensor s = decode_f32(scale, scale.load()), b = decode_f32(bias, bias.load()), m = decode_f32(mean, mean.load()),
         v = decode_f32(variance, variance.load());
  Affine affine;
  for (size_t c = 0; c < size_t(s.size()); c++) {
    double factor = s.data<float>()[c] / std::sqrt(double(v.data<float>()[c]) + epsilon);
    affine.factor.push_back(float(factor));
    affine.offset.push_back(float(b.data<float>()[c] - m.data<float>()[c] * factor));
  }
  return affine;
}

// Can a factor per output channel go into the scales, so that the codes stay?
bool scales_take_factors(const Encoding& e) {
  using enum Encoding::Granularity;
  return (e.granularity == kRow || (e.granularity == kTensor && !e.has_zero_points)) && !e.has_minima;
}

Encoding scaled_encoding(Encoding e) {
  e.granularity = Encoding::Granularity::kRow;
  e.scales = DType::kF32;
  return e;
}

// The weight with each output channel multiplied by its factor: coded as it was if its scales can take that, else in f32.
class ScaledSource final : public WeightSource {
 public:
  ScaledSource(Weight source, std::vector<float> factor, bool channels_last)
      : source_(std::move(source)), factor_(std::move(factor)), channels_last_(channels_last) {}
  WeightData load() const override {
    WeightData data = source_.load();
    if (scales_take_factors(source_.encoding)) {
      Tensor scales = data.scales.to(DType::kF32), scaled(DType::kF32, {int64_t(factor_.size())});
      for (size_t r = 0; r < factor_.size(); r++) scaled.mutable_data<float>()[r] = scales.data<float>()[scales.size() == 1 ? 0 : r] * factor_[r];
      data.scales = scaled;
      return data;
    }
    Tensor values = decode_f32(source_, data).clone();
    int64_t channels = int64_t(factor_.size()), inner = channels_last_ ? 1 : values.size() / channels;
    auto span = values.mutable_data<float>();
    for (int64_t i = 0; i < values.size(); i++) span[size_t(i)] *= factor_[size_t(i / inner % channels)];
    return {.values = values, .mask = data.mask};
  }
  int64_t stored_bytes() const override { return source_.source->stored_bytes(); }
  void drop() const override { source_.source->drop(); }

 private:
  Weight source_;
  std::vector<float> factor_;
  bool channels_last_;
};

ValueId add_vector(Graph& graph, std::string name, const std::vector<float>& values) {
  Weight weight{.name = std::move(name),
                .shape = {int64_t(values.size())},
                .source = in_memory({.values = Tensor::of<float>({int64_t(values.size())}, values)})};
  return graph.add_weight(graph.weights.add(std::move(weight)));
}

// Folds `norm` into `product`; false if they do not fit.
bool fold(Graph& graph, Node& product, const Node& norm) {
  const Weight* weight = graph.weight_of(product.inputs[1]);
  const Weight* bias = product.inputs.size() > 2 && product.inputs[2] != kNoValue ? graph.weight_of(product.inputs[2]) : nullptr;
  bool has_bias = product.inputs.size() > 2 && product.inputs[2] != kNoValue;
  const Weight* vectors[4];
  for (size_t i = 0; i < 4; i++)
    if (!(vectors[i] = graph.weight_of(norm.inputs[i + 1]))) return false;
  if (!weight || weight->layout == MatrixLayout::kNone || (has_bias && !bias)) return false;
  bool in_out = weight->layout == MatrixLayout::kInOut;
  if (weight->shape.empty() || vectors[0]->size() != weight->shape[in_out ? weight->shape.size() - 1 : 0]) return false;

  Affine affine = affine_of(*vectors[0], *vectors[1], *vectors[2], *vectors[3], norm.attributes.number("epsilon", 1e-5));
  if (bias) {
    Tensor b = decode_f32(*bias, bias->load());
    if (b.size() != int64_t(affine.offset.size())) return false;
    for (size_t c = 0; c < affine.offset.size(); c++) affine.offset[c] += b.data<float>()[c] * affine.factor[c];
  }
  Weight scaled{.name = cat(weight->name, " * ", norm.name),
                .shape = weight->shape,
                .layout = weight->layout,
                .encoding = scales_take_factors(weight->encoding) ? scaled_encoding(weight->encoding) : Encoding{},
                .pattern = weight->pattern,
                .source = std::make_shared<ScaledSource>(*weight, affine.factor, in_out)};
  ValueId scaled_value = graph.add_weight(graph.weights.add(std::move(scaled)));
  ValueId offset_value = add_vector(graph, cat("bias of ", norm.name), affine.offset);
  product.inputs = {product.inputs[0], scaled_value, offset_value};
  product.outputs = norm.outputs;
  return true;
}

}  // namespace

int64_t fold_batch_norms(Graph& graph) {
  auto users = graph.all_users();
  std::vector<Node> nodes(graph.nodes().begin(), graph.nodes().end());
  std::vector<bool> dropped(nodes.size());
  std::vector<bool> is_output(graph.values().size());
  for (auto& output : graph.outputs()) is_output[size_t(output.value)] = true;
  int64_t count = 0;
  for (size_t n = 0; n < nodes.size(); n++) {
    if (nodes[n].op != Op::batch_norm) continue;
    ValueId x = nodes[n].inputs[0];
    NodeId producer = graph.value(x).producer;
    if (producer < 0 || users[size_t(x)].size() != 1 || is_output[size_t(x)]) continue;
    Node& product = nodes[size_t(producer)];
    if (product.op != Op::conv && !(product.op == Op::linear && graph.value(x).shape && graph.value(x).shape->size() == 2)) continue;
    if (!fold(graph, product, nodes[n])) continue;
    dropped[n] = true;
    count++;
  }
  std::vector<Node> kept;
  for (size_t n = 0; n < nodes.size(); n++)
    if (!dropped[n]) kept.push_back(std::move(nodes[n]));
  graph.set_nodes(std::move(kept));
  return count;
}

}  // namespace lacuna
