#include "runtime/program.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "base/cat.h"
#include "kernels/coded_tokens.h"
#include "kernels/conv.h"
#include "kernels/dispatch.h"
#include "lacuna/error.h"
#include "runtime/ops/codes.h"
#include "runtime/passes/fuse_attention.h"
#include "runtime/passes/fuse_dynamic.h"
#include "runtime/passes/fuse_epilogues.h"
#include "runtime/passes/fuse_rounding.h"
#include "runtime/reference/reference.h"
#include "runtime/reference/support.h"

namespace lacuna {
namespace {

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

}  // namespace

Program::Program(const Graph& graph, const Bindings& bindings, PackStore& packs, const std::function<const Tensor&(ValueId)>& constant, bool fuse,
                 int threads)
    : graph_(graph),
      facts_(infer_facts(graph, bindings)),
      slots_(graph.values().size()),
      tensors_(graph.values().size()),
      fuse_(fuse),
      threads_(threads) {
  needs_ = lacuna::cache_needs(graph, facts_);
  kept_.resize(graph.values().size());
  for (auto& output : graph.outputs()) kept_[size_t(output.value)] = true;
  for (size_t i = 0; i < slots_.size(); i++) {
    Slot& s = slots_[i];
    s.root = ValueId(i);
    origin_.push_back(ValueId(i));
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
  choose_nodes(kept_, nodes);
  tables_.coarse = std::any_of(nodes.begin(), nodes.end(), [](auto& plan) { return plan.node.op == Op::quantize || rounding_of(plan.node); });
  std::vector<bool> whole = kept_;
  mark_dynamic(nodes, whole);
  if (fuse_) {
    fuse_dynamic(graph, whole, nodes);
    fuse_attention(
        graph, facts_, whole,
        [&](const PlanNode& plan) {
          return all_static(plan.node) && coded_attention_problem(OpContext(graph, plan, facts_, packs, tables_, constant, nullptr));
        },
        nodes);
    fuse_rounding(
        graph, whole, [&](const Node& node, const InputRounding& rounding) { return takes_codes(node, rounding, packs, constant); }, nodes);
    fuse_epilogues(graph, facts_, whole, nodes);
    fuse_codes(graph, whole, nodes);
    fuse_pairs(graph, whole, nodes);
  }
  // Steps point to tensors, so their places must not move: at most each input of a step is held plain and in another layout as well, each output in
  // another.
  size_t room = slots_.size();
  readers_.resize(slots_.size());
  for (const PlanNode& node : nodes) {
    room += 2 * node.node.inputs.size() + node.node.outputs.size();
    for (ValueId v : node.node.inputs)
      if (v != kNoValue) readers_[size_t(v)]++;
  }
  tensors_.reserve(room);
  for (const PlanNode& node : nodes) compile(node, packs, constant);
  if (fuse_) share_in_place();
  plan_arena();
}

// Nodes whose sizes only the run can tell run as the reference, which knows of nothing that is fused: what they read and write must
// stay `whole`.
void Program::mark_dynamic(std::vector<PlanNode>& nodes, std::vector<bool>& whole) {
  for (PlanNode& plan : nodes) {
    plan.dynamic = !all_static(plan.node);
    if (!plan.dynamic) continue;
    for (ValueId v : plan.node.inputs)
      if (v != kNoValue) whole[size_t(v)] = true;
    for (ValueId v : plan.node.outputs)
      if (v != kNoValue) whole[size_t(v)] = true, slot(v).place = Place::kDynamic;
  }
}

// Nodes that some output needs and whose results are not known already.
void Program::choose_nodes(const std::vector<bool>& kept, std::vector<PlanNode>& nodes) const {
  std::vector<bool> needed = kept;
  for (size_t n = graph_.nodes().size(); n-- > 0;) {
    const Node& node = graph_.nodes()[n];
    bool wanted = !fuse_ || writes_state(node);
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

bool Program::takes_codes(const Node& node, const InputRounding& rounding, PackStore& packs, const std::function<const Tensor&(ValueId)>& constant) {
  for (ValueId v : {node.inputs[0], node.outputs[0]})
    if (!is_static(v)) return false;
  PlanNode plan{.node = node};
  auto shape = conv_shape(OpContext(graph_, plan, facts_, packs, tables_, constant, nullptr));
  return shape && constant_shape(*facts_[size_t(node.inputs[0])].shape)->size() == 4 &&
         packs.conv_of_codes(node, shape->problem, shape->batch, shape->in_h, shape->in_w, rounding).packed;
}

bool Program::is_static(ValueId value) const {
  if (value == kNoValue) return true;
  auto& shape = facts_[size_t(value)].shape;
  return slot(value).place != Place::kDynamic && (slot(value).place == Place::kState || (shape && constant_shape(*shape)));
}

bool Program::all_static(const Node& node) const {
  auto fixed = [&](ValueId v) { return is_static(v); };
  return std::all_of(node.inputs.begin(), node.inputs.end(), fixed) && std::all_of(node.outputs.begin(), node.outputs.end(), fixed);
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
  ValueId root = root_of(in_blocks(x, 0));  // may add a slot
  slot(y).root = root;
  return true;
}

Shape Program::shape_in_blocks(ValueId value, int64_t block) const {
  Shape shape = *constant_shape(*facts_[size_t(origin_[size_t(value)])].shape);
  if (block == 0) return shape;
  if (block <= kTokenCodes) {
    int64_t cols = shape.back();
    return {kernels::coded_tokens_bytes(element_count(shape) / std::max<int64_t>(cols, 1), cols)};
  }
  if (block == kChannelsLast) {
    std::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
    return shape;
  }
  Shape out = {shape[0], (shape[1] + block - 1) / block};
  out.insert(out.end(), shape.begin() + 2, shape.end());
  out.push_back(block);
  return out;
}

// The same value in another layout: not computed yet.
ValueId Program::add_value(ValueId like, int64_t block) {
  LACUNA_ASSERT(tensors_.size() < tensors_.capacity());
  ValueId id = ValueId(slots_.size());
  DType type = block <= kTokenCodes ? DType::kU8 : slot(like).type;
  slots_.push_back({.place = Place::kArena, .root = id, .shape = shape_in_blocks(like, block), .type = type, .block = block});
  tensors_.emplace_back();
  origin_.push_back(origin_[size_t(like)]);
  return id;
}

// The value held in `block` channels per block (0: plain), converted by a step of its own where it is not yet.
ValueId Program::in_blocks(ValueId value, int64_t block) {
  if (slot(value).block == block) return value;
  if (block <= kTokenCodes) {
    // Codes are of plain values; what is reshaped with its tokens whole has the codes of what was reshaped.
    ValueId plain = in_blocks(value, 0), root = root_of(plain);
    value = slot(root).block == 0 && shape_in_blocks(root, 0).back() == shape_in_blocks(plain, 0).back() ? root : plain;
  }
  auto [it, fresh] = converted_.try_emplace({value, block}, kNoValue);
  if (fresh) {
    it->second = add_value(value, block);
    convert(value, it->second);
  }
  return it->second;
}

void Program::convert(ValueId from, ValueId to) {
  if (slot(to).block <= kTokenCodes) return code_tokens_of(from, to);
  Shape shape = shape_in_blocks(from, 0);
  Step step;
  step.in = {from}, step.out = {to};
  Part& part = step.parts.emplace_back();
  part.plan.node.op = Op::identity;
  part.plan.node.name = cat("layout of ", graph_.value(origin_[size_t(from)]).name);
  if (slot(from).block == kChannelsLast || slot(to).block == kChannelsLast) {
    auto turn = slot(to).block == kChannelsLast ? codes_to_pixels : codes_from_pixels;
    part.kernel = "layout of codes";
    step.run = [=, type = slot(from).type](const StepCall& call) { turn(shape, type, call.in(0).raw(), call.out(0).mutable_raw()); };
    return add_step(std::move(step), {});
  }
  int64_t block = std::max(slot(from).block, slot(to).block), batch = shape[0], channels = shape[1],
          pixels = element_count(std::span(shape).subspan(2));
  auto run = slot(to).block ? kernels::to_channel_blocks : kernels::from_channel_blocks;
  part.kernel = slot(to).block ? "to channel blocks" : "from channel blocks";
  step.run = [=](const StepCall& call) { run(call.floats(0), batch, channels, pixels, block, call.out_floats()); };
  add_step(std::move(step), {});
}

// The codes of a plain value: by the step that makes it, if it can, else by one of their own.
void Program::code_tokens_of(ValueId from, ValueId to) {
  kernels::Rounding rounding = tables_.codings[size_t(kTokenCodes - slot(to).block)];
  int64_t made_at = slot(from).first;
  Step* maker = made_at >= 0 && steps_[size_t(made_at)].out[0] == from ? &steps_[size_t(made_at)] : nullptr;
  Shape shape = shape_in_blocks(from, 0);
  int64_t cols = shape.back(), tokens = element_count(shape) / std::max<int64_t>(cols, 1);
  if (maker && maker->run_with_codes) {
    maker->run = std::exchange(maker->run_with_codes, nullptr)(rounding);
    maker->out.push_back(to), maker->outputs.push_back(&tensors_[size_t(to)]);
    slot(to).first = slot(to).last = made_at;
    return;
  }
  // Products divide their columns among the threads, other steps their tokens.
  Op made_by = maker ? maker->parts[0].plan.node.op : Op::identity;
  bool by_columns = made_by == Op::linear || made_by == Op::attention;
  Step step;
  step.in = {from}, step.out = {to};
  Part& part = step.parts.emplace_back();
  part.plan.node.op = Op::quantize;
  part.plan.node.name = cat("codes of ", graph_.value(origin_[size_t(from)]).name);
  part.kernel = "codes of tokens";
  step.run = [=](const StepCall& call) {
    kernels::code_tokens(call.floats(0), cols, rounding, by_columns, kernels::coded_tokens(call.out(0).mutable_raw(), tokens, cols));
  };
  add_step(std::move(step), {});
}

void Program::add_step(Step step, const std::vector<size_t>& unread) {
  int64_t position = int64_t(steps_.size());
  for (size_t i = 0; i < step.in.size(); i++) {
    ValueId v = step.in[i];
    bool read = v != kNoValue && std::find(unread.begin(), unread.end(), i) == unread.end();
    step.inputs.push_back(read ? &tensors_[size_t(v)] : nullptr);
    if (read) slot(root_of(v)).last = std::max(slot(root_of(v)).last, position);
  }
  for (ValueId v : step.out) {
    step.outputs.push_back(v == kNoValue ? nullptr : &tensors_[size_t(v)]);
    if (v != kNoValue) slot(v).first = slot(v).last = position;
  }
  steps_.push_back(std::move(step));
}

// A node of constants only is computed now, once for all runs.
bool Program::compile_constant(const PlanNode& plan, const std::function<const Tensor&(ValueId)>& constant) {
  const Node& node = plan.node;
  if (!fuse_ || node.inputs.empty() || !plan.plain() || plan.has(3)) return false;
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
  for (ValueId v : node.inputs)
    if (v != kNoValue && slot(v).place == Place::kArena && slot(v).root == v && slot(v).first < 0) add_constant(v);
  if (compile_constant(plan, constant) || compile_view(plan)) return;
  bool fixed = all_static(node);
  if (!fixed)
    for (ValueId v : node.outputs)
      if (v != kNoValue) slot(v).place = Place::kDynamic;

  CompiledStep compiled;
  std::function<int64_t(ValueId)> block_of;
  if (fuse_) block_of = [this](ValueId v) { return slot(v).block; };
  auto computed = [this](ValueId v) {
    const Tensor& tensor = tensors_[size_t(v)];
    return slot(v).place == Place::kConstant && tensor.bytes().data ? &tensor : nullptr;
  };
  if (fixed) compiled = compile_op(OpContext(graph_, plan, facts_, packs, tables_, constant, block_of, computed));
  if (join_chain(plan, compiled, constant) || join_pool(plan, compiled)) return;
  Step step;
  step.parts.push_back({plan, compiled.kernel, compiled.problem, compiled.plan_line});
  step.run = std::move(compiled.run);
  step.in = node.inputs, step.out = node.outputs;
  for (size_t i : compiled.in_place)
    if (plan.has(i)) step.in_place.push_back({0, i});  // what joins a chain later brings inputs of its own
  step.run_with_codes = std::move(compiled.run_with_codes);
  if (compiled.conv && fuse_) step.links.push_back({*compiled.conv, plan.has(2) ? 2 : kNone, plan.has(3) ? 3 : kNone, 0});
  if (!step.run) {
    LACUNA_ASSERT(!plan.rounding || element_count(slot(node.inputs[0]).shape) == 0);  // the reference rounds nothing
    step.parts[0].kernel = "reference";
    step.run = reference_step(plan);
    compiled.unread.clear();
    kernels::trace_dispatch(cat("dispatch: ", name_of(node.op), " '", node.name, "': no fast path, runs as the reference"));
  }
  if (plan.sum && rounds_result(node.op) && !compiled.rounds) {
    LACUNA_ASSERT(!step.run_with_codes);
    step.run = [run = std::move(step.run), rounding = plan.sum.of_values()](const StepCall& call) {
      run(call);
      round_values(rounding, call.out_floats(), call.out(0).size());
    };
  }
  for (size_t i = 0; i < step.in.size(); i++) {
    ValueId v = step.in[i];
    if (v == kNoValue || std::find(compiled.unread.begin(), compiled.unread.end(), i) != compiled.unread.end()) continue;
    if (graph_.value(v).kind == ValueKind::kWeight) tensors_[size_t(v)] = constant(v);
    step.in[i] = in_blocks(v, i < compiled.input_blocks.size() ? compiled.input_blocks[i] : 0);
  }
  ValueId result = step.out.empty() ? kNoValue : step.out[0];
  if (compiled.output_block && kept_[size_t(result)]) {
    step.out[0] = add_value(result, compiled.output_block);
  } else if (compiled.output_block) {
    slot(result).block = compiled.output_block;
    if (plan.output) slot(result).type = plan.output.type;  // a value that was floats before its rounding was fused
    slot(result).shape = shape_in_blocks(result, compiled.output_block);
  }
  ValueId made = step.out.empty() ? kNoValue : step.out[0];
  add_step(std::move(step), compiled.unread);
  if (made != result) convert(made, result);
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

std::vector<int64_t> Program::plan_lines() const {
  std::vector<int64_t> lines;
  for (const Step& step : steps_)
    for (const Part& part : step.parts)
      if (part.plan_line >= 0) lines.push_back(part.plan_line);
  return lines;
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
    std::vector<double> seconds(call.profile && step.parts.size() > 1 ? step.parts.size() : 0);
    step.run(StepCall{step.inputs, step.outputs, call.cache.past(), run, seconds});
    const Node& node = step.parts[0].plan.node;
    if (call.profile) {
      std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
      double all = std::accumulate(seconds.begin(), seconds.end(), 0.0);
      for (size_t i = 0; i < step.parts.size(); i++) {
        const Part& part = step.parts[i];
        double share = all > 0 ? seconds[i] / all : 1 / double(step.parts.size());
        call.profile->push_back(
            {part.plan.node.name, std::string(name_of(part.plan.node.op)), part.kernel, elapsed.count() * share, part.problem, part.plan_line});
      }
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
