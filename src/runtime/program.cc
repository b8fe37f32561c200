#include "runtime/program.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/cat.h"
#include "lacuna/error.h"
#include "runtime/memory_plan.h"
#include "runtime/passes/fuse_epilogues.h"
#include "runtime/reference/reference.h"
#include "runtime/reference/support.h"

namespace lacuna {
namespace {

// Reading past the end of a buffer by less than a vector must stay inside the arena.
constexpr int64_t kSpareBytes = 64;

bool is_view_op(const Node& node) {
  switch (node.op) {
    case Op::reshape:
    case Op::flatten:
    case Op::squeeze:
    case Op::unsqueeze:
    case Op::identity: return true;
    case Op::cast: {
      auto to = dtype_from_name(node.attributes.text("to", ""));
      return to == DType::kF32 || to == DType::kF64;  // of a float; others round
    }
    default: return false;
  }
}

// What shape inference already knows, as a tensor.
std::optional<Tensor> known_value(const Fact& fact) {
  auto shape = fact.shape ? constant_shape(*fact.shape) : std::nullopt;
  auto elements = fact.elements ? constant_shape(*fact.elements) : std::nullopt;
  if (!shape || !elements || element_count(*shape) != int64_t(elements->size())) return std::nullopt;
  return Tensor::of<int64_t>(*shape, *elements).to(storage_type(fact.dtype));
}

bool traces() {
  static const char* trace = std::getenv("LACUNA_TRACE");
  return trace && std::strstr(trace, "dispatch");
}

}  // namespace

Program::Program(const Graph& graph, const Bindings& bindings, PackStore& packs, const std::function<const Tensor&(ValueId)>& constant, bool fuse)
    : graph_(graph), facts_(infer_facts(graph, bindings)), slots_(graph.values().size()), tensors_(graph.values().size()), fuse_(fuse) {
  needs_ = lacuna::cache_needs(graph, facts_);
  std::vector<bool> kept(graph.values().size());
  for (auto& output : graph.outputs()) kept[size_t(output.value)] = true;
  for (size_t i = 0; i < slots_.size(); i++) {
    Slot& s = slots_[i];
    s.root = ValueId(i);
    s.type = storage_type(facts_[i].dtype);
    auto shape = facts_[i].shape ? constant_shape(*facts_[i].shape) : std::nullopt;
    if (shape) s.shape = *shape;
    ValueKind kind = graph.values()[i].kind;
    s.place = kind == ValueKind::kInput    ? Place::kInput
              : kind == ValueKind::kState  ? Place::kState
              : kind == ValueKind::kWeight ? Place::kConstant
              : shape                      ? Place::kArena
                                           : Place::kDynamic;
  }
  for (auto& output : graph.outputs())
    if (slot(output.value).place == Place::kConstant) tensors_[size_t(output.value)] = constant(output.value);

  std::vector<PlanNode> nodes;
  choose_nodes(kept, nodes);
  if (fuse_) fuse_epilogues(graph, facts_, kept, nodes);
  for (const PlanNode& node : nodes) compile(node, packs, constant);
  if (fuse_) share_in_place();
  plan_arena();
}

// Nodes that some output needs and whose results are not known already.
void Program::choose_nodes(const std::vector<bool>& kept, std::vector<PlanNode>& nodes) const {
  std::vector<bool> needed = kept;
  for (size_t n = graph_.nodes().size(); n-- > 0;) {
    const Node& node = graph_.nodes()[n];
    bool wanted = !fuse_ || (node.inputs.size() > 4 && node.op == Op::attention);  // writes its states
    bool known = fuse_;
    for (ValueId v : node.outputs) {
      wanted = wanted || (v != kNoValue && needed[size_t(v)]);
      known = known && (v == kNoValue || known_value(facts_[size_t(v)]));
    }
    if (!wanted || known) continue;
    nodes.push_back({.node = node});
    for (ValueId v : node.inputs)
      if (v != kNoValue) needed[size_t(v)] = true;
  }
  std::reverse(nodes.begin(), nodes.end());
}

bool Program::is_static(ValueId value) const {
  if (value == kNoValue) return true;
  auto& shape = facts_[size_t(value)].shape;
  return slot(value).place != Place::kDynamic && (slot(value).place == Place::kState || (shape && constant_shape(*shape)));
}

ValueId Program::root_of(ValueId v) const {
  while (slot(v).root != v) v = slot(v).root;
  return v;
}

void Program::add_constant(ValueId value) {
  Tensor& tensor = tensors_[size_t(value)];
  if (tensor.bytes().data) return;
  auto known = known_value(facts_[size_t(value)]);
  LACUNA_ASSERT(known);
  tensor = *known;
  slot(value).place = Place::kConstant;
}

// Reshapes and their kin: the result shares the memory of the input.
bool Program::compile_view(const PlanNode& plan) {
  const Node& node = plan.node;
  if (!fuse_ || !is_view_op(node)) return false;
  ValueId x = node.inputs[0], y = node.outputs[0];
  Slot &from = slot(x), &to = slot(y);
  if (from.type != to.type || to.place != Place::kArena || from.place == Place::kDynamic) return false;
  if (element_count(from.shape) != element_count(to.shape)) return false;
  if (from.place != Place::kArena) return false;
  to.root = root_of(x);
  return true;
}

// A node of constants only is computed now, once for all runs.
bool Program::compile_constant(const PlanNode& plan, const std::function<const Tensor&(ValueId)>& constant) {
  const Node& node = plan.node;
  if (!fuse_ || node.inputs.empty() || plan.has(3) || plan.activation != kernels::Activation::kNone) return false;
  for (ValueId v : node.inputs)
    if (v != kNoValue && slot(v).place != Place::kConstant) return false;
  std::vector<Tensor> inputs, outputs(node.outputs.size());
  for (ValueId v : node.inputs) {
    if (v != kNoValue && graph_.value(v).kind == ValueKind::kWeight) tensors_[size_t(v)] = constant(v);
    inputs.push_back(v == kNoValue ? Tensor() : tensors_[size_t(v)]);
  }
  reference_of(node.op)(OpCall{node, inputs, outputs, ReferenceContext{&graph_, 0}});
  for (size_t i = 0; i < outputs.size(); i++) {
    if (node.outputs[i] == kNoValue) continue;
    tensors_[size_t(node.outputs[i])] = outputs[i];
    slot(node.outputs[i]).place = Place::kConstant;
    slot(node.outputs[i]).shape = outputs[i].shape();
  }
  return true;
}

void Program::compile(const PlanNode& plan, PackStore& packs, const std::function<const Tensor&(ValueId)>& constant) {
  const Node& node = plan.node;
  int64_t position = int64_t(steps_.size());
  for (ValueId v : node.inputs)
    if (v != kNoValue && slot(v).place == Place::kArena && slot(v).root == v && slot(v).first < 0) add_constant(v);
  if (compile_constant(plan, constant) || compile_view(plan)) return;
  bool fixed = true;
  for (ValueId v : node.inputs) fixed = fixed && is_static(v);
  for (ValueId v : node.outputs) fixed = fixed && is_static(v);
  if (!fixed)
    for (ValueId v : node.outputs)
      if (v != kNoValue) slot(v).place = Place::kDynamic;

  CompiledStep compiled;
  if (fixed) compiled = compile_op(OpContext(graph_, plan, facts_, packs, tables_, constant));
  Step step{.plan = plan, .kernel = compiled.kernel, .run = std::move(compiled.run), .in_place = compiled.in_place};
  bool by_reference = !step.run;
  if (by_reference) {
    step.kernel = "reference";
    step.run = reference_step(plan);
    if (traces()) std::fputs(cat("dispatch: ", name_of(node.op), " '", node.name, "': no fast path, runs as the reference\n").c_str(), stderr);
  }
  for (size_t i = 0; i < node.inputs.size(); i++) {
    ValueId v = node.inputs[i];
    bool unread = !by_reference && std::find(compiled.unread.begin(), compiled.unread.end(), i) != compiled.unread.end();
    step.inputs.push_back(v == kNoValue || unread ? nullptr : &tensors_[size_t(v)]);
    if (v == kNoValue || unread) continue;
    if (graph_.value(v).kind == ValueKind::kWeight) tensors_[size_t(v)] = constant(v);
    slot(root_of(v)).last = std::max(slot(root_of(v)).last, position);
  }
  for (ValueId v : node.outputs) {
    step.outputs.push_back(v == kNoValue ? nullptr : &tensors_[size_t(v)]);
    if (v != kNoValue) slot(v).first = slot(v).last = position;
  }
  steps_.push_back(std::move(step));
}

// The reference function of the op over the Program's tensors: results of known shape go straight into their memory.
StepFn Program::reference_step(const PlanNode& plan) const {
  auto node = std::make_shared<Node>(plan.node);
  ReferenceFn fn = reference_of(node->op);
  const Graph* graph = &graph_;
  return [node, fn, graph](const StepCall& call) {
    std::vector<Tensor> inputs, outputs;
    for (Tensor* t : call.inputs) inputs.push_back(t ? *t : Tensor());
    for (Tensor* t : call.outputs) outputs.push_back(t ? *t : Tensor());
    fn(OpCall{*node, inputs, outputs, ReferenceContext{graph, call.past}});
    for (size_t i = 0; i < outputs.size(); i++) {
      if (!call.outputs[i]) continue;
      Tensor& planned = *call.outputs[i];
      bool placed = planned.bytes().data != nullptr;
      if (placed && outputs[i].raw() != planned.raw())
        throw InvalidData(cat("node '", node->name, "' (", name_of(node->op), "): gives ", name_of(outputs[i].dtype()), " ",
                              to_string(outputs[i].shape()), ", shape inference says ", name_of(planned.dtype()), " ", to_string(planned.shape())));
      planned = outputs[i];
    }
  };
}

// An output takes the memory of an input that nothing reads later, where the step can work in place.
void Program::share_in_place() {
  int64_t end = int64_t(steps_.size());
  for (auto& output : graph_.outputs()) slot(root_of(output.value)).last = end;
  for (size_t n = 0; n < steps_.size(); n++) {
    const Node& node = steps_[n].plan.node;
    if (steps_[n].in_place.empty() || slot(node.outputs[0]).place != Place::kArena) continue;
    Slot& out = slot(node.outputs[0]);
    for (size_t i : steps_[n].in_place) {
      if (i >= node.inputs.size() || node.inputs[i] == kNoValue) continue;
      ValueId root = root_of(node.inputs[i]);
      Slot& in = slot(root);
      bool read_twice = std::count_if(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return v != kNoValue && root_of(v) == root; }) > 1;
      if (in.place != Place::kArena || in.last != int64_t(n) || in.type != out.type || element_count(in.shape) != element_count(out.shape) ||
          read_twice)
        continue;
      out.root = root;
      in.last = out.last;
      break;
    }
  }
}

void Program::plan_arena() {
  int64_t end = int64_t(steps_.size());
  for (auto& output : graph_.outputs()) {
    Slot& root = slot(root_of(output.value));
    root.last = end;
    if (root.place != Place::kArena) continue;
    if (root.first < 0) {
      add_constant(root_of(output.value));
      continue;
    }
    root.place = Place::kOwn;
    own_.push_back(root_of(output.value));
  }
  std::vector<BufferLife> lives;
  std::vector<ValueId> values;
  for (size_t i = 0; i < slots_.size(); i++) {
    Slot& s = slots_[i];
    if (s.place != Place::kArena || s.root != ValueId(i) || s.first < 0) continue;
    lives.push_back({element_count(s.shape) * bits_of(s.type) / 8, s.first, fuse_ ? s.last : std::max(s.last, s.first)});
    values.push_back(ValueId(i));
  }
  MemoryPlan plan = plan_memory(lives);
  for (size_t i = 0; i < values.size(); i++) slot(values[i]).offset = plan.offsets[i];
  arena_bytes_ = plan.size_bytes + kSpareBytes;
}

void Program::attach(const std::shared_ptr<std::byte[]>& arena) {
  if (attached_ == arena.get()) return;
  attached_ = arena.get();
  for (size_t i = 0; i < slots_.size(); i++) {
    const Slot &s = slots_[i], &root = slot(root_of(ValueId(i)));
    if (s.place != Place::kArena || root.place != Place::kArena || root.first < 0) continue;
    size_t size = size_t(element_count(s.shape) * bits_of(s.type) / 8);
    tensors_[i] = Tensor::writable_view(s.type, s.shape, Bytes{std::shared_ptr<const void>(arena, arena.get()), arena.get() + root.offset, size});
  }
}

// Results are handed out, so their memory is used again only if the caller has let go of it.
void Program::renew_results() {
  for (size_t i = 0; i < slots_.size(); i++)
    if (slots_[i].root != ValueId(i) && slot(root_of(ValueId(i))).place == Place::kOwn) tensors_[i] = Tensor();
  for (ValueId v : own_) {
    Tensor& t = tensors_[size_t(v)];
    if (!t.bytes().data || t.bytes().owner.use_count() > 1) t = Tensor(slot(v).type, slot(v).shape, false);
  }
  for (size_t i = 0; i < slots_.size(); i++) {
    ValueId root = root_of(ValueId(i));
    if (slots_[i].root != ValueId(i) && slot(root).place == Place::kOwn) tensors_[i] = tensors_[size_t(root)].reshaped(slots_[i].shape);
  }
}

std::vector<Tensor> Program::run(const RunCall& call, const std::shared_ptr<std::byte[]>& arena) {
  attach(arena);
  renew_results();
  for (size_t i = 0; i < graph_.inputs().size(); i++) tensors_[size_t(graph_.inputs()[i])] = call.inputs.tensors[i];
  for (auto& state : needs_.states) tensors_[size_t(state.value)] = call.cache.state(state.value);
  for (size_t i = 0; i < slots_.size(); i++)
    if (slots_[i].place == Place::kDynamic) tensors_[i] = Tensor();
  int64_t run = runs_++;
  for (Step& step : steps_) {
    auto begin = std::chrono::steady_clock::now();
    step.run(StepCall{step.inputs, step.outputs, call.cache.past(), run});
    const Node& node = step.plan.node;
    if (call.profile) {
      std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
      call.profile->push_back({node.name, std::string(name_of(node.op)), step.kernel, elapsed.count()});
    }
    if (call.observer && *call.observer) {
      std::vector<Tensor> inputs, outputs;
      for (ValueId v : node.inputs) inputs.push_back(v == kNoValue ? Tensor() : tensors_[size_t(v)]);
      for (ValueId v : node.outputs) outputs.push_back(v == kNoValue ? Tensor() : tensors_[size_t(v)]);
      (*call.observer)(node, inputs, outputs);
    }
  }
  std::vector<Tensor> results;
  for (auto& output : graph_.outputs()) {
    const Tensor& value = tensors_[size_t(output.value)];
    DType declared = facts_[size_t(output.value)].dtype;
    results.push_back(is_float(declared) ? value.to(declared) : value);
  }
  for (ValueId id : graph_.inputs()) tensors_[size_t(id)] = Tensor();
  return results;
}

}  // namespace lacuna
