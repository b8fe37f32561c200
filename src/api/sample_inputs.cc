#include "api/sample_inputs.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "base/cat.h"
#include "base/rng.h"
#include "graph/infer.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

constexpr int64_t kPixels = 224;  // what image models are made for

bool contains(std::string text, std::string_view part) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text.find(part) != std::string::npos;
}

// Rows of the table that the ids index, through casts and the like; 2 if they index none (a flag, a length).
int64_t vocabulary_of(const Graph& graph, ValueId ids) {
  for (NodeId user : graph.users(ids)) {
    const Node& node = graph.node(user);
    if (node.op == Op::embedding && node.inputs[0] == ids)
      if (const Weight* table = graph.weight_of(node.inputs[1])) return table->shape[0];
    if (node.op == Op::gather && node.inputs.size() > 1 && node.inputs[1] == ids)
      if (const Weight* table = graph.weight_of(node.inputs[0])) return table->shape[0];
    if (node.op == Op::cast || node.op == Op::identity || node.op == Op::reshape || node.op == Op::unsqueeze || node.op == Op::squeeze) {
      int64_t found = vocabulary_of(graph, node.outputs[0]);
      if (found > 2) return found;
    }
  }
  return 2;
}

}  // namespace

namespace {

enum class Role { kUnknown, kBatch, kTokens, kPixels };

bool names_batch(const std::string& name) { return contains(name, "batch") || name == "N"; }

Role role_by_name(const std::string& name, size_t axis) {
  if (names_batch(name)) return Role::kBatch;
  if (contains(name, "seq") || contains(name, "token") || contains(name, "len")) return Role::kTokens;
  if (contains(name, "height") || contains(name, "width")) return Role::kPixels;
  // In front they count items: the frames of a film, the time steps of a denoiser.
  if (axis > 0 && (contains(name, "time") || contains(name, "frame") || contains(name, "step") || name == "T")) return Role::kTokens;
  return Role::kUnknown;
}

// Exporters name dimensions "s77" or not at all: where they stand says what they are.
Role role_by_place(const Value& value, size_t axis) {
  const SymShape& shape = *value.shape;
  if (axis == 0) return Role::kBatch;
  // [batch, tokens, features], [batch, channels, time], and [batch, 1, 1, tokens] of a mask of attention.
  bool attends = axis == 3 && shape.size() == 4 && contains(value.name, "mask") && shape[2].is_constant() && shape[2].value() == 1;
  if (shape.size() <= 3 || attends) return Role::kTokens;
  bool channels_last = shape.back().is_constant() && shape.back().value() <= 4;
  return axis >= (channels_last ? 1 : 2) ? Role::kPixels : Role::kUnknown;
}

std::map<std::string, Role> roles_of(const Graph& graph) {
  std::map<std::string, Role> roles;
  for (ValueId id : graph.inputs()) {
    auto& shape = graph.value(id).shape;
    for (size_t axis = 0; shape && axis < shape->size(); axis++) {
      std::set<std::string> symbols;
      (*shape)[axis].collect_symbols(symbols);
      for (auto& name : symbols) {
        Role role = role_by_name(name, axis);
        roles.try_emplace(name, role != Role::kUnknown ? role : role_by_place(graph.value(id), axis));
      }
    }
  }
  return roles;
}

}  // namespace

Bindings bind_symbols(const Graph& graph, const Bindings& wanted, int64_t batch, int64_t tokens) {
  auto roles = roles_of(graph);
  for (auto& [name, value] : wanted)
    if (!roles.contains(name)) throw InvalidArgument(cat("the model has no dimension '", name, "'; it has: ", join(symbols_of(graph))));
  Bindings out;
  for (auto& [name, role] : roles) {
    auto it = wanted.find(name);
    out[name] = it != wanted.end() ? it->second : role == Role::kTokens ? tokens : role == Role::kPixels ? kPixels : batch;
  }
  return out;
}

int64_t tokens_of(const Graph& graph, const Bindings& bindings) {
  auto roles = roles_of(graph);
  for (ValueId id : graph.inputs()) {
    const Value& value = graph.value(id);
    for (size_t axis = 1; value.shape && axis < value.shape->size(); axis++) {
      const Dim& dim = (*value.shape)[axis];
      std::set<std::string> symbols;
      dim.collect_symbols(symbols);
      bool tokens = std::any_of(symbols.begin(), symbols.end(), [&](auto& name) { return roles.at(name) == Role::kTokens; });
      bool fixed_ids = dim.is_constant() && dim.value() > 1 && is_integer(value.dtype) && value.shape->size() == 2;
      Dim bound = dim.bind(bindings);
      if ((tokens || fixed_ids) && bound.is_constant()) return bound.value();
    }
  }
  return 0;
}

bool counts_items(const Graph& graph, const std::string& symbol) {
  auto roles = roles_of(graph);
  auto takes_batch = [](auto& entry) { return entry.second != Role::kTokens && entry.second != Role::kPixels; };
  auto it = roles.find(symbol);
  return it != roles.end() && takes_batch(*it) && (names_batch(symbol) || std::count_if(roles.begin(), roles.end(), takes_batch) == 1);
}

int64_t batch_for(const Graph& graph, std::optional<int64_t> wanted) {
  if (wanted && *wanted < 1) throw InvalidArgument(cat("--batch must be at least 1, got ", *wanted));
  for (auto& [name, role] : roles_of(graph))
    if (role != Role::kTokens && role != Role::kPixels) return wanted.value_or(1);
  for (ValueId id : graph.inputs()) {
    const Value& value = graph.value(id);
    if (!value.shape || value.shape->empty() || !(*value.shape)[0].is_constant()) continue;
    int64_t fixed = (*value.shape)[0].value();
    if (wanted && *wanted != fixed)
      throw InvalidArgument(cat("--batch ", *wanted, ": input '", value.name, "' ", to_string(*value.shape), " is fixed to a batch of ", fixed,
                                "; export the model with an open batch dimension"));
    return fixed;
  }
  if (wanted && *wanted != 1) throw InvalidArgument(cat("--batch ", *wanted, ": no dimension of an input is open to a batch"));
  return 1;
}

TensorMap sample_inputs(const Graph& graph, const Bindings& bindings, uint64_t seed) {
  TensorMap inputs;
  for (ValueId id : graph.inputs()) {
    const Value& value = graph.value(id);
    if (graph.metadata.contains(cat("optional:", value.name))) continue;
    if (!value.shape) throw Unsupported(cat("input '", value.name, "' has no known rank: give it with --inputs to `lacuna run`"));
    Shape shape;
    for (auto& d : *value.shape) {
      Dim bound = d.bind(bindings);
      if (!bound.is_constant())
        throw InvalidArgument(cat("input '", value.name, "' ", to_string(*value.shape), ": give its dimensions with --dim NAME=N"));
      shape.push_back(bound.value());
    }
    Rng rng(seed + uint64_t(id) * 1000003);
    Tensor t(DType::kF32, shape);
    auto data = t.mutable_data<float>();
    bool mask = contains(value.name, "mask"), types = contains(value.name, "type");
    int64_t vocabulary = is_float(value.dtype) ? 0 : vocabulary_of(graph, id);
    for (float& v : data) v = is_float(value.dtype) ? float(rng.normal()) : mask ? 1.0f : types ? 0.0f : float(rng.below(vocabulary));
    inputs[value.name] = t.to(value.dtype);
  }
  return inputs;
}

TensorMap run_on_samples(Session& session, const TensorMap& inputs, const Bindings& bindings) {
  try {
    return session.run(inputs);
  } catch (const InvalidData& error) {
    if (bindings.empty()) throw;
    std::vector<std::string> sizes;
    for (auto& [name, size] : bindings) sizes.push_back(cat(name, "=", size));
    throw InvalidData(cat(error.what(), "; tried with ", join(sizes), ", --dim NAME=N takes other sizes"));
  }
}

}  // namespace lacuna
