#include "runtime/apart.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>

#include "base/buffer.h"
#include "base/parallel.h"

namespace lacuna {
namespace {

// Items [first, first + count) of all.
Tensor some_of(const Tensor& tensor, int64_t all, int64_t first, int64_t count) {
  Shape shape = tensor.shape();
  shape[0] = shape[0] / all * count;
  size_t item = tensor.size_bytes() / size_t(all);
  return {tensor.dtype(), shape, Bytes{tensor.bytes().owner, tensor.raw() + item * size_t(first), item * size_t(count)}};
}

}  // namespace

std::shared_ptr<std::byte[]> allocate_arena(int64_t bytes) {
  // From half a large page on whole ones, with allocate's spare bytes: kernels store to many tokens in turn, each on pages of its own.
  constexpr int64_t kPage = 2 << 20, kSpare = 64;
  int64_t in_pages = (bytes + kSpare + kPage - 1) / kPage * kPage - kSpare;
  return allocate(size_t(bytes >= kPage / 2 ? in_pages : bytes), false);
}

Apart::Apart(const Items& items, int64_t count, int64_t most, const std::function<std::unique_ptr<Program>(int64_t)>& make)
    : items_(items), count_(count) {
  int64_t threads = thread_count(), wanted = (count + most - 1) / most;
  pieces_ = std::min(count, (wanted + threads - 1) / threads * threads);
  std::set<int64_t> sizes;
  for (int64_t piece = 0; piece < pieces_; piece++) sizes.insert(first_item(piece + 1) - first_item(piece));
  workers_.resize(size_t(std::min(threads, pieces_)));
  SerialLoops serial;
  for (Worker& worker : workers_) {
    int64_t bytes = 0;
    for (int64_t size : sizes) bytes = std::max(bytes, (worker.programs[size] = make(size))->arena_bytes());
    worker.arena = allocate_arena(bytes);
  }
}

int64_t Apart::arena_bytes() const {
  int64_t bytes = 0;
  for (auto& [size, program] : workers_[0].programs) bytes = std::max(bytes, program->arena_bytes());
  return bytes * int64_t(workers_.size());
}

std::vector<Tensor> Apart::run(const RunCall& call) {
  std::mutex mutex;
  std::vector<Worker*> idle;
  for (Worker& worker : workers_) idle.push_back(&worker), worker.profile.clear();
  std::vector<Tensor> out;
  parallel_for(pieces_, [&](int64_t piece) {
    Worker* worker;
    {
      std::lock_guard lock(mutex);
      worker = idle.back();
      idle.pop_back();
    }
    int64_t first = first_item(piece), count = first_item(piece + 1) - first;
    BoundInputs part;
    for (size_t i = 0; i < items_.inputs.size(); i++) {
      const Tensor& whole = call.inputs.tensors[i];
      part.tensors.push_back(items_.inputs[i] ? some_of(whole, count_, first, count) : whole);
    }
    std::vector<Tensor> results =
        worker->programs.at(count)->run({part, call.cache, nullptr, call.profile ? &worker->profile : nullptr}, worker->arena);
    std::lock_guard lock(mutex);
    for (size_t i = 0; i < results.size(); i++) {
      if (out.size() <= i) {
        Shape shape = results[i].shape();
        shape[0] = shape[0] / count * count_;
        out.emplace_back(results[i].dtype(), shape, false);
      }
      std::memcpy(out[i].mutable_raw() + results[i].size_bytes() / size_t(count) * size_t(first), results[i].raw(), results[i].size_bytes());
    }
    idle.push_back(worker);
  });
  if (!call.profile) return out;
  // Of each node the time that it took of all threads, as if each had done an equal part of it.
  std::map<std::string, size_t> lines;
  for (Worker& worker : workers_)
    for (Session::ProfileLine& line : worker.profile) {
      line.microseconds /= double(workers_.size());
      auto [it, fresh] = lines.try_emplace(line.op + " " + line.node, call.profile->size());
      if (fresh)
        call.profile->push_back(line);
      else
        (*call.profile)[it->second].microseconds += line.microseconds;
    }
  return out;
}

}  // namespace lacuna
