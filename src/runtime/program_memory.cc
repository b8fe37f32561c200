// Where the values of a Program live: memory taken over from inputs, the arena, and results of their own.
#include <algorithm>

#include "kernels/conv.h"
#include "runtime/memory_plan.h"
#include "runtime/program.h"

namespace lacuna {
namespace {

// Reading past the end of a buffer by less than a vector must stay inside the arena; those that read codes may read further.
constexpr int64_t kSpareBytes = 64;

}  // namespace

// An output takes the memory of an input that nothing reads later, where the step can work in place.
void Program::share_in_place() {
  int64_t end = int64_t(steps_.size());
  for (auto& output : graph_.outputs()) slot(root_of(output.value)).last = end;
  for (size_t n = 0; n < steps_.size(); n++) {
    const Step& step = steps_[n];
    for (auto [o, i] : step.in_place) {
      Slot& out = slot(step.out[o]);
      ValueId root = root_of(step.in[i]);
      Slot& in = slot(root);
      bool read_twice = std::count_if(step.in.begin(), step.in.end(), [&](ValueId v) { return v != kNoValue && root_of(v) == root; }) > 1;
      bool same_size = in.type == out.type && element_count(in.shape) == element_count(out.shape);
      if (out.place != Place::kArena || out.root != step.out[o] || in.place != Place::kArena || in.last != int64_t(n) || !same_size || read_twice)
        continue;
      out.root = root;
      in.last = out.last;
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
  bool codes = std::any_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s.block == kChannelsLast; });
  arena_bytes_ = plan.size_bytes + (codes ? kernels::kCodesSpare : kSpareBytes);
}

void Program::attach(const std::shared_ptr<std::byte[]>& arena) {
  if (attached_ == arena.get()) return;
  attached_ = arena.get();
  for (size_t i = 0; i < slots_.size(); i++) {
    const Slot &s = slots_[i], &root = slot(root_of(ValueId(i)));
    if (s.place != Place::kArena || root.place != Place::kArena || root.first < 0) continue;
    size_t size = size_t(element_count(s.shape) * bits_of(s.type) / 8);
    std::shared_ptr<const void> nobody(std::shared_ptr<const void>(), arena.get());  // the arena is the caller's: a Program keeps none alive
    tensors_[i] = Tensor::writable_view(s.type, s.shape, Bytes{nobody, arena.get() + root.offset, size});
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

}  // namespace lacuna
