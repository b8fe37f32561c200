// Normalisation and softmax.
#include "base/cat.h"
#include "io/onnx/lower/lowerings.h"

namespace lacuna::onnx::lower {
namespace {

std::vector<int64_t> trailing(int64_t axis, int64_t rank) {
  std::vector<int64_t> axes;
  for (int64_t i = axis < 0 ? axis + rank : axis; i < rank; i++) axes.push_back(i);
  return axes;
}

std::string mean(Lowering& l, const std::string& x, const std::vector<int64_t>& axes) {
  if (l.opset() >= 18) return l.add("ReduceMean", {x, l.constant(axes)});
  return l.add("ReduceMean", {x}, {{"axes", axes}});
}

void layer_norm(Lowering& l) {
  int64_t axis = l.attributes().integer("axis", -1);
  double epsilon = l.attributes().number("epsilon", 1e-5);
  DType type = l.dtype(0);
  if (l.has(1)) {
    std::string bias = l.has(2) ? l.cast(l.input(2), l.dtype(2), type) : "";
    return l.finish("LayerNormalization", {l.input(0), l.cast(l.input(1), l.dtype(1), type), bias}, {{"axis", axis}, {"epsilon", epsilon}});
  }
  auto axes = trailing(axis, l.required_rank(0));
  std::string centred = l.add("Sub", {l.input(0), mean(l, l.input(0), axes)});
  std::string variance = mean(l, l.add("Mul", {centred, centred}), axes);
  std::string deviation = l.add("Sqrt", {l.add("Add", {variance, l.scalar(epsilon, type)})});
  if (!l.has(2)) return l.finish("Div", {centred, deviation});
  l.finish("Add", {l.add("Div", {centred, deviation}), l.cast(l.input(2), l.dtype(2), type)});
}

// x / sqrt(mean(x^2) + epsilon) * (scale + scale_offset)
void rms_norm(Lowering& l) {
  auto axes = trailing(l.attributes().integer("axis", -1), l.required_rank(0));
  DType type = l.dtype(0);
  std::string x = l.input(0), scale = l.cast(l.input(1), l.dtype(1), type);
  if (double offset = l.attributes().number("scale_offset", 0); offset != 0) scale = l.add("Add", {scale, l.scalar(offset, type)});
  std::string square = mean(l, l.add("Mul", {x, x}), axes);
  std::string root = l.add("Sqrt", {l.add("Add", {square, l.scalar(l.attributes().number("epsilon", 1e-5), type)})});
  l.finish("Mul", {l.add("Div", {x, root}), scale});
}

// GroupNormalization per channel is opset 21; before, the groups are normalised as channels of an instance norm.
void group_norm(Lowering& l) {
  int64_t groups = l.attributes().integer("groups", 1);
  double epsilon = l.attributes().number("epsilon", 1e-5);
  if (l.opset() >= 21) return l.finish("GroupNormalization", l.inputs(), {{"num_groups", groups}, {"epsilon", epsilon}});
  int64_t rank = l.required_rank(0);
  DType type = l.dtype(0);
  Tensor ones(type, {groups}), zeros(type, {groups});
  ones = Tensor::of<double>({groups}, std::vector<double>(size_t(groups), 1.0)).to(type);
  std::string grouped = l.reshape(l.input(0), {0, groups, -1});
  std::string normal = l.add("InstanceNormalization", {grouped, l.constant(ones), l.constant(zeros)}, {{"epsilon", epsilon}});
  std::string restored = l.add("Reshape", {normal, l.add("Shape", {l.input(0)})});
  std::vector<int64_t> column(size_t(rank) - 1, 1);
  column[0] = -1;
  std::string scaled = l.add("Mul", {restored, l.reshape(l.input(1), column)});
  l.finish("Add", {scaled, l.reshape(l.input(2), column)});
}

// x / max(||x||, epsilon)
void l2_norm(Lowering& l) {
  int64_t axis = l.attributes().integer("axis", -1), p = l.attributes().integer("p", 2);
  double epsilon = l.attributes().number("epsilon", 1e-12);
  if (epsilon < 1e-30) return l.finish("LpNormalization", {l.input(0)}, {{"axis", axis}, {"p", p}});
  const char* norm = p == 1 ? "ReduceL1" : "ReduceL2";
  std::vector<int64_t> axes = {axis};
  std::string length = l.opset() >= 18 ? l.add(norm, {l.input(0), l.constant(axes)}) : l.add(norm, {l.input(0)}, {{"axes", axes}});
  l.finish("Div", {l.input(0), l.add("Max", {length, l.scalar(epsilon, l.dtype(0))})});
}

void softmax(Lowering& l) {
  const char* type = l.node().op == Op::softmax ? "Softmax" : "LogSoftmax";
  int64_t axis = l.attributes().integer("axis", -1);
  if (!l.attributes().integer("flatten", 0)) return l.finish(type, {l.input(0)}, {{"axis", axis}});
  std::string flat = l.add("Flatten", {l.input(0)}, {{"axis", axis}});
  std::string result = l.add(type, {flat}, {{"axis", int64_t(1)}});
  l.finish("Reshape", {result, l.add("Shape", {l.input(0)})});
}

const Entry kEntries[] = {
    {Op::layer_norm, layer_norm},
    {Op::rms_norm, rms_norm},
    {Op::batch_norm, LACUNA_LOWER_AS("BatchNormalization", "epsilon")},
    {Op::instance_norm, LACUNA_LOWER_AS("InstanceNormalization", "epsilon")},
    {Op::group_norm, group_norm},
    {Op::l2_norm, l2_norm},
    {Op::lrn, LACUNA_LOWER_AS("LRN", "size", "alpha", "beta", "bias")},
    {Op::softmax, softmax},
    {Op::log_softmax, softmax},
};

}  // namespace

std::span<const Entry> normalization() { return kEntries; }

}  // namespace lacuna::onnx::lower
