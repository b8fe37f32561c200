// A batch run in pieces of some items, each on one thread: what an item leaves for its next layer stays in that core's caches, and threads wait for
// each other once instead of after every layer.
#pragma once

#include <functional>

#include "runtime/engine.h"
#include "runtime/items.h"
#include "runtime/program.h"

namespace lacuna {

class Apart {
 public:
  // `make` compiles a Program for so many items, whose loops run serially. `most` items make a piece.
  Apart(const Items& items, int64_t count, int64_t most, const std::function<std::unique_ptr<Program>(int64_t)>& make);

  int64_t arena_bytes() const;
  const Program& program() const { return *workers_[0].programs.begin()->second; }
  std::vector<Tensor> run(const RunCall& call);

 private:
  struct Worker {
    std::map<int64_t, std::unique_ptr<Program>> programs;  // by items
    std::shared_ptr<std::byte[]> arena;
    std::vector<Session::ProfileLine> profile;
  };
  int64_t first_item(int64_t piece) const { return count_ * piece / pieces_; }

  Items items_;
  int64_t count_, pieces_;
  std::vector<Worker> workers_;
};

// Memory for a Program's arena, in whole large pages where it is large.
std::shared_ptr<std::byte[]> allocate_arena(int64_t bytes);

}  // namespace lacuna
