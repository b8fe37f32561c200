// How the lowering of a Graph op sees its node: operands by ONNX name, what is known of them, and the ONNX nodes it adds.
// Lowerings live in lower/, by kind of op.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "graph/infer.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx {

struct OnnxNode {
  std::string type, name, domain;
  std::vector<std::string> inputs, outputs;
  std::map<std::string, AttributeValue> attributes;
};

// An initializer; its bytes are made when they are written.
struct Initializer {
  std::string name;
  DType dtype;
  Shape shape;
  std::function<Tensor()> load;
};

struct OnnxModel {
  int opset = 17;
  std::vector<OnnxNode> nodes;
  std::vector<Initializer> initializers;
};

// Thrown by a lowering that needs a newer operator set than the one chosen; the exporter starts again with it.
struct NeedsOpset {
  int opset;
};

class Exporter;

class Lowering {
 public:
  Lowering(Exporter& exporter, const Node& node) : exporter_(exporter), node_(node) {}

  const Node& node() const { return node_; }
  const Attributes& attributes() const { return node_.attributes; }
  int opset() const;
  void needs_opset(int opset) const {
    if (this->opset() < opset) throw NeedsOpset{opset};
  }
  [[noreturn]] void unsupported(const std::string& message) const;

  bool has(size_t i) const { return i < node_.inputs.size() && node_.inputs[i] != kNoValue; }
  // The ONNX name of an operand, "" if absent. Weights are made initializers at their first use; coded ones come dequantized.
  std::string input(size_t i);
  std::vector<std::string> inputs();
  DType dtype(size_t i) const;
  const SymShape* shape(size_t i) const;  // nullptr if unknown or absent
  const SymShape* output_shape() const;
  const Weight* weight(size_t i) const;
  std::optional<int64_t> rank(size_t i) const;
  int64_t required_rank(size_t i) const;
  std::optional<std::vector<int64_t>> constants(size_t i) const;

  // Adds an ONNX node for intermediate results; its first output.
  std::string add(const std::string& type, std::vector<std::string> inputs, std::map<std::string, AttributeValue> attributes = {});
  // The same for a node with several results.
  std::vector<std::string> add_results(const std::string& type, std::vector<std::string> inputs, size_t count,
                                       std::map<std::string, AttributeValue> attributes = {});
  // Adds the ONNX node that gives the Graph node's results under their names.
  void finish(const std::string& type, std::vector<std::string> inputs, std::map<std::string, AttributeValue> attributes = {});
  std::string constant(Tensor values);
  std::string constant(const std::vector<int64_t>& values);  // a vector
  std::string scalar(double value, DType dtype);
  // x as `to`, cast if it is of another type.
  std::string cast(const std::string& x, DType from, DType to);
  std::string transpose(const std::string& x, const std::vector<int64_t>& perm);
  std::string reshape(const std::string& x, const std::vector<int64_t>& shape);

  // Graph attributes of these names that are set, under the same names.
  std::map<std::string, AttributeValue> copied(std::initializer_list<const char*> names) const;

 private:
  Exporter& exporter_;
  const Node& node_;
  int added_ = 0;
};

using Lower = void (*)(Lowering& lowering);
// The lowering of each op.
Lower lowering_of(Op op);

// The whole Graph lowered: opset 17, or the source's up to 23, or what an op needs. Throws Unsupported naming a node without ONNX
// form. The Graph must outlive the result, whose initializers load its weights.
OnnxModel lower_graph(const Graph& graph);

}  // namespace lacuna::onnx
