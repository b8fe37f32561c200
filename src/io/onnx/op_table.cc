// ops.def as a table.
#include <map>

#include "io/onnx/importer.h"

namespace lacuna::onnx {

#define LACUNA_ONNX_OP(domain, type, versions, attributes, function) void function(OpContext& context);
namespace import {
#include "io/onnx/ops.def"
}
#undef LACUNA_ONNX_OP

namespace {

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    size_t space = text.find(' ');
    out.push_back(text.substr(0, space));
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
  }
  return out;
}

std::vector<int> numbers(std::string_view text) {
  std::vector<int> out;
  for (auto word : words(text)) out.push_back(std::stoi(std::string(word)));
  return out;
}

}  // namespace

std::span<const OpEntry> all_ops() {
  static const std::vector<OpEntry> entries = {
#define LACUNA_ONNX_OP(domain, type, versions, attributes, function) {domain, #type, numbers(versions), words(attributes), import::function},
#include "io/onnx/ops.def"
#undef LACUNA_ONNX_OP
  };
  return entries;
}

const OpEntry* find_op(std::string_view domain, std::string_view type) {
  static const auto index = [] {
    std::map<std::pair<std::string_view, std::string_view>, const OpEntry*> out;
    for (auto& entry : all_ops()) out[{entry.domain, entry.type}] = &entry;
    return out;
  }();
  auto it = index.find({domain, type});
  return it == index.end() ? nullptr : it->second;
}

}  // namespace lacuna::onnx
