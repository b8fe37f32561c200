// Convolutions of a Program that run in chains (docs/decisions/0005-chains-of-convolutions.md).
#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/conv.h"
#include "kernels/dispatch.h"
#include "kernels/support.h"
#include "runtime/program.h"

namespace lacuna {

// What only the rest of the step reads takes no memory.
void Program::drop_last_output(Step& step) {
  std::erase_if(step.in_place, [&](const InPlace& place) { return place.out + 1 == step.out.size(); });
  slot(step.out.back()).first = slot(step.out.back()).last = -1;
  step.out.pop_back(), step.outputs.pop_back();
}

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
    drop_last_output(step);
    before.output = kNone;
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

// A pool of what only it reads of the convolution before: bands of rows of that go through both, and stay in L2 between them.
bool Program::join_pool(const PlanNode& plan, const CompiledStep& compiled) {
  constexpr int64_t kMostBand = 512 << 10;  // bytes
  if (!compiled.pool || !fuse_ || steps_.empty()) return false;
  Step& step = steps_.back();
  ValueId x = plan.node.inputs[0], y = plan.node.outputs[0];
  if (step.links.size() != 1 || step.out.back() != x || readers_[size_t(x)] != 1 || kept_[size_t(x)] || step.links[0].residual != kNone) return false;
  const ConvCall conv = step.links[0].call;
  const PoolCall pool = *compiled.pool;
  if (!conv.packed->runs_rows(conv.in_h, conv.in_w, conv.epilogue)) return false;

  // Rows that two bands read are made twice.
  int64_t overlap = std::max<int64_t>(pool.window_h - pool.stride_h, 0), row_bytes = pool.planes * pool.in_w * int64_t(sizeof(float));
  if (row_bytes == 0 || pool.out_h == 0) return false;
  int64_t most_rows = std::max<int64_t>((kMostBand / row_bytes - pool.window_h) / pool.stride_h + 1, 1);
  int64_t bands = bands_for(conv.batch, (pool.out_h + most_rows - 1) / most_rows, pool.out_h);
  if (row_bytes * pool.window_h > kMostBand || bands * overlap * 8 > pool.in_h || conv.batch * bands < threads_) return false;
  kernels::trace_dispatch(cat("dispatch: ", plan.node.name, ": runs in bands of rows with ", step.parts.back().plan.node.name));

  size_t bias = step.links[0].bias;
  step.run = [=](const StepCall& call) {
    using Clock = std::chrono::steady_clock;
    kernels::Epilogue epilogue = conv.epilogue;
    epilogue.bias = call.floats(bias);
    std::vector<std::atomic<double>> taken(call.seconds.size());
    auto count = [&](size_t part, Clock::time_point begin) {
      if (!taken.empty()) taken[part] += std::chrono::duration<double>(Clock::now() - begin).count();
    };
    parallel_for(conv.batch * bands, [&](int64_t task) {
      int64_t image = task / bands, first = task % bands * pool.out_h / bands, end = (task % bands + 1) * pool.out_h / bands;
      int64_t top = std::clamp<int64_t>(first * pool.stride_h - pool.pad_top, 0, pool.in_h);
      int64_t bottom = std::clamp<int64_t>((end - 1) * pool.stride_h - pool.pad_top + pool.window_h, top, pool.in_h),
              pitch = (bottom - top) * pool.in_w;
      float* band = kernels::thread_scratch_of<float>(kernels::ScratchSlot::kTileThird, pool.planes * pitch);
      Clock::time_point begin = Clock::now();
      if (bottom > top) conv.packed->run_rows(call.floats(0) + image * conv.in_size, conv.in_h, conv.in_w, top, bottom - top, band, pitch, epilogue);
      count(0, begin);
      begin = Clock::now();
      pool.rows({.x = band,
                 .x_pitch = pitch,
                 .x_first = top,
                 .planes = pool.planes,
                 .first = first,
                 .end = end,
                 .y = call.out_floats() + (image * pool.planes * pool.out_h + first) * pool.out_w,
                 .y_pitch = pool.out_h * pool.out_w});
      count(1, begin);
    });
    std::copy(taken.begin(), taken.end(), call.seconds.begin());
  };
  drop_last_output(step);
  step.links.clear();
  step.out.push_back(y), step.outputs.push_back(&tensors_[size_t(y)]);
  slot(y).first = slot(y).last = int64_t(steps_.size()) - 1;
  step.parts.push_back({plan, compiled.kernel, compiled.problem, compiled.plan_line});
  return true;
}

}  // namespace lacuna
