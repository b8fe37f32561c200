// Convolutions of a Program that run in chains (docs/decisions/0005-chains-of-convolutions.md).
#include <algorithm>

#include "base/cat.h"
#include "kernels/conv.h"
#include "kernels/dispatch.h"
#include "runtime/program.h"

namespace lacuna {

// A convolution that reads what the step before gives, pixel by pixel, becomes the next link of its chain.
bool Program::join_chain(const PlanNode& plan, const CompiledStep& compiled, const std::function<const Tensor&(ValueId)>& constant) {
  if (!compiled.conv || steps_.empty() || steps_.back().links.empty()) return false;
  Step& step = steps_.back();
  const Node& node = plan.node;
  Link& before = step.links.back();
  ValueId x = node.inputs[0], y = node.outputs[0];
  if (step.out.back() != x || !compiled.conv->packed->follows(*before.call.packed, before.call.out_pixels, threads_)) return false;
  for (size_t i : {2, 3}) {
    if (!plan.has(i)) continue;
    ValueId v = node.inputs[i];
    bool made_here = std::any_of(step.out.begin(), step.out.end(), [&](ValueId out) { return root_of(out) == root_of(v); });
    if (made_here || slot(v).block) return false;
  }
  kernels::trace_dispatch(cat("dispatch: ", node.name, ": runs in a chain after ", step.parts.back().plan.node.name));

  if (readers_[size_t(x)] == 1 && !kept_[size_t(x)]) {  // lives between the links only
    std::erase_if(step.in_place, [&](const InPlace& place) { return place.out == before.output; });
    before.output = kNone;
    slot(x).first = slot(x).last = -1;
    step.out.pop_back(), step.outputs.pop_back();
  }
  int64_t position = int64_t(steps_.size()) - 1;
  auto add_input = [&](size_t i) {
    if (!plan.has(i)) return kNone;
    ValueId v = node.inputs[i];
    if (graph_.value(v).kind == ValueKind::kWeight) tensors_[size_t(v)] = constant(v);
    slot(root_of(v)).last = std::max(slot(root_of(v)).last, position);
    step.in.push_back(v), step.inputs.push_back(&tensors_[size_t(v)]);
    return step.in.size() - 1;
  };
  Link link{*compiled.conv, add_input(2), add_input(3), step.out.size()};
  if (link.residual != kNone && !compiled.in_place.empty()) step.in_place.push_back({link.output, link.residual});
  step.out.push_back(y), step.outputs.push_back(&tensors_[size_t(y)]);
  slot(y).first = slot(y).last = position;
  step.links.push_back(link);
  step.parts.push_back({plan, compiled.kernel, compiled.problem, compiled.plan_line});
  step.run = [links = step.links](const StepCall& call) {
    std::vector<kernels::ConvLink> chain;
    for (const Link& each : links) {
      kernels::Epilogue e = each.call.epilogue;
      e.bias = call.floats(each.bias), e.residual = call.floats(each.residual);
      float* out = each.output == kNone ? nullptr : reinterpret_cast<float*>(call.out(each.output).mutable_raw());
      chain.push_back({each.call.packed.get(), out, e});
    }
    const ConvCall& first = links[0].call;
    first.packed->run_chain(call.floats(0), first.batch, first.in_h, first.in_w, chain, call.seconds);
  };
  return true;
}

}  // namespace lacuna
