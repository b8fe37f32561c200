// One pool of std::threads, started at first use. Tiles are claimed from an atomic counter; the caller works too.
// Workers spin briefly before they sleep: a network runs hundreds of short loops, and waking a thread costs 5-50 us.
// Why not OpenMP: a pool of our own is visible to ThreadSanitizer in every build, and one mechanism serves all.
#include "base/parallel.h"

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/cat.h"
#include "lacuna/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lacuna {
namespace {

int available_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return int(std::thread::hardware_concurrency());
}

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

thread_local bool inside_parallel = false;

class Pool {
 public:
  explicit Pool(int workers) {
    for (int i = 0; i < workers; i++) threads_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  int workers() const { return int(threads_.size()); }

  void run(int64_t tiles, void* context, detail::TileFn fn) {
    std::lock_guard one_at_a_time(run_mutex_);
    {
      std::lock_guard lock(mutex_);
      tiles_ = tiles;
      context_ = context;
      fn_ = fn;
      next_.store(0);
      error_ = nullptr;
      busy_.store(workers());
      generation_.fetch_add(1);
    }
    if (sleepers_.load() > 0) wake_.notify_all();
    claim_tiles();
    for (int spin = 0; busy_.load() != 0; spin++) {
      if (spin < 20000) pause_briefly();
      else std::this_thread::yield();
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void claim_tiles() {
    inside_parallel = true;
    for (int64_t tile; (tile = next_.fetch_add(1)) < tiles_;) {
      try {
        fn_(context_, tile);
      } catch (...) {
        std::lock_guard lock(error_mutex_);
        if (!error_) error_ = std::current_exception();
        next_.store(tiles_);
      }
    }
    inside_parallel = false;
  }

  void work() {
    flush_denormals();
    uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; generation_.load() == seen && spin < 4000; spin++) pause_briefly();
      if (generation_.load() == seen) {
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return generation_.load() != seen; });
        sleepers_.fetch_sub(1);
      }
      {
        std::lock_guard lock(mutex_);
        seen = generation_.load();
        if (stop_) return;
      }
      claim_tiles();
      busy_.fetch_sub(1);
    }
  }

  std::vector<std::thread> threads_;
  std::mutex run_mutex_, mutex_, error_mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> busy_{0}, sleepers_{0};
  std::atomic<int64_t> next_{0};
  int64_t tiles_ = 0;
  void* context_ = nullptr;
  detail::TileFn fn_ = nullptr;
  std::exception_ptr error_;
  bool stop_ = false;
};

std::mutex pool_mutex;
int requested_threads = 0;  // 0: available_cpus()
std::unique_ptr<Pool> pool;

Pool& shared_pool() {
  std::lock_guard lock(pool_mutex);
  int workers = (requested_threads ? requested_threads : available_cpus()) - 1;
  if (!pool || pool->workers() != workers) {
    pool.reset();
    pool = std::make_unique<Pool>(workers);
  }
  return *pool;
}

}  // namespace

int thread_count() noexcept {
  std::lock_guard lock(pool_mutex);
  return requested_threads ? requested_threads : available_cpus();
}

void set_thread_count(int threads) {
  if (threads < 1 || threads > 1024) throw InvalidArgument(cat("threads must be 1 to 1024, got ", threads));
  std::lock_guard lock(pool_mutex);
  requested_threads = threads;
}

void flush_denormals() noexcept {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);  // FTZ | DAZ
#endif
}

void detail::parallel_tiles(int64_t tiles, void* context, TileFn fn) {
  if (tiles <= 0) return;
  if (tiles == 1 || inside_parallel || thread_count() == 1) {
    for (int64_t tile = 0; tile < tiles; tile++) fn(context, tile);
    return;
  }
  shared_pool().run(tiles, context, fn);
}

}  // namespace lacuna
