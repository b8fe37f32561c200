// Export: a reader of the Graph. Every node is lowered to standard ONNX ops, weights become initializers as they are (codes with
// a DequantizeLinear, masked weights with their zeros), and the file is written by writer.cc.
#include "io/onnx/exporter.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/cat.h"
#include "io/model.h"
#include "io/onnx/interface.h"
#include "io/onnx/tensors.h"
#include "io/onnx/writer.h"
#include "lacuna/error.h"

namespace lacuna::onnx {

constexpr int kOldestTarget = 17, kNewestTarget = 23;

// Values as they are after masks: of the zeros' code for coded weights.
Tensor dense_values(const Weight& weight) {
  WeightData data = weight.load();
  if (!data.mask) return data.values;
  Tensor out = data.values.clone();
  MatrixView view(weight.layout, weight.shape);
  int bits = bits_of(out.dtype());
  LACUNA_ASSERT(bits >= 8);
  size_t bytes = size_t(bits / 8);
  auto zero_of = [&](int64_t row) -> std::byte {
    if (data.zero_points.empty() || !weight.encoding.has_zero_points) return std::byte(0);
    return data.zero_points.raw()[weight.encoding.granularity == Encoding::Granularity::kRow ? row : 0];
  };
  for (int64_t r = 0; r < view.rows; r++)
    for (int64_t c = 0; c < view.cols; c++)
      if (!data.mask->kept(r, c)) std::fill_n(out.mutable_raw() + size_t(view.offset(r, c)) * bytes, bytes, zero_of(r));
  return out;
}

class Exporter {
 public:
  Exporter(const Graph& graph, int opset) : graph_(graph), facts_(infer_facts(graph)), quantized_(parse_metadata("onnx.quantized")) {
    model_.opset = opset;
    name_values();
  }

  OnnxModel run() {
    for (const Node& node : graph_.nodes()) {
      Lowering lowering(*this, node);
      lowering_of(node.op)(lowering);
    }
    for (auto& output : graph_.outputs())
      if (std::string name = operand(output.value); name != output.name)
        model_.nodes.push_back({"Identity", unique(node_names_, output.name + "/Identity"), "", {name}, {output.name}, {}});
    return std::move(model_);
  }

  const Graph& graph_;
  std::vector<Fact> facts_;
  OnnxModel model_;

  // The name to read a value under; makes initializers.
  std::string operand(ValueId value) {
    if (value == kNoValue) return "";
    if (graph_.value(value).kind == ValueKind::kState)
      throw Unsupported(cat("state '", graph_.value(value).name, "' (a decoder's cache) has no ONNX form"));
    if (graph_.weight_of(value) && written_.insert(value).second) write_weight(value);
    return names_[size_t(value)];
  }
  const std::string& name_of_value(ValueId value) const { return names_[size_t(value)]; }

  std::string unique_value(const std::string& wanted) { return unique(value_names_, wanted); }
  std::string unique_node(const std::string& wanted) { return unique(node_names_, wanted); }

  void add_initializer(std::string name, DType dtype, Shape shape, std::function<Tensor()> load) {
    model_.initializers.push_back({std::move(name), dtype, std::move(shape), std::move(load)});
  }

 private:
  static std::string unique(std::set<std::string>& taken, const std::string& wanted) {
    std::string name = wanted;
    for (int i = 2; !taken.insert(name).second; i++) name = cat(wanted, "_", i);
    return name;
  }

  nlohmann::json parse_metadata(const char* key) const {
    auto it = graph_.metadata.find(key);
    auto parsed = it == graph_.metadata.end() ? nlohmann::json() : nlohmann::json::parse(it->second, nullptr, false);
    return parsed.is_object() ? parsed : nlohmann::json::object();
  }

  // Inputs, weights and outputs keep their names; what is between makes way.
  void name_values() {
    names_.resize(graph_.values().size());
    auto take = [&](ValueId v, const std::string& name) { names_[size_t(v)] = unique(value_names_, name); };
    for (ValueId v : graph_.inputs()) take(v, graph_.value(v).name);
    for (auto& output : graph_.outputs()) {
      bool result = graph_.value(output.value).kind == ValueKind::kResult;
      if (result && names_[size_t(output.value)].empty())
        take(output.value, output.name);
      else
        value_names_.insert(output.name);
    }
    for (size_t i = 0; i < names_.size(); i++)
      if (graph_.values()[i].kind == ValueKind::kWeight) value_names_.insert(graph_.values()[i].name);
    for (size_t i = 0; i < names_.size(); i++) {
      if (!names_[i].empty()) continue;
      const Value& value = graph_.values()[i];
      if (value.kind == ValueKind::kWeight)
        names_[i] = value.name;
      else
        take(ValueId(i), value.name.empty() ? "value" : value.name);
    }
  }

  void write_weight(ValueId value) {
    const Weight& weight = *graph_.weight_of(value);
    using enum Encoding::Granularity;
    if (weight.encoding.granularity == kNone) {
      add_initializer(weight.name, weight.encoding.values, weight.shape, [&weight] { return dense_values(weight); });
      return;
    }
    int bits = bits_of(weight.encoding.values);
    bool as_codes = !weight.encoding.has_minima && weight.encoding.granularity != kGroup && bits == 8 && weight.encoding.scales != DType::kBF16;
    // ONNX knows scales along an axis: rows may be more than that, of transposed convolutions and recurrent layers.
    if (as_codes && weight.encoding.granularity == kRow)
      as_codes = MatrixView(weight.layout, weight.shape).rows == weight.shape[weight.layout == MatrixLayout::kInOut ? 1 : 0];
    if (as_codes) return write_codes(value, weight);
    add_initializer(weight.name, DType::kF32, weight.shape, [&weight] { return decode_f32(weight, weight.load()); });
  }

  // Codes under the weight's name, scales and zero points under theirs if the source named them, and a DequantizeLinear.
  void write_codes(ValueId value, const Weight& weight) {
    nlohmann::json names = quantized_.value(weight.name, nlohmann::json::object());
    auto name = [&](const char* key, const std::string& fallback) {
      return names.contains(key) && names[key].is_string() ? names[key].get<std::string>() : fallback;
    };
    bool per_row = weight.encoding.granularity == Encoding::Granularity::kRow;
    Shape scale_shape = per_row ? Shape{MatrixView(weight.layout, weight.shape).rows} : Shape{};
    add_initializer(weight.name, weight.encoding.values, weight.shape, [&weight] { return dense_values(weight); });
    std::vector<std::string> inputs = {weight.name};
    inputs.push_back(companion(name("scale", weight.name + "_scale"), weight.encoding.scales, scale_shape, scales_of(weight)));
    if (weight.encoding.has_zero_points)
      inputs.push_back(companion(name("zero_point", weight.name + "_zero_point"), weight.encoding.values, scale_shape, weight.load().zero_points));
    OnnxNode node{"DequantizeLinear", unique_node(name("node", weight.name + "/DequantizeLinear")), "", inputs, {}, {}};
    node.outputs.push_back(unique_value(name("output", weight.name + "_dequantized")));
    if (per_row) node.attributes["axis"] = int64_t(weight.layout == MatrixLayout::kInOut ? 1 : 0);
    names_[size_t(value)] = node.outputs[0];
    model_.nodes.push_back(std::move(node));
  }

  // ONNX Runtime's optimizer divides biases by the scales: a row that lost all its weights, whose codes are 0 by any scale, gets the largest there
  // is.
  static Tensor scales_of(const Weight& weight) {
    const WeightData data = weight.load();
    const Tensor& scales = data.scales;
    if (weight.encoding.granularity != Encoding::Granularity::kRow || scales.dtype() != DType::kF32) return scales;
    const std::span<const float> from = scales.data<float>();
    if (std::find(from.begin(), from.end(), 0.0f) == from.end()) return scales;
    float largest = *std::max_element(from.begin(), from.end());
    if (!(largest > 0)) largest = 1.0f / 128;
    const MatrixView view(weight.layout, weight.shape);
    const Tensor codes = dense_values(weight);
    Tensor out(DType::kF32, scales.shape());
    for (int64_t r = 0; r < view.rows; r++) {
      bool empty = from[size_t(r)] == 0;
      const std::byte zero = weight.encoding.has_zero_points ? data.zero_points.raw()[r] : std::byte(0);
      for (int64_t c = 0; c < view.cols && empty; c++) empty = codes.raw()[view.offset(r, c)] == zero;
      out.mutable_data<float>()[size_t(r)] = empty ? largest : from[size_t(r)];
    }
    return out;
  }

  // A scale or zero point. One name may serve several weights if the values are the same.
  std::string companion(const std::string& wanted, DType dtype, const Shape& shape, Tensor values) {
    values = values.reshaped(shape);
    for (auto& [name, known] : companions_)
      if (name.starts_with(wanted) && known.dtype() == dtype && known.shape() == shape &&
          std::equal(known.raw(), known.raw() + known.size_bytes(), values.raw()))
        return name;
    std::string name = unique_value(wanted);
    companions_[name] = values;
    add_initializer(name, dtype, shape, [values] { return values; });
    return name;
  }

  std::vector<std::string> names_;  // by value
  std::set<std::string> value_names_, node_names_;
  std::set<ValueId> written_;
  std::map<std::string, Tensor> companions_;
  nlohmann::json quantized_;
};

// ---- Lowering ----

int Lowering::opset() const { return exporter_.model_.opset; }
void Lowering::unsupported(const std::string& message) const {
  throw Unsupported(cat("node '", node_.name, "' (", name_of(node_.op), "): ", message));
}

std::string Lowering::input(size_t i) { return has(i) ? exporter_.operand(node_.inputs[i]) : ""; }

std::vector<std::string> Lowering::inputs() {
  std::vector<std::string> out;
  for (size_t i = 0; i < node_.inputs.size(); i++) out.push_back(input(i));
  return out;
}

DType Lowering::dtype(size_t i) const { return exporter_.facts_[size_t(node_.inputs[i])].dtype; }

const SymShape* Lowering::shape(size_t i) const {
  if (!has(i)) return nullptr;
  auto& shape = exporter_.facts_[size_t(node_.inputs[i])].shape;
  return shape ? &*shape : nullptr;
}

const SymShape* Lowering::output_shape() const {
  auto& shape = exporter_.facts_[size_t(node_.outputs[0])].shape;
  return shape ? &*shape : nullptr;
}

const Weight* Lowering::weight(size_t i) const { return has(i) ? exporter_.graph_.weight_of(node_.inputs[i]) : nullptr; }

std::optional<int64_t> Lowering::rank(size_t i) const {
  auto* known = shape(i);
  return known ? std::optional(int64_t(known->size())) : std::nullopt;
}

int64_t Lowering::required_rank(size_t i) const {
  auto known = rank(i);
  if (!known) unsupported("the number of dimensions of its input is not known before the run");
  return *known;
}

std::optional<std::vector<int64_t>> Lowering::constants(size_t i) const {
  if (!has(i)) return std::nullopt;
  auto& elements = exporter_.facts_[size_t(node_.inputs[i])].elements;
  return elements ? constant_shape(*elements) : std::nullopt;
}

std::string Lowering::add(const std::string& type, std::vector<std::string> inputs, std::map<std::string, AttributeValue> attributes) {
  return add_results(type, std::move(inputs), 1, std::move(attributes))[0];
}

std::vector<std::string> Lowering::add_results(const std::string& type, std::vector<std::string> inputs, size_t count,
                                               std::map<std::string, AttributeValue> attributes) {
  while (!inputs.empty() && inputs.back().empty()) inputs.pop_back();
  std::string name = exporter_.unique_node(cat(node_.name, "/", type, "_", ++added_));
  std::vector<std::string> outputs;
  for (size_t i = 0; i < count; i++) outputs.push_back(exporter_.unique_value(i ? cat(name, "_output_", i) : name + "_output"));
  exporter_.model_.nodes.push_back({type, std::move(name), "", std::move(inputs), outputs, std::move(attributes)});
  return outputs;
}

void Lowering::finish(const std::string& type, std::vector<std::string> inputs, std::map<std::string, AttributeValue> attributes) {
  while (!inputs.empty() && inputs.back().empty()) inputs.pop_back();
  std::vector<std::string> outputs;
  for (ValueId v : node_.outputs) outputs.push_back(v == kNoValue ? "" : exporter_.name_of_value(v));
  exporter_.model_.nodes.push_back({type, exporter_.unique_node(node_.name), "", std::move(inputs), std::move(outputs), std::move(attributes)});
}

std::string Lowering::constant(Tensor values) {
  std::string name = exporter_.unique_value(cat(node_.name, "/constant_", ++added_));
  DType dtype = values.dtype();
  const Shape& shape = values.shape();
  exporter_.add_initializer(name, dtype, shape, [values] { return values; });
  return name;
}

std::string Lowering::constant(const std::vector<int64_t>& values) { return constant(Tensor::of<int64_t>({int64_t(values.size())}, values)); }

std::string Lowering::scalar(double value, DType dtype) { return constant(Tensor::of<double>({}, std::vector<double>{value}).to(dtype)); }

std::string Lowering::cast(const std::string& x, DType from, DType to) { return from == to ? x : add("Cast", {x}, {{"to", int64_t(code_of(to))}}); }

std::string Lowering::transpose(const std::string& x, const std::vector<int64_t>& perm) { return add("Transpose", {x}, {{"perm", perm}}); }

std::string Lowering::reshape(const std::string& x, const std::vector<int64_t>& shape) { return add("Reshape", {x, constant(shape)}); }

std::map<std::string, AttributeValue> Lowering::copied(std::initializer_list<const char*> names) const {
  std::map<std::string, AttributeValue> out;
  for (const char* name : names) {
    auto it = node_.attributes.all().find(name);
    if (it == node_.attributes.all().end()) continue;
    std::visit([&](auto& value) { out[name] = value; }, it->second);
  }
  return out;
}

OnnxModel lower_graph(const Graph& graph) {
  int opset = kOldestTarget;
  if (auto it = graph.metadata.find("onnx.opset"); it != graph.metadata.end())
    opset = std::clamp(std::atoi(it->second.c_str()), kOldestTarget, kNewestTarget);
  for (;;) {
    try {
      return Exporter(graph, opset).run();
    } catch (const NeedsOpset& needs) {
      LACUNA_ASSERT(needs.opset > opset && needs.opset <= kNewestTarget);
      opset = needs.opset;
    }
  }
}

}  // namespace lacuna::onnx

namespace lacuna {

OnnxFacts write_onnx(const Graph& graph, const std::filesystem::path& path, Progress* progress) {
  onnx::OnnxModel model = onnx::lower_graph(graph);
  onnx::write_model(model, graph, path, progress);
  return {.nodes = int64_t(model.nodes.size()), .opset = model.opset};
}

std::optional<OnnxFacts> onnx_source_facts(const Graph& graph) {
  auto nodes = graph.metadata.find("onnx.nodes"), opset = graph.metadata.find("onnx.opset");
  if (nodes == graph.metadata.end() || opset == graph.metadata.end()) return std::nullopt;
  return OnnxFacts{.nodes = std::atoll(nodes->second.c_str()), .opset = std::atoi(opset->second.c_str())};
}

}  // namespace lacuna
