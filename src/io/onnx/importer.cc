// Import: messages -> Graph. Nodes are visited in order; each is first held against ops.def (op, version, attributes), then
// its import function adds to the Graph, where shapes are inferred at once, so that later import functions can use them
// (If with a condition that follows from shapes, Pad of a known rank). A node that cannot be imported poisons its results:
// nodes that read them are only held against ops.def, so that one error lists everything.
#include "io/onnx/importer.h"

#include <algorithm>
#include <list>
#include <unordered_set>

#include "base/cat.h"
#include "graph/passes/passes.h"
#include "io/model.h"
#include "io/onnx/claim_weights.h"
#include "io/onnx/interface.h"
#include "io/onnx/lacuna_onnx.pb.h"
#include "io/onnx/loops.h"
#include "io/onnx/model_file.h"
#include "io/onnx/read.h"
#include "io/onnx/scope.h"
#include "io/onnx/sequences.h"
#include "io/onnx/tensors.h"
#include "lacuna/error.h"

namespace lacuna::onnx {
namespace {

constexpr ValueId kPoison = -2, kSequence = -3;  // in place of a value: could not be imported; a list of values
constexpr int kOldestOpset = 1, kNewestOpset = 25;
constexpr int kMaxNesting = 32, kMaxNodes = 1000000;

std::string domain_of(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }
std::string qualified(const std::string& domain, const std::string& type) { return domain.empty() ? type : cat(domain, ".", type); }

class Importer {
 public:
  explicit Importer(const ModelFile& file) : file_(file), model_(*file.model), tensors_(file.path, file.bytes), builder_(*graph_) {}

  std::shared_ptr<Graph> run() {
    check_texts(model_.graph());
    for (auto& f : model_.functions()) check_texts(f.node());
    Scope scope;
    read_opsets(model_.opset_import(), scope.opsets);
    for (auto& f : model_.functions()) functions_[{domain_of(f.domain()), f.name()}] = &f;
    for (auto& node : model_.graph().node()) check(node, scope);
    remember_interface(model_, *graph_);
    add_initializers(model_.graph(), scope);
    add_inputs(scope);
    import_nodes(model_.graph().node(), scope, 0);
    add_outputs(scope);
    if (!problems_.empty()) throw Unsupported(cat(file_.path, ": ", problems_.text()));
    claim_weights(*graph_);
    return graph_;
  }

 private:
  // Names end up in messages and in files that must be UTF-8.
  static void check_text(const std::string& text, const char* what) {
    if (!is_utf8(text)) throw InvalidData(cat("the ", what, " is not UTF-8"));
  }

  template <class Nodes>
  static void check_texts(const Nodes& nodes) {
    for (auto& node : nodes) {
      for (const std::string* text : {&node.name(), &node.op_type(), &node.domain()}) check_text(*text, "name of a node");
      for (auto& output : node.output()) check_text(output, "name of a node's result");
      for (auto& a : node.attribute()) {
        check_text(a.name(), "name of an attribute");
        check_text(a.s(), "text of an attribute");
        for (auto& text : a.strings()) check_text(text, "text of an attribute");
        if (a.has_g()) check_texts(a.g());
      }
    }
  }

  static void check_texts(const GraphProto& graph) {
    check_text(graph.name(), "name of a graph");
    check_texts(graph.node());
    for (auto& t : graph.initializer()) check_text(t.name(), "name of an initializer");
    for (auto& v : graph.input()) check_text(v.name(), "name of an input");
    for (auto& v : graph.output()) check_text(v.name(), "name of an output");
  }

  template <class Opsets>
  void read_opsets(const Opsets& imports, std::map<std::string, int>& into) {
    for (auto& import : imports) {
      int64_t version = import.version();
      std::string domain = domain_of(import.domain());
      if (domain.empty() && (version < kOldestOpset || version > kNewestOpset))
        throw Unsupported(cat(file_.path, ": uses opset ", version, ", read are ", kOldestOpset, " to ", kNewestOpset));
      into[domain] = int(std::clamp<int64_t>(version, 0, 1000000));
    }
  }

  // ---- Constants ----

  void add_initializers(const GraphProto& graph, Scope& scope) {
    for (auto& proto : graph.initializer()) {
      if (scope.names.contains(proto.name())) throw InvalidData(cat("two initializers are named '", proto.name(), "'"));
      scope.names[proto.name()] = add_weight(proto, scope.prefix + proto.name());
    }
    for (auto& sparse : graph.sparse_initializer()) {
      problems_.add("sparse initializers", sparse.values().name());
      scope.names[sparse.values().name()] = kPoison;
    }
  }

  ValueId add_weight(const TensorProto& proto, const std::string& name) {
    if (!dtype_of_code(proto.data_type())) {
      problems_.add(cat("tensors of ", type_name_of_code(proto.data_type())), name);
      return kPoison;
    }
    auto stored = tensors_.stored(proto, name);
    Weight weight;
    weight.name = builder_.unique_weight_name(name);
    weight.shape = stored.shape;
    weight.encoding.values = stored.dtype;
    weight.source = source_of(std::move(stored));
    return graph_->add_weight(graph_->weights.add(std::move(weight)));
  }

  // ---- Inputs and outputs ----

  void add_inputs(Scope& scope) {
    for (auto& input : model_.graph().input()) {
      if (auto it = scope.names.find(input.name()); it != scope.names.end()) {
        if (it->second == kPoison || graph_->weight_of(it->second)) continue;  // files before IR version 4 list initializers as inputs
        throw InvalidData(cat("two inputs are named '", input.name(), "'"));
      }
      scope.names[input.name()] = add_input(input);
    }
  }

  ValueId add_input(const ValueInfoProto& input) {
    if (!input.type().has_tensor_type()) {
      problems_.add("inputs that are not tensors", input.name());
      return kPoison;
    }
    auto& type = input.type().tensor_type();
    auto dtype = dtype_of_code(type.elem_type());
    if (!dtype) {
      problems_.add(cat("tensors of ", type_name_of_code(type.elem_type())), input.name());
      return kPoison;
    }
    if (bits_of(*dtype) < 8) {
      problems_.add("4-bit tensors that are not constants", input.name());
      return kPoison;
    }
    ValueId id = graph_->add_input(input.name(), *dtype, input_shape(input, plain_symbols_));
    if (!type.has_shape()) graph_->edit_value(id).shape.reset();
    return id;
  }

  void add_outputs(Scope& scope) {
    std::unordered_set<std::string> seen;
    for (auto& output : model_.graph().output()) {
      if (!seen.insert(output.name()).second) throw InvalidData(cat("two outputs are named '", output.name(), "'"));
      const ValueId* value = scope.find(output.name());
      if (!value) throw InvalidData(cat("nothing produces output '", output.name(), "'"));
      if (*value == kSequence) problems_.add("outputs that are not tensors", output.name());
      if (*value >= 0) graph_->add_output(output.name(), *value);
    }
    if (model_.graph().output_size() == 0) throw InvalidData("the graph has no outputs");
  }

  // ---- Nodes ----

  const FunctionProto* function_of(const NodeProto& node) const {
    auto it = functions_.find({domain_of(node.domain()), node.op_type()});
    return it == functions_.end() ? nullptr : it->second;
  }

  std::string name_of_node(const NodeProto& node, const Scope& scope) {
    if (!node.name().empty()) return scope.prefix + node.name();
    auto [it, fresh] = generated_names_.try_emplace(&node, "");
    if (fresh) it->second = cat(node.op_type(), "_", ++unnamed_);
    return scope.prefix + it->second;
  }

  // Op, version and attributes against ops.def. Returns the version, or 0 after noting a problem.
  int check(const NodeProto& node, const Scope& scope) {
    auto [it, fresh] = versions_.try_emplace(&node, 0);
    if (fresh) it->second = checked_version(node, scope);
    return it->second;
  }

  int checked_version(const NodeProto& node, const Scope& scope) {
    std::string domain = domain_of(node.domain()), type = qualified(domain, node.op_type()), name = name_of_node(node, scope);
    if (function_of(node)) return 1;
    if (domain.empty() && (node.op_type() == "If" || node.op_type() == "Loop" || node.op_type() == "Constant" || is_sequence_op(node.op_type())))
      return 1;
    const OpEntry* entry = find_op(domain, node.op_type());
    if (!entry) return problems_.add(cat("op ", type), name), 0;
    auto opset = scope.opsets.find(domain);
    int version = 0, wanted = opset == scope.opsets.end() ? (domain.empty() ? 0 : 1) : opset->second;
    for (int v : entry->versions)
      if (v <= wanted) version = v;
    if (version == 0) return problems_.add(cat("op ", type, " of opset ", wanted, " (read from ", entry->versions.front(), " on)"), name), 0;
    bool known = true;
    for (auto& attribute : node.attribute())
      if (std::find(entry->attributes.begin(), entry->attributes.end(), attribute.name()) == entry->attributes.end())
        problems_.add(cat(type, ": attribute '", attribute.name(), "'"), name), known = false;
    return known ? version : 0;
  }

  template <class Nodes>
  void import_nodes(const Nodes& nodes, Scope& scope, int depth) {
    if (depth > kMaxNesting) throw InvalidData(cat("branches and functions nest more than ", kMaxNesting, " deep"));
    for (const NodeProto* node : in_order(nodes, scope)) import_node(*node, scope, depth);
  }

  // As they are if every input comes before its use, else sorted.
  template <class Nodes>
  std::vector<const NodeProto*> in_order(const Nodes& nodes, const Scope& scope) {
    std::unordered_map<std::string, size_t> producers;
    for (size_t i = 0; i < size_t(nodes.size()); i++)
      for (auto& output : nodes[int(i)].output())
        if (!output.empty() && (!producers.try_emplace(output, i).second || scope.names.contains(output)))
          throw InvalidData(cat("node '", name_of_node(nodes[int(i)], scope), "' produces '", output, "', which exists already"));
    std::vector<const NodeProto*> sorted;
    std::vector<char> state(size_t(nodes.size()));  // 0 untouched, 1 entered, 2 placed
    for (size_t root = 0; root < state.size(); root++) {
      std::vector<std::pair<size_t, int>> path;  // node, next input
      if (state[root] == 0) path.push_back({root, 0}), state[root] = 1;
      while (!path.empty()) {
        auto& [at, next] = path.back();
        const NodeProto& node = nodes[int(at)];
        if (next == node.input_size()) {
          state[at] = 2;
          sorted.push_back(&node);
          path.pop_back();
          continue;
        }
        auto producer = producers.find(node.input(next++));
        if (producer == producers.end() || state[producer->second] == 2) continue;
        if (state[producer->second] == 1) throw InvalidData(cat("node '", name_of_node(node, scope), "' is part of a cycle"));
        state[producer->second] = 1;
        path.push_back({producer->second, 0});
      }
    }
    return sorted;
  }

  void import_node(const NodeProto& proto, Scope& scope, int depth) {
    if (++visited_ > kMaxNodes) throw InvalidData(cat("has more than ", kMaxNodes, " nodes, branches and function calls included"));
    SourceNode node;
    node.domain = domain_of(proto.domain());
    node.type = proto.op_type();
    node.name = name_of_node(proto, scope);
    node.block = block_path(node.name);
    node.outputs.assign(proto.output().begin(), proto.output().end());
    bool poisoned = false, reads_sequence = false;
    for (auto& name : proto.input()) {
      const ValueId* value = name.empty() ? nullptr : scope.find(name);
      if (!value && !name.empty()) throw InvalidData(cat("node '", node.name, "' reads '", name, "', which nothing produces"));
      node.inputs.push_back(value ? *value : kNoValue);
      poisoned = poisoned || (value && *value == kPoison);
      reads_sequence = reads_sequence || (value && *value == kSequence);
    }
    if (node.domain.empty() && is_sequence_op(node.type)) {
      if (!poisoned) return import_sequence(proto, node, scope);
    } else if (reads_sequence) {
      problems_.add(cat(qualified(node.domain, node.type), ": a sequence as input"), node.name);
      poisoned = true;
    }
    std::vector<ValueId> results(node.outputs.size(), kPoison);
    if (node.domain.empty() && node.type == "Constant")
      results = constant_node(proto, scope);
    else if (node.domain.empty() && node.type == "If")
      results = poisoned ? results : branch(proto, node, scope, depth);
    else if (node.domain.empty() && node.type == "Loop")
      results = poisoned || reads_sequence ? results : loop(proto, node, scope, depth);
    else if (const FunctionProto* function = function_of(proto))
      results = call(*function, proto, node, scope, depth);
    else if ((node.version = check(proto, scope)) && !poisoned && !is_sequence_op(node.type))
      results = apply(proto, node, scope);
    for (size_t i = 0; i < node.outputs.size(); i++)
      if (!node.outputs[i].empty()) scope.names[node.outputs[i]] = i < results.size() ? results[i] : kPoison;
  }

  std::vector<ValueId> apply(const NodeProto& proto, SourceNode& node, const Scope& scope) {
    size_t first_new = graph_->nodes().size();
    OpContext context(builder_, node);
    try {
      read_attributes(proto, scope, node);
      find_op(node.domain, node.type)->import(context);
    } catch (const UnsupportedNode& problem) {
      problems_.add(cat(qualified(node.domain, node.type), ": ", problem.message), node.name);
      return std::vector<ValueId>(node.outputs.size(), kPoison);
    }
    auto results = context.results();
    for (size_t i = 0; i < results.size(); i++) {
      if (node.outputs[i].empty()) continue;
      if (results[i] == kNoValue) {
        problems_.add(cat(qualified(node.domain, node.type), ": output ", i), node.name);
        results[i] = kPoison;
      } else if (bits_of(builder_.fact(results[i]).dtype) < 8 && !graph_->weight_of(results[i])) {
        problems_.add("4-bit tensors that are not constants", node.name);
        results[i] = kPoison;
      } else if (graph_->value(results[i]).producer >= NodeId(first_new)) {
        graph_->edit_value(results[i]).name = scope.prefix + node.outputs[i];
      }
    }
    return results;
  }

  // ---- Attributes ----

  const AttributeProto* resolve(const AttributeProto& attribute, const Scope& scope) const {
    if (attribute.ref_attr_name().empty()) return &attribute;
    auto it = scope.arguments.find(attribute.ref_attr_name());
    return it == scope.arguments.end() ? nullptr : it->second;
  }

  void read_attributes(const NodeProto& proto, const Scope& scope, SourceNode& node) {
    for (auto& given : proto.attribute()) {
      const AttributeProto* a = resolve(given, scope);
      if (!a) continue;
      int type = a->type();
      if (type == 0)  // files before IR version 2
        type = a->has_f()          ? 1
               : a->has_i()        ? 2
               : a->has_s()        ? 3
               : a->has_t()        ? 4
               : a->floats_size()  ? 6
               : a->ints_size()    ? 7
               : a->strings_size() ? 8
                                   : 0;
      AttributeValue value;
      switch (type) {
        case 1: value = double(a->f()); break;
        case 2: value = a->i(); break;
        case 3: value = a->s(); break;
        case 4:
          if (!dtype_of_code(a->t().data_type()))
            throw UnsupportedNode{cat("attribute '", given.name(), "' of ", type_name_of_code(a->t().data_type()))};
          value = tensors_.read(a->t(), cat(node.name, ".", given.name()));
          break;
        case 6: value = std::vector<double>(a->floats().begin(), a->floats().end()); break;
        case 7: value = std::vector<int64_t>(a->ints().begin(), a->ints().end()); break;
        case 8: value = std::vector<std::string>(a->strings().begin(), a->strings().end()); break;
        default:
          throw InvalidData(cat("node '", node.name, "': attribute '", given.name(), "' has type ", type, ", wanted a number, text, tensor or list"));
      }
      node.attributes[given.name()] = std::move(value);
    }
  }

  // ---- Nodes that are not ops ----

  std::vector<ValueId> constant_node(const NodeProto& proto, const Scope& scope) {
    std::string name = name_of_node(proto, scope);
    if (proto.attribute_size() != 1 || proto.output_size() != 1)
      throw InvalidData(cat("node '", name, "' (Constant) wants one attribute and one output"));
    const AttributeProto* a = resolve(proto.attribute(0), scope);
    if (!a) throw InvalidData(cat("node '", name, "' (Constant) refers to an attribute that its caller does not give"));
    std::string weight_name = scope.prefix + proto.output(0);
    const std::string& kind = proto.attribute(0).name();
    if (kind == "value" && a->has_t()) return {add_weight(a->t(), weight_name)};
    if (kind == "value_float") return {builder_.add_constant(weight_name, Tensor::of<float>({}, std::vector<float>{a->f()}))};
    if (kind == "value_int") return {builder_.add_constant(weight_name, Tensor::of<int64_t>({}, std::vector<int64_t>{a->i()}))};
    if (kind == "value_floats")
      return {builder_.add_constant(weight_name, Tensor::of<float>({a->floats_size()}, std::vector<float>(a->floats().begin(), a->floats().end())))};
    if (kind == "value_ints")
      return {builder_.add_constant(weight_name, Tensor::of<int64_t>({a->ints_size()}, std::vector<int64_t>(a->ints().begin(), a->ints().end())))};
    problems_.add(cat("Constant: attribute '", kind, "'"), name);
    return {kPoison};
  }

  void import_sequence(const NodeProto& proto, SourceNode& node, Scope& scope) {
    std::vector<ValueId> operand;
    if (proto.input_size() > 0)
      if (auto* found = scope.find_sequence(proto.input(0))) operand = *found;
    if (node.outputs.empty()) throw InvalidData(cat("node '", node.name, "' (", node.type, ") has no output"));
    OpContext context(builder_, node);
    const std::string& name = node.outputs[0];
    scope.names[name] = kPoison;
    try {
      read_attributes(proto, scope, node);
      for (size_t i = 0; i < node.inputs.size(); i++)
        if (node.inputs[i] == kSequence && (i > 0 || node.type == "SequenceConstruct" || node.type == "SplitToSequence"))
          throw UnsupportedNode{"a sequence of sequences"};
      auto sequence = import_sequence_op(context, operand);
      if (gives_sequence(node.type)) {
        scope.names[name] = kSequence;
        scope.sequences[name] = std::move(sequence);
      } else {
        scope.names[name] = context.results()[0];
      }
    } catch (const UnsupportedNode& problem) {
      problems_.add(cat(node.type, ": ", problem.message), node.name);
    }
  }

  std::vector<ValueId> branch(const NodeProto& proto, const SourceNode& node, Scope& scope, int depth) {
    std::vector<ValueId> results(node.outputs.size(), kPoison);
    if (!node.inputs.empty() && node.inputs[0] < kNoValue) return results;
    auto condition = node.inputs.empty() || node.inputs[0] == kNoValue ? std::nullopt : builder_.constant(node.inputs[0]);
    if (!condition || condition->size() != 1) {
      problems_.add("If: a condition that is not known before the run", node.name);
      return results;
    }
    bool taken = condition->to(DType::kS64).data<int64_t>()[0] != 0;
    const GraphProto* body = nullptr;
    for (auto& a : proto.attribute())
      if (a.name() == (taken ? "then_branch" : "else_branch") && a.has_g()) body = &a.g();
    if (!body || body->output_size() != int(node.outputs.size()))
      throw InvalidData(cat("node '", node.name, "' (If) has no ", taken ? "then" : "else", "_branch with ", node.outputs.size(), " outputs"));
    Scope inner{.parent = &scope, .prefix = node.name + "/", .opsets = scope.opsets, .arguments = scope.arguments};
    add_initializers(*body, inner);
    import_nodes(body->node(), inner, depth + 1);
    for (int i = 0; i < body->output_size(); i++) results[size_t(i)] = result_of(inner, body->output(i).name(), node.name);
    return results;
  }

  // A loop whose number of rounds is known before the run is written out, round by round. What does not change from round to round is
  // imported once, so that the rounds share their weights.
  std::vector<ValueId> loop(const NodeProto& proto, const SourceNode& node, Scope& scope, int depth) {
    auto failed = [&](const std::string& why) {
      problems_.add(cat("Loop: ", why), node.name);
      return std::vector<ValueId>(node.outputs.size(), kPoison);
    };
    auto body_of = std::find_if(proto.attribute().begin(), proto.attribute().end(), [](auto& a) { return a.name() == "body" && a.has_g(); });
    if (body_of == proto.attribute().end() || node.inputs.size() < 2)
      throw InvalidData(cat("node '", node.name, "' (Loop) has ", body_of == proto.attribute().end() ? "no body" : "fewer than 2 inputs"));
    if (std::find(node.inputs.begin() + 2, node.inputs.end(), kNoValue) != node.inputs.end())
      throw InvalidData(cat("node '", node.name, "' (Loop) lacks a state"));
    const GraphProto& body = body_of->g();
    int carried = int(node.inputs.size()) - 2, scans = body.output_size() - 1 - carried;
    if (body.input_size() != carried + 2 || scans < 0 || node.outputs.size() > size_t(carried + scans))
      throw InvalidData(cat("node '", node.name, "' (Loop) and its body do not have the same number of states"));
    const LoopBody& split = loop_bodies_.emplace_back(split_invariant(body));
    Scope once{.parent = &scope, .prefix = node.name + "/", .opsets = scope.opsets, .arguments = scope.arguments};
    add_initializers(body, once);
    std::vector<ValueId> states(node.inputs.begin() + 2, node.inputs.end());
    for (int i = 0; i < carried; i++)
      if (split.fixed.contains(body.input(i + 2).name())) once.names[body.input(i + 2).name()] = states[size_t(i)];
    import_nodes(split.invariant, once, depth + 1);
    Lookup lookup = [&](const std::string& name) {
      const ValueId* value = once.find(name);
      return value && *value >= 0 ? *value : kNoValue;
    };
    if (auto results = recurrent_loop(builder_, body, node, lookup)) return *results;
    auto number = [&](ValueId value) -> std::optional<int64_t> {
      auto known = value == kNoValue ? std::nullopt : builder_.constant(value);
      if (!known || known->size() != 1) return std::nullopt;
      return known->to(DType::kS64).data<int64_t>()[0];
    };
    auto most = number(node.inputs[0]), go = node.inputs[1] == kNoValue ? 1 : number(node.inputs[1]);
    if (!go || (node.inputs[0] != kNoValue && !most)) return failed("a number of rounds that is not known before the run");
    std::vector<std::vector<ValueId>> rows(static_cast<size_t>(scans));
    constexpr int64_t kMostRounds = 1024;
    for (int64_t round = 0; *go && (!most || round < *most); round++) {
      if (round == kMostRounds) return failed(cat("more than ", kMostRounds, " rounds"));
      Scope inner{.parent = &once, .prefix = cat(node.name, "/", round, "/"), .opsets = scope.opsets, .arguments = scope.arguments};
      inner.names[body.input(0).name()] = builder_.add_constant(inner.prefix + "round", Tensor::of<int64_t>({}, std::vector<int64_t>{round}));
      inner.names[body.input(1).name()] =
          builder_.add_constant(inner.prefix + "condition", Tensor::of<int64_t>({}, std::vector<int64_t>{1}).to(DType::kBool));
      for (int i = 0; i < carried; i++)
        if (!split.fixed.contains(body.input(i + 2).name())) inner.names[body.input(i + 2).name()] = states[size_t(i)];
      import_nodes(split.changing, inner, depth + 1);
      ValueId condition = result_of(inner, body.output(0).name(), node.name);
      for (int i = 0; i < carried; i++) states[size_t(i)] = result_of(inner, body.output(i + 1).name(), node.name);
      for (int i = 0; i < scans; i++) rows[size_t(i)].push_back(result_of(inner, body.output(1 + carried + i).name(), node.name));
      if (condition < kNoValue || std::any_of(states.begin(), states.end(), [](ValueId v) { return v < kNoValue; }))
        return std::vector<ValueId>(node.outputs.size(), kPoison);  // an inner node could not be imported
      go = number(condition);
      if (!go) return failed("a condition that is not known before the run");
    }
    std::vector<ValueId> results = states;
    for (int i = 0; i < scans; i++) {
      if (!node.outputs.empty() && size_t(carried + i) >= node.outputs.size()) break;
      if (rows[size_t(i)].empty()) return failed("rows of results where there is no round");
      results.push_back(stacked(rows[size_t(i)], cat(node.name, "/", node.outputs[size_t(carried + i)]), node.block));
    }
    return results;
  }

  // [1 round each] -> [rounds, ...]
  ValueId stacked(const std::vector<ValueId>& rows, const std::string& name, const std::string& block) {
    std::vector<ValueId> parts;
    for (ValueId row : rows) {
      if (row < kNoValue) return kPoison;
      NodeId part = builder_.add_node(Op::unsqueeze, {row}, 1, with({{"axes", std::vector<int64_t>{0}}}), name + "/part", block);
      parts.push_back(graph_->node(part).outputs[0]);
    }
    return graph_->node(builder_.add_node(Op::concat, parts, 1, with({{"axis", int64_t(0)}}), name, block)).outputs[0];
  }

  struct LoopBody {
    google::protobuf::RepeatedPtrField<NodeProto> invariant, changing;
    std::unordered_set<std::string> fixed;  // states that are handed on as they are
  };

  static LoopBody split_invariant(const GraphProto& body) {
    LoopBody out;
    std::unordered_map<std::string, std::string> source;  // of an identity
    std::unordered_set<std::string> changing;
    for (auto& node : body.node())
      if (node.op_type() == "Identity" && node.input_size() == 1 && node.output_size() == 1) source[node.output(0)] = node.input(0);
    for (int i = 0; i < body.input_size(); i++) {
      const std::string& name = body.input(i).name();
      std::string handed_on = i < 2 || i - 1 >= body.output_size() ? "" : body.output(i - 1).name();
      for (int hops = 0; source.contains(handed_on) && hops < 8; hops++) handed_on = source[handed_on];
      (handed_on == name ? out.fixed : changing).insert(name);
    }
    auto moves = [&](const NodeProto& node) {
      return std::any_of(node.attribute().begin(), node.attribute().end(), [](auto& a) { return a.has_g(); }) ||
             std::any_of(node.input().begin(), node.input().end(), [&](auto& name) { return changing.contains(name); });
    };
    for (size_t before = 0; before != changing.size();) {  // nodes need not be in order
      before = changing.size();
      for (auto& node : body.node())
        if (moves(node)) changing.insert(node.output().begin(), node.output().end());
    }
    for (auto& node : body.node()) *(moves(node) ? out.changing : out.invariant).Add() = node;
    return out;
  }

  std::vector<ValueId> call(const FunctionProto& function, const NodeProto& proto, const SourceNode& node, Scope& scope, int depth) {
    Scope inner{.prefix = node.name + "/"};
    read_opsets(function.opset_import(), inner.opsets);
    for (auto& a : function.attribute_proto()) inner.arguments[a.name()] = &a;
    for (auto& a : proto.attribute())
      if (const AttributeProto* given = resolve(a, scope)) inner.arguments[a.name()] = given;
    if (proto.input_size() > function.input_size() || proto.output_size() > function.output_size())
      throw InvalidData(cat("node '", node.name, "' calls ", node.type, " with more operands than it has"));
    for (int i = 0; i < function.input_size(); i++)
      inner.names[function.input(i)] = size_t(i) < node.inputs.size() ? node.inputs[size_t(i)] : kNoValue;
    import_nodes(function.node(), inner, depth + 1);
    std::vector<ValueId> results;
    for (int i = 0; i < proto.output_size(); i++) results.push_back(result_of(inner, function.output(i), node.name));
    return results;
  }

  static ValueId result_of(const Scope& scope, const std::string& name, const std::string& node) {
    const ValueId* value = scope.find(name);
    if (!value) throw InvalidData(cat("node '", node, "': nothing produces its result '", name, "'"));
    return *value;
  }

  const ModelFile& file_;
  const ModelProto& model_;
  TensorReader tensors_;
  std::shared_ptr<Graph> graph_ = std::make_shared<Graph>();
  GraphBuilder builder_;
  Problems problems_;
  std::map<std::pair<std::string, std::string>, const FunctionProto*> functions_;
  std::unordered_map<const NodeProto*, std::string> generated_names_;
  const std::set<std::string> plain_symbols_ = plain_symbols(model_);
  int unnamed_ = 0;
  int visited_ = 0;
  std::unordered_map<const NodeProto*, int> versions_;
  std::list<LoopBody> loop_bodies_;  // of nodes that the maps know by address
};

}  // namespace

std::shared_ptr<Graph> import_model(const ModelFile& file) {
  try {
    return Importer(file).run();
  } catch (const InvalidData& error) {
    std::string message = error.what(), path = file.path.string();
    if (message.starts_with(path)) throw;
    throw InvalidData(cat(path, ": ", message));
  }
}

}  // namespace lacuna::onnx

namespace lacuna {

std::shared_ptr<Graph> read_onnx(const std::filesystem::path& path) {
  auto graph = onnx::import_model(onnx::open_model(path));
  run_passes(*graph, import_passes());
  graph->forget_unread();
  return graph;
}

}  // namespace lacuna
