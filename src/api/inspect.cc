#include "lacuna/inspect.h"

#include <cmath>
#include <set>

#include "api/sample_inputs.h"
#include "base/cat.h"
#include "graph/infer.h"
#include "io/model.h"
#include "lacuna/error.h"
#include "sparse/format.h"
#include "sparse/pattern.h"

namespace lacuna {
namespace {

int64_t code_bits(const Encoding& encoding, int64_t rows, int64_t cols) {
  int64_t bits = rows * cols * bits_of(encoding.values);
  using enum Encoding::Granularity;
  int64_t scales = encoding.granularity == kNone     ? 0
                   : encoding.granularity == kTensor ? 1
                   : encoding.granularity == kRow    ? rows
                                                     : rows * ((cols + encoding.group - 1) / encoding.group);
  bits += scales * bits_of(encoding.scales) * (1 + encoding.has_minima);
  return bits + scales * (encoding.has_zero_points ? bits_of(encoding.values) : 0);
}

// For the formats whose size follows from a count: the smallest sparsity at which it is less than that of dense codes.
std::map<std::string, double> break_even(DType type, int64_t rows, int64_t cols) {
  std::map<std::string, double> out;
  int64_t dense = rows * ((cols * bits_of(type) + 7) / 8);
  for (const Format& format : formats()) {
    if (format.interchange_only || !format.bytes_of_count || format.bytes_of_count(rows, cols, type, 0) >= dense) continue;
    int64_t smaller = 0, not_smaller = rows * cols + 1;  // kept weights
    while (not_smaller - smaller > 1) {
      int64_t kept = smaller + (not_smaller - smaller) / 2;
      (format.bytes_of_count(rows, cols, type, kept) < dense ? smaller : not_smaller) = kept;
    }
    out[std::string(format.name)] = 1 - double(smaller) / double(rows * cols);
  }
  return out;
}

// Multiply-adds times two for one item (a token, an image), by node. None are counted if the sizes we guess do not suit the model.
std::vector<double> operations_by_node(const Graph& graph, const Bindings& wanted) {
  Bindings bindings = bind_symbols(graph, wanted, 1, 1);
  std::vector<Fact> facts;
  try {
    facts = infer_facts(graph, bindings);
  } catch (const InvalidData&) {
    if (!wanted.empty()) throw;
    return std::vector<double>(graph.nodes().size());
  }
  std::vector<double> out(graph.nodes().size());
  auto elements = [&](ValueId id) {
    if (id == kNoValue || !facts[size_t(id)].shape) return 0.0;
    auto shape = constant_shape(*facts[size_t(id)].shape);
    return shape ? double(element_count(*shape)) : 0.0;
  };
  for (size_t i = 0; i < out.size(); i++) {
    const Node& node = graph.nodes()[i];
    if (node.op == Op::linear || node.op == Op::conv) {
      auto& shape = facts[size_t(node.inputs[1])].shape;
      auto weight = shape ? constant_shape(*shape) : std::nullopt;
      if (!weight || weight->empty()) continue;
      const Weight* w = graph.weight_of(node.inputs[1]);
      double rows = double(w && w->layout == MatrixLayout::kInOut ? (*weight)[1] : (*weight)[0]);
      out[i] = 2 * elements(node.outputs[0]) * double(element_count(*weight)) / std::max(1.0, rows);
    } else if (node.op == Op::conv_transpose) {  // [in, out / groups, k...]
      auto& shape = facts[size_t(node.inputs[1])].shape;
      auto weight = shape ? constant_shape(*shape) : std::nullopt;
      if (weight && !weight->empty()) out[i] = 2 * elements(node.inputs[0]) * double(element_count(std::span(*weight).subspan(1)));
    } else if (node.op == Op::matmul) {
      auto& shape = facts[size_t(node.inputs[0])].shape;
      auto a = shape ? constant_shape(*shape) : std::nullopt;
      if (a && !a->empty())
        out[i] = 2 * elements(node.outputs[0]) * double(node.attributes.integer("transpose_a", 0) && a->size() > 1 ? (*a)[a->size() - 2] : a->back());
    } else if (is_recurrent(node.op)) {
      auto& x = facts[size_t(node.inputs[0])].shape;
      auto input = x ? constant_shape(*x) : std::nullopt;
      if (input && input->size() == 3) out[i] = 2 * double((*input)[0] * (*input)[1]) * (elements(node.inputs[1]) + elements(node.inputs[2]));
    } else if (node.op == Op::attention) {
      auto& q = facts[size_t(node.inputs[0])].shape;
      auto& k = facts[size_t(node.inputs[1])].shape;
      auto keys = k ? constant_shape(*k) : std::nullopt;
      if (q && keys && keys->size() >= 2) out[i] = 4 * elements(node.inputs[0]) * double((*keys)[1]);
    }
  }
  return out;
}

void scan(const Weight& weight, WeightSummary& out) {
  WeightData data = weight.load();
  MatrixView view(weight.layout, weight.shape);
  std::vector<float> row(size_t(view.cols));
  Mask mask = data.mask ? *data.mask : Mask(view.rows, view.cols, true);
  double largest = 0;
  int64_t not_finite = 0;
  for (int64_t r = 0; r < view.rows; r++) {
    decode_rows(weight, data, r, 1, row.data());
    for (int64_t c = 0; c < view.cols; c++) {
      if (std::isfinite(row[size_t(c)]))
        largest = std::max(largest, double(std::abs(row[size_t(c)])));
      else
        not_finite++;
      // Without a mask of its own, what is exactly zero counts as removed.
      if (!data.mask && row[size_t(c)] == 0) mask.set(r, c, false);
    }
  }
  data.mask = std::move(mask);
  MaskedMatrix matrix = masked_matrix(weight, data);  // a zero may have a code other than zero: -0, or one that a minimum makes up for
  out.max_magnitude = largest;
  out.not_finite = not_finite;
  out.sparsity = matrix.mask.sparsity();
  out.recognised_pattern = *out.sparsity > 0 ? recognise_pattern(matrix.mask, view.inner) : "dense";
  std::vector<FormatChoice> all;
  smallest_format(matrix, weight.pattern.empty() ? out.recognised_pattern : weight.pattern, view.inner, &all);
  for (auto& choice : all) out.format_bytes[std::string(choice.format->name)] = choice.size_bytes;
  weight.source->drop();
}

}  // namespace

ModelSummary inspect(const std::filesystem::path& path, const InspectOptions& options, Progress* progress) {
  Model model = load_model(path);
  const Graph& graph = *model.graph;
  ModelSummary out{.path = path.string(), .kind = std::string(name_of(model.kind)), .family = graph.family, .file_bytes = bytes_on_disk(path)};
  auto port = [&](const std::string& name, ValueId id) {
    const Value& v = graph.value(id);
    return ModelSummary::Port{name, std::string(name_of(v.dtype)), v.shape ? to_string(*v.shape) : "[?]"};
  };
  for (ValueId id : graph.inputs()) out.inputs.push_back(port(graph.value(id).name, id));
  for (auto& o : graph.outputs()) out.outputs.push_back(port(o.name, o.value));
  for (auto& node : graph.nodes()) out.op_counts[std::string(name_of(node.op))]++;

  for (auto& [name, value] : options.dimensions)
    if (counts_items(graph, name))
      throw InvalidArgument(cat("--dim ", name, "=", value, ": this dimension counts items, and operations are those of one item"));
  std::vector<double> operations = operations_by_node(graph, options.dimensions);
  for (double o : operations) out.operations += o;
  for (auto& [name, size] : bind_symbols(graph, options.dimensions, 1, 1))
    if (!counts_items(graph, name)) out.dimensions[name] = size;
  std::map<WeightId, double> weight_operations;
  for (size_t i = 0; i < graph.nodes().size(); i++) {
    const Node& node = graph.nodes()[i];
    bool recurrent = is_recurrent(node.op);
    double parameters = 0;  // what multiplies
    for (size_t m = 1; m <= (recurrent ? 2 : 1) && m < node.inputs.size(); m++)
      if (const Weight* weight = graph.weight_of(node.inputs[m])) parameters += double(weight->size());
    for (size_t m = 1; m <= (recurrent ? 2 : 1) && m < node.inputs.size(); m++)
      if (const Weight* weight = graph.weight_of(node.inputs[m]); weight && parameters > 0)
        weight_operations[graph.value(node.inputs[m]).weight] += operations[i] * double(weight->size()) / parameters;
  }

  std::map<WeightId, WeightUse> uses;
  for (auto& use : weight_uses(graph)) uses.emplace(use.weight, use);
  double zeros = 0, prunable_zeros = 0;
  bool known = options.weights;
  for (WeightId id = 0; id < WeightId(graph.weights.size()); id++) {
    const Weight& weight = graph.weights[id];
    if (progress && options.weights) progress->update("reading weights", id, graph.weights.size());
    WeightSummary w{.name = weight.name,
                    .shape = weight.shape,
                    .encoding = to_string(weight.encoding),
                    .pattern = weight.pattern,
                    .format = weight.source->stored_format()};
    w.parameters = weight.size();
    w.stored_bytes = weight.source->stored_bytes();
    if (auto it = uses.find(id); it != uses.end()) {
      w.layer = graph.node(it->second.node).name;
      w.op = it->second.op_type;
      w.prunable = it->second.prunable;
      w.not_prunable_because = it->second.reason;
    }
    if (weight.layout != MatrixLayout::kNone) {
      MatrixView view(weight.layout, weight.shape);
      w.rows = view.rows;
      w.cols = view.cols;
      w.dense_bytes = (code_bits(weight.encoding, view.rows, view.cols) + 7) / 8;
      w.break_even = break_even(weight.encoding.values, view.rows, view.cols);
      w.operations = weight_operations.contains(id) ? weight_operations[id] : 0;
      if (options.weights && weight.size()) scan(weight, w);
    } else {
      w.dense_bytes = (weight.size() * bits_of(weight.encoding.values) + 7) / 8;
    }
    double weight_zeros = w.sparsity ? *w.sparsity * double(w.parameters) : 0;
    zeros += weight_zeros;
    out.parameters += is_float(weight.encoding.values) || weight.encoding.granularity != Encoding::Granularity::kNone ? w.parameters : 0;
    if (w.prunable) {
      out.prunable_parameters += w.parameters;
      prunable_zeros += weight_zeros;
    }
    out.stored_bytes += w.stored_bytes;
    out.dense_bytes += w.dense_bytes;
    out.weights.push_back(std::move(w));
  }
  if (known && out.parameters) out.sparsity = zeros / double(out.parameters);
  if (known && out.prunable_parameters) out.prunable_sparsity = prunable_zeros / double(out.prunable_parameters);
  return out;
}

}  // namespace lacuna
