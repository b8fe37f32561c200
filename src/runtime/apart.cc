#include "runtime/apart.h"

#include <algorithm>
#include <atomic>
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

// The results of a piece among those of all, which are made when the first piece is done.
void place(const std::vector<Tensor>& results, int64_t first, int64_t count, int64_t all, std::vector<Tensor>& out) {
  for (size_t i = 0; i < results.size(); i++) {
    Shape shape = results[i].shape();
    LACUNA_ASSERT(shape[0] % count == 0);
    shape[0] = shape[0] / count * all;
    if (out.size() <= i) out.emplace_back(results[i].dtype(), shape, false);
    LACUNA_ASSERT(out[i].shape() == shape);
    std::memcpy(out[i].mutable_raw() + results[i].size_bytes() / size_t(count) * size_t(first), results[i].raw(), results[i].size_bytes());
  }
}

}  // namespace

const std::shared_ptr<std::byte[]>& Arenas::get(size_t i, int64_t bytes) {
  if (arenas_.size() <= i) arenas_.resize(i + 1);
  Arena& arena = arenas_[i];
  if (!arena.memory || bytes > arena.bytes) {
    // From half a large page on whole ones, with allocate's spare bytes: kernels store to many tokens in turn, each on pages of its own.
    constexpr int64_t kPage = 2 << 20, kSpare = 64;
    int64_t in_pages = (bytes + kSpare + kPage - 1) / kPage * kPage - kSpare;
    arena = {allocate(size_t(bytes >= kPage / 2 ? in_pages : bytes), false), bytes};
  }
  return arena.memory;
}

int64_t Arenas::bytes() const {
  int64_t sum = 0;
  for (const Arena& arena : arenas_) sum += arena.bytes;
  return sum;
}

Apart::Apart(const Items& items, int64_t count, int64_t most, const std::function<std::unique_ptr<Program>(int64_t)>& make)
    : items_(items), count_(count) {
  int64_t threads = thread_count(), wanted = (count + most - 1) / most;
  pieces_ = std::min(count, (wanted + threads - 1) / threads * threads);
  std::set<int64_t> sizes;
  for (int64_t piece = 0; piece < pieces_; piece++) sizes.insert(first_item(piece + 1) - first_item(piece));
  workers_.resize(size_t(std::min(threads, pieces_)));
  for (Worker& worker : workers_)
    for (int64_t size : sizes) arena_bytes_ = std::max(arena_bytes_, (worker.programs[size] = make(size))->arena_bytes());
}

std::vector<Tensor> Apart::run(const RunCall& call, Arenas& arenas) {
  std::vector<std::shared_ptr<std::byte[]>> memory;
  for (size_t i = 0; i < workers_.size(); i++) memory.push_back(arenas.get(i, arena_bytes_)), workers_[i].profile.clear();
  std::vector<Tensor> out;
  std::mutex out_mutex;
  std::atomic<int64_t> next = 0;
  parallel_for(int64_t(workers_.size()), [&](int64_t i) {
    Worker& worker = workers_[size_t(i)];
    for (int64_t piece; (piece = next++) < pieces_;) {
      int64_t first = first_item(piece), count = first_item(piece + 1) - first;
      BoundInputs part;
      for (size_t k = 0; k < items_.inputs.size(); k++) {
        const Tensor& whole = call.inputs.tensors[k];
        part.tensors.push_back(items_.inputs[k] ? some_of(whole, count_, first, count) : whole);
      }
      RunCall of_piece{part, call.cache, nullptr, call.profile ? &worker.profile : nullptr};
      std::vector<Tensor> results = worker.programs.at(count)->run(of_piece, memory[size_t(i)]);
      std::lock_guard lock(out_mutex);
      place(results, first, count, count_, out);
    }
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
        (*call.profile)[it->second].microseconds += line.microseconds, (*call.profile)[it->second].pieces++;
    }
  return out;
}

}  // namespace lacuna
