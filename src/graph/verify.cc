// Checks of every invariant of the Graph; all problems are listed.
#include <algorithm>
#include <set>

#include "base/cat.h"
#include "graph/infer.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph) {}

  std::vector<std::string> run() {
    check_values();
    for (size_t i = 0; i < graph_.nodes().size(); i++) check_node(NodeId(i));
    check_outputs();
    return std::move(problems_);
  }

 private:
  template <class... Args>
  void problem(const Args&... args) {
    problems_.push_back(cat(args...));
  }

  bool exists(ValueId id) const { return id >= 0 && size_t(id) < graph_.values().size(); }

  void check_values() {
    std::set<std::string> names;
    for (ValueId id : graph_.inputs())
      if (!names.insert(graph_.value(id).name).second) problem("two inputs or states are named '", graph_.value(id).name, "'");
    for (ValueId id : graph_.states())
      if (!names.insert(graph_.value(id).name).second) problem("two inputs or states are named '", graph_.value(id).name, "'");
    for (size_t i = 0; i < graph_.values().size(); i++) {
      const Value& v = graph_.values()[i];
      if (v.kind == ValueKind::kWeight) {
        if (v.weight < 0 || v.weight >= graph_.weights.size())
          problem("value '", v.name, "' refers to weight ", v.weight, ", the table has ", graph_.weights.size());
        else if (auto shape = v.shape ? constant_shape(*v.shape) : std::nullopt; !shape || *shape != graph_.weights[v.weight].shape)
          problem("value '", v.name, "' has shape ", v.shape ? to_string(*v.shape) : "none", ", its weight ",
                  to_string(graph_.weights[v.weight].shape));
      }
      if ((v.kind == ValueKind::kInput || v.kind == ValueKind::kState) && !v.shape) problem("input or state '", v.name, "' has no shape");
      if (v.kind != ValueKind::kResult && v.producer != -1) problem("value '", v.name, "' is no result but has a producer");
    }
  }

  void check_node(NodeId id) {
    const Node& node = graph_.node(id);
    std::string who = cat("node '", node.name, "' (", name_of(node.op), ")");
    if (!node_names_.insert(node.name).second) problem("two nodes are named '", node.name, "'");
    const OpSchema& schema = schema_of(node.op);
    check_count(who, "inputs", node.inputs.size(), schema.min_inputs, schema.max_inputs);
    check_count(who, "outputs", node.outputs.size(), schema.min_outputs, schema.max_outputs);
    for (size_t i = 0; i < node.inputs.size(); i++) check_input(who, id, i, schema);
    for (ValueId v : node.outputs) {
      if (v == kNoValue && schema.max_outputs == 1) problem(who, " lacks its output");
      if (v == kNoValue) continue;
      if (!exists(v))
        problem(who, " produces value ", v, ", there are ", graph_.values().size());
      else if (graph_.value(v).kind != ValueKind::kResult)
        problem(who, " produces '", graph_.value(v).name, "', which is no result");
      else if (!produced_.insert(v).second)
        problem("value '", graph_.value(v).name, "' has two producers");
      else if (graph_.value(v).producer != id)
        problem("value '", graph_.value(v).name, "' does not know its producer ", who);
    }
    check_attributes(who, node, schema);
    check_layout(who, node);
  }

  void check_count(const std::string& who, const char* what, size_t found, int least, int most) {
    if (int64_t(found) < least || (most >= 0 && int64_t(found) > most))
      problem(who, " has ", found, " ", what, ", wanted ", least, most < 0 ? " or more" : most == least ? "" : cat(" to ", most));
  }

  void check_input(const std::string& who, NodeId id, size_t i, const OpSchema& schema) {
    ValueId v = graph_.node(id).inputs[i];
    if (v == kNoValue) {
      if (int64_t(i) < schema.min_inputs && graph_.node(id).op != Op::resize) problem(who, " lacks input ", i);
      return;
    }
    if (!exists(v)) return problem(who, " reads value ", v, ", there are ", graph_.values().size());
    const Value& value = graph_.value(v);
    if (value.kind == ValueKind::kResult && !produced_.contains(v))
      problem(who, " reads '", value.name, value.producer < 0 ? "', which nothing produces" : "' before it is produced");
  }

  void check_attributes(const std::string& who, const Node& node, const OpSchema& schema) {
    for (auto& [name, value] : node.attributes.all()) {
      if (std::find(schema.attributes.begin(), schema.attributes.end(), name) == schema.attributes.end()) {
        std::vector<std::string> known(schema.attributes.begin(), schema.attributes.end());
        problem(who, " has an unknown attribute '", name, "', known are: ", known.empty() ? "none" : join(known));
        continue;
      }
      using enum AttributeKind;
      AttributeKind kind = *attribute_kind(name);
      bool right = kind == kInteger    ? std::holds_alternative<int64_t>(value)
                   : kind == kNumber   ? std::holds_alternative<int64_t>(value) || std::holds_alternative<double>(value)
                   : kind == kText     ? std::holds_alternative<std::string>(value)
                   : kind == kIntegers ? std::holds_alternative<std::vector<int64_t>>(value)
                                       : std::holds_alternative<std::vector<double>>(value);
      if (!right) problem(who, " has an attribute '", name, "' of the wrong type");
    }
  }

  // Products read their weight as a matrix: its layout must say how.
  void check_layout(const std::string& who, const Node& node) {
    if (node.inputs.size() < 2 || !exists(node.inputs[1])) return;
    const Value& value = graph_.value(node.inputs[1]);
    if (value.kind != ValueKind::kWeight || value.weight < 0 || value.weight >= graph_.weights.size()) return;
    const Weight& weight = graph_.weights[value.weight];
    auto wrong = [&](std::string_view wanted) {
      problem(who, ": weight '", weight.name, "' ", to_string(weight.shape), " has layout ", name_of(weight.layout), ", wanted ", wanted);
    };
    bool matrix = weight.shape.size() == 2, out_in = weight.layout == MatrixLayout::kOutIn, in_out = weight.layout == MatrixLayout::kInOut;
    if (node.op == Op::linear && !(matrix && (out_in || in_out))) wrong("a matrix, out_in or in_out");
    if (node.op == Op::linear && node.attributes.has("transposed") && matrix) {
      auto* flag = std::get_if<int64_t>(&node.attributes.all().at("transposed"));
      if (flag && (*flag != 0) != in_out)
        problem(who, ": attribute transposed contradicts the layout ", name_of(weight.layout), " of '", weight.name, "'");
    }
    if (node.op == Op::embedding && !(matrix && out_in)) wrong("a matrix, out_in");
    if (node.op == Op::conv && !(weight.shape.size() >= 3 && weight.layout == MatrixLayout::kConv)) wrong("conv");
  }

  void check_outputs() {
    std::set<std::string> names;
    for (auto& output : graph_.outputs()) {
      if (!names.insert(output.name).second) problem("two outputs are named '", output.name, "'");
      if (!exists(output.value))
        problem("output '", output.name, "' is value ", output.value, ", there are ", graph_.values().size());
      else if (graph_.value(output.value).kind == ValueKind::kResult && !produced_.contains(output.value))
        problem("output '", output.name, "' is a value that nothing produces");
    }
  }

  const Graph& graph_;
  std::vector<std::string> problems_;
  std::set<std::string> node_names_;
  std::set<ValueId> produced_;
};

}  // namespace

void verify(const Graph& graph) {
  auto problems = Verifier(graph).run();
  if (!problems.empty()) throw InvalidData(join(problems, "; ", 100));
}

}  // namespace lacuna
