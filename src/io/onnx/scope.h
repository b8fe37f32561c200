// Names during import: which value each ONNX name stands for, and what nodes ask that cannot be had.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "graph/graph.h"

namespace lacuna::onnx {

class AttributeProto;

// The names of one graph, branch or function body.
struct Scope {
  const Scope* parent = nullptr;  // what a branch sees besides its own names; a function body sees nothing
  std::string prefix;             // of node names, "" for the main graph
  std::map<std::string, int> opsets;
  std::map<std::string, const AttributeProto*> arguments;  // attributes of a function's call
  std::unordered_map<std::string, ValueId> names;
  std::unordered_map<std::string, std::vector<ValueId>> sequences;  // names that stand for lists of tensors

  const ValueId* find(const std::string& name) const {
    auto it = names.find(name);
    if (it != names.end()) return &it->second;
    return parent ? parent->find(name) : nullptr;
  }
  const std::vector<ValueId>* find_sequence(const std::string& name) const {
    auto it = sequences.find(name);
    if (it != sequences.end()) return &it->second;
    return parent ? parent->find_sequence(name) : nullptr;
  }
};

// Everything a model asks that Lacuna does not do, told once, grouped.
class Problems {
 public:
  // `subject`: "op Foo", "Conv: attribute 'bar'"; `where`: the node or tensor.
  void add(std::string subject, std::string where);
  bool empty() const { return places_.empty(); }
  // "3 things are not supported:\n  op Foo: nodes 'a', 'b'\n ..."
  std::string text() const;

 private:
  std::map<std::string, std::vector<std::string>> places_;
};

}  // namespace lacuna::onnx
