// A batch run in pieces of some items, each on one thread: what an item leaves for its next layer stays in that core's caches, and threads wait for
// each other once instead of after every layer.
#pragma once

#include <functional>

#include "runtime/engine.h"
#include "runtime/items.h"
#include "runtime/program.h"

namespace lacuna {

// Memory for Programs that run at the same time. One that is attached to a piece of it notices when that moves.
class Arenas {
 public:
  const std::shared_ptr<std::byte[]>& get(size_t i, int64_t bytes);
  int64_t bytes() const;
  void clear() { arenas_.clear(); }

 private:
  struct Arena {
    std::shared_ptr<std::byte[]> memory;
    int64_t bytes = 0;
  };
  std::vector<Arena> arenas_;
};

class Apart {
 public:
  // `make` compiles a Program for so many items. Pieces have at most `most` items, and are as many as gives every thread the same number.
  Apart(const Items& items, int64_t count, int64_t most, const std::function<std::unique_ptr<Program>(int64_t)>& make);

  const Program& program() const { return *workers_[0].programs.begin()->second; }
  std::vector<Tensor> run(const RunCall& call, Arenas& arenas);

 private:
  struct Worker {
    std::map<int64_t, std::unique_ptr<Program>> programs;  // by items
    std::vector<Session::ProfileLine> profile;
  };
  int64_t first_item(int64_t piece) const { return count_ * piece / pieces_; }

  Items items_;
  int64_t count_, pieces_, arena_bytes_ = 0;
  std::vector<Worker> workers_;
};

}  // namespace lacuna
