#include "runtime/reference/support.h"

#include <algorithm>
#include <cstring>

#include "lacuna/error.h"

namespace lacuna {

void OpCall::fail(const std::string& message) const { throw InvalidData(cat("node '", node.name, "' (", name_of(node.op), "): ", message)); }

const Tensor& OpCall::in(size_t input) const {
  if (!has(input)) fail(cat("input ", input, " is missing"));
  return inputs[input];
}

Tensor& OpCall::make(size_t output, DType dtype, const Shape& shape) const {
  LACUNA_ASSERT(output < outputs.size());
  Tensor& t = outputs[output];
  if (!(t.bytes().data && t.dtype() == dtype && t.shape() == shape)) {
    for (int64_t d : shape)
      if (d < 0) fail(cat("output ", output, " would have shape ", to_string(shape)));
    t = Tensor(dtype, shape, false);
  }
  return t;
}

void OpCall::share(size_t output, const Tensor& value) const {
  Tensor& t = outputs[output];
  if (t.bytes().data && t.dtype() == value.dtype() && t.shape() == value.shape()) {
    if (t.raw() != value.raw() && t.size_bytes()) std::memcpy(t.mutable_raw(), value.raw(), t.size_bytes());
  } else {
    t = value;
  }
}

ReferenceFn reference_of(Op op) {
  static constexpr ReferenceFn kTable[] = {
#define LACUNA_OP(name, help) &reference::name,
#include "graph/ops.def"
#undef LACUNA_OP
  };
  return kTable[size_t(op)];
}

std::vector<Tensor> evaluate_node(const Graph& graph, const Node& node, std::span<const Tensor> inputs) {
  std::vector<Tensor> held, outputs(node.outputs.size());
  for (const Tensor& t : inputs) held.push_back(is_float(t.dtype()) ? t.to(DType::kF32) : t);
  reference_of(node.op)(OpCall{node, held, outputs, ReferenceContext{&graph, 0}});
  for (size_t i = 0; i < outputs.size(); i++)
    if (node.outputs[i] != kNoValue && is_float(outputs[i].dtype()) && is_float(graph.value(node.outputs[i]).dtype))
      outputs[i] = outputs[i].to(graph.value(node.outputs[i]).dtype);
  return outputs;
}

namespace reference {

std::vector<int64_t> strides_of(const Shape& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0; step *= shape[i]) strides[i] = step;
  return strides;
}

int64_t axis_of(const OpCall& call, int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) call.fail(cat("axis ", axis, " is outside of a tensor with ", rank, " dimensions"));
  return axis < 0 ? axis + rank : axis;
}

std::vector<int64_t> integers_of(const Tensor& t) {
  std::vector<int64_t> out;
  with_type(t.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < t.size(); i++) out.push_back(int64_t(elements<T>(t)[i]));
  });
  return out;
}

std::vector<int64_t> integers_of(const OpCall& call, size_t input, std::string_view name) {
  return call.has(input) ? integers_of(call.in(input)) : call.integers(name);
}

double scalar_of(const OpCall& call, size_t input) {
  const Tensor& t = call.in(input);
  if (t.size() != 1) call.fail(cat("input ", input, " has shape ", to_string(t.shape()), ", wanted one number"));
  double value = 0;
  with_type(t.dtype(), [&](auto type) { value = double(elements<decltype(type)>(t)[0]); });
  return value;
}

Tensor as_f32(const Tensor& t) { return t.to(DType::kF32); }

Shape broadcast_shapes(const OpCall& call, const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < out.size(); i++) {
    int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) call.fail(cat("shapes ", to_string(a), " and ", to_string(b), " do not broadcast"));
    out[out.size() - 1 - i] = x == 1 ? y : x;
  }
  return out;
}

std::vector<int64_t> broadcast_strides(const Shape& shape, const Shape& out) {
  std::vector<int64_t> own = strides_of(shape), strides(out.size(), 0);
  for (size_t i = 0; i < shape.size(); i++)
    if (shape[i] != 1) strides[out.size() - shape.size() + i] = own[i];
  return strides;
}

void Windows::add_axis() {
  for (Shape* v : {&input, &kernel, &strides, &dilations, &output}) v->insert(v->begin(), 1);
  for (Shape* v : {&pad_begin, &pad_end}) v->insert(v->begin(), 0);
}

Windows Windows::without_axis() const {
  Windows rest = *this;
  for (Shape* v : {&rest.input, &rest.kernel, &rest.strides, &rest.dilations, &rest.pad_begin, &rest.pad_end, &rest.output}) v->erase(v->begin());
  return rest;
}

Windows windows_of(const OpCall& call, const Shape& input_shape, const Shape& kernel, bool transposed) {
  size_t n = kernel.size();
  if (input_shape.size() != n + 2) call.fail(cat("input has shape ", to_string(input_shape), ", wanted ", n, " spatial axes"));
  Windows w;
  w.input.assign(input_shape.begin() + 2, input_shape.end());
  w.kernel = kernel;
  w.strides = call.integers("strides", Shape(n, 1));
  w.dilations = call.integers("dilations", Shape(n, 1));
  Shape pads = call.integers("pads", Shape(2 * n, 0));
  if (w.strides.size() != n || w.dilations.size() != n || pads.size() != 2 * n)
    call.fail(cat("strides, dilations or pads do not fit ", n, " spatial axes"));
  for (size_t i = 0; i < n; i++)
    if (w.strides[i] < 1 || w.dilations[i] < 1 || kernel[i] < 1) call.fail("strides, dilations and kernel must be at least 1");
  w.pad_begin.assign(pads.begin(), pads.begin() + int64_t(n));
  w.pad_end.assign(pads.begin() + int64_t(n), pads.end());
  if (transposed) return w;
  std::string auto_pad = call.text("auto_pad", "NOTSET");
  bool ceil_mode = call.integer("ceil_mode", 0) != 0;
  for (size_t i = 0; i < n; i++) {
    int64_t extent = w.dilations[i] * (kernel[i] - 1) + 1, stride = w.strides[i];
    if (auto_pad == "VALID") w.pad_begin[i] = w.pad_end[i] = 0;
    if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
      int64_t out = (w.input[i] + stride - 1) / stride;
      int64_t total = std::max<int64_t>(0, (out - 1) * stride + extent - w.input[i]);
      w.pad_begin[i] = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.pad_end[i] = total - w.pad_begin[i];
    }
    int64_t room = w.input[i] + w.pad_begin[i] + w.pad_end[i] - extent;
    if (room < 0) call.fail(cat("a window of ", extent, " does not fit into ", w.input[i], " with padding ", w.pad_begin[i], " and ", w.pad_end[i]));
    int64_t out = room / stride + 1;
    if (ceil_mode) {
      // A window must start inside the input or the left padding.
      out = std::min((room + stride - 1) / stride + 1, (w.input[i] + w.pad_begin[i] + stride - 1) / stride);
    }
    w.output.push_back(out);
  }
  return w;
}

}  // namespace reference
}  // namespace lacuna
