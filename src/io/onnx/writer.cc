// A protobuf message may hold its fields in any order, and a nested message is its length and its bytes. So the file is
//   ModelProto without graph | tag of graph, length | GraphProto without initializers | for each initializer: tag, length,
//   TensorProto without values, tag of raw_data, length, values
// and only lengths need to be known before the values are.
#include "io/onnx/writer.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/cat.h"
#include "io/onnx/interface.h"
#include "io/onnx/lacuna_onnx.pb.h"
#include "io/onnx/tensors.h"
#include "io/output_file.h"
#include "lacuna/error.h"

namespace lacuna::onnx {
namespace {

constexpr int kGraphField = 7, kInitializerField = 5, kRawDataField = 9;
constexpr int64_t kAlignment = 4096;  // of values in the data file, so that readers can map them

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += char(value | 0x80);
  return out += char(value);
}

std::string header(int field, uint64_t length) { return varint(uint64_t(field) << 3 | 2) + varint(length); }

int64_t ir_version_for(int opset) { return opset <= 18 ? 8 : opset <= 20 ? 9 : opset <= 22 ? 10 : 11; }

// Bytes as ONNX stores them: 4-bit values without row padding.
Tensor stored_form(Tensor values) {
  if (bits_of(values.dtype()) >= 8 || values.rank() < 2 || values.dim(-1) % 2 == 0) return values;
  int64_t cols = values.dim(-1), row_bytes = (cols + 1) / 2, count = values.size();
  Tensor packed(values.dtype(), {count});
  for (int64_t i = 0; i < count; i++) {
    std::byte nibble = (values.raw()[i / cols * row_bytes + i % cols / 2] >> (i % cols % 2 * 4)) & std::byte(15);
    packed.mutable_raw()[i / 2] |= nibble << (i % 2 * 4);
  }
  return packed;
}

int64_t stored_size(const Initializer& initializer) { return (element_count(initializer.shape) * bits_of(initializer.dtype) + 7) / 8; }

void set_attribute(AttributeProto& proto, const std::string& name, const AttributeValue& value) {
  proto.set_name(name);
  if (auto* i = std::get_if<int64_t>(&value)) proto.set_type(2), proto.set_i(*i);
  if (auto* f = std::get_if<double>(&value)) proto.set_type(1), proto.set_f(float(*f));
  if (auto* s = std::get_if<std::string>(&value)) proto.set_type(3), proto.set_s(*s);
  if (auto* v = std::get_if<std::vector<int64_t>>(&value)) {
    proto.set_type(7);
    for (int64_t i : *v) proto.add_ints(i);
  }
  if (auto* v = std::get_if<std::vector<double>>(&value)) {
    proto.set_type(6);
    for (double f : *v) proto.add_floats(float(f));
  }
  if (auto* v = std::get_if<std::vector<std::string>>(&value)) {
    proto.set_type(8);
    for (auto& s : *v) proto.add_strings(s);
  }
  if (auto* t = std::get_if<Tensor>(&value)) {
    proto.set_type(4);
    for (int64_t d : t->shape()) proto.mutable_t()->add_dims(d);
    proto.mutable_t()->set_data_type(code_of(t->dtype()));
    proto.mutable_t()->set_raw_data(t->raw(), t->size_bytes());
  }
}

// The dimensions as the source had them where they still hold, else the Graph's.
void set_type(ValueInfoProto& info, const Graph& graph, const std::string& name, const Value& value) {
  info.set_name(name);
  auto* type = info.mutable_type()->mutable_tensor_type();
  type->set_elem_type(code_of(value.dtype));
  auto source = source_dims(graph, name);
  if (!value.shape && !source) return;
  size_t rank = value.shape ? value.shape->size() : source->size();
  if (source && source->size() != rank) source.reset();
  auto* shape = type->mutable_shape();
  for (size_t i = 0; i < rank; i++) {
    auto* d = shape->add_dim();
    const Dim* known = value.shape ? &(*value.shape)[i] : nullptr;
    bool dynamic = !known || !known->is_constant();
    if (source && (dynamic || value.kind == ValueKind::kInput) && !((*source)[i].value && known && known->is_constant())) {
      if ((*source)[i].value) d->set_dim_value(*(*source)[i].value);
      if (!(*source)[i].name.empty()) d->set_dim_param((*source)[i].name);
    } else if (known && known->is_constant()) {
      d->set_dim_value(known->value());
    } else if (known && known->to_string().find('?') == std::string::npos) {
      d->set_dim_param(known->to_string());
    }
  }
}

ModelProto head(const OnnxModel& model, const Graph& graph) {
  ModelProto proto;
  proto.set_ir_version(ir_version_for(model.opset));
  auto* import = proto.add_opset_import();
  import->set_domain("");
  import->set_version(model.opset);
  proto.set_producer_name("lacuna");
  if (auto it = graph.metadata.find("onnx.metadata"); it != graph.metadata.end()) {
    auto properties = nlohmann::json::parse(it->second, nullptr, false);
    if (properties.is_object())
      for (auto& [key, value] : properties.items()) {
        auto* entry = proto.add_metadata_props();
        entry->set_key(key);
        if (value.is_string()) entry->set_value(value.get<std::string>());
      }
  }
  return proto;
}

GraphProto body(const OnnxModel& model, const Graph& graph) {
  GraphProto proto;
  auto name = graph.metadata.find("onnx.graph_name");
  proto.set_name(name == graph.metadata.end() || name->second.empty() ? "main" : name->second);
  for (auto& node : model.nodes) {
    auto* out = proto.add_node();
    for (auto& i : node.inputs) out->add_input(i);
    for (auto& o : node.outputs) out->add_output(o);
    out->set_name(node.name);
    out->set_op_type(node.type);
    if (!node.domain.empty()) out->set_domain(node.domain);
    for (auto& [key, value] : node.attributes) set_attribute(*out->add_attribute(), key, value);
  }
  for (ValueId v : graph.inputs()) set_type(*proto.add_input(), graph, graph.value(v).name, graph.value(v));
  auto facts = infer_facts(graph);
  for (auto& output : graph.outputs()) {
    Value value = graph.value(output.value);
    value.dtype = facts[size_t(output.value)].dtype;
    value.shape = facts[size_t(output.value)].shape;
    set_type(*proto.add_output(), graph, output.name, value);
  }
  return proto;
}

TensorProto tensor_head(const Initializer& initializer) {
  TensorProto proto;
  for (int64_t d : initializer.shape) proto.add_dims(d);
  proto.set_data_type(code_of(initializer.dtype));
  proto.set_name(initializer.name);
  return proto;
}

void append_values(OutputFile& file, const Initializer& initializer) {
  Tensor values = stored_form(initializer.load());
  LACUNA_ASSERT(values.dtype() == initializer.dtype && int64_t(values.size_bytes()) == stored_size(initializer));
  file.append(values.bytes().span());
}

}  // namespace

void write_model(const OnnxModel& model, const Graph& graph, const std::filesystem::path& path, Progress* progress, int64_t inline_limit) {
  std::string graph_bytes = body(model, graph).SerializeAsString();
  int64_t total = 0;
  for (auto& initializer : model.initializers) total += stored_size(initializer);
  bool external = total + int64_t(graph_bytes.size()) > inline_limit;

  std::filesystem::path data_path = path;
  data_path += ".data";
  std::vector<std::string> heads;
  uint64_t graph_size = graph_bytes.size();
  int64_t offset = 0;
  for (auto& initializer : model.initializers) {
    TensorProto proto = tensor_head(initializer);
    int64_t size = stored_size(initializer);
    if (external) {
      proto.set_data_location(1);
      offset = (offset + kAlignment - 1) / kAlignment * kAlignment;
      for (auto& [key, value] : {std::pair<const char*, std::string>{"location", data_path.filename().string()},
                                 {"offset", std::to_string(offset)},
                                 {"length", std::to_string(size)}}) {
        auto* entry = proto.add_external_data();
        entry->set_key(key);
        entry->set_value(value);
      }
      offset += size;
    }
    std::string head = proto.SerializeAsString();
    uint64_t message = head.size();
    if (!external) {
      std::string raw = header(kRawDataField, uint64_t(size));
      head += raw;
      message = head.size() + uint64_t(size);
    }
    heads.push_back(header(kInitializerField, message) + head);
    graph_size += heads.back().size() + (external ? 0 : uint64_t(size));
  }

  std::optional<OutputFile> data;
  if (external) data.emplace(data_path);
  OutputFile file(path);
  file.append(std::string_view(head(model, graph).SerializeAsString()));
  file.append(std::string_view(header(kGraphField, graph_size)));
  file.append(std::string_view(graph_bytes));
  offset = 0;
  for (size_t i = 0; i < heads.size(); i++) {
    file.append(std::string_view(heads[i]));
    if (external) {
      std::string padding(size_t((kAlignment - offset % kAlignment) % kAlignment), '\0');
      data->append(std::string_view(padding));
      offset += int64_t(padding.size()) + stored_size(model.initializers[i]);
    }
    append_values(external ? *data : file, model.initializers[i]);
    if (progress) progress->update("writing", int64_t(i + 1), int64_t(heads.size()));
  }
  if (data) data->commit();
  file.commit();
}

}  // namespace lacuna::onnx
