// One pool of std::threads, started at first use. The caller works too, and waits for tiles, not for threads: a worker that the system
// has put aside, or that wakes late, delays nobody.
// Each thread begins with a share of its own, neighbouring tiles, then helps with the shares of the others. What a loop over pixels or
// tokens wrote is then mostly in the caches of the core that reads it in the next loop.
// Workers spin briefly before they sleep: a network runs hundreds of short loops, and waking a thread costs 5-50 us.
// Linux may wake a worker on the CPU of its caller, who then waits for it there, and leave it so for milliseconds while other CPUs are idle. A worker
// seen on its caller's CPU is sent elsewhere, and may run on all CPUs but that one from then on. Masks that somebody else changed stay.
// Why not OpenMP: a pool of our own is visible to ThreadSanitizer in every build, and one mechanism serves all.
#include "base/parallel.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
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

unsigned floating_point_mode() {
#if defined(__x86_64__)
  return _mm_getcsr() & ~0x3fu;  // without the exceptions seen so far
#else
  return 0;
#endif
}

void set_floating_point_mode([[maybe_unused]] unsigned mode) {
#if defined(__x86_64__)
  _mm_setcsr(mode);
#endif
}

thread_local bool inside_parallel = false;

class Pool {
 public:
  explicit Pool(int workers) : shares_(size_t(workers) + 1) {
    if (sched_getaffinity(0, sizeof allowed_, &allowed_) != 0) CPU_ZERO(&allowed_);
    for (Share& share : shares_) share.mask = allowed_;
    for (int i = 1; i <= workers; i++) threads_.emplace_back([this, i] { work(size_t(i)); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_.store(true);
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  int workers() const { return int(threads_.size()); }

  void run(int64_t tiles, void* context, detail::TileFn fn) {
    std::lock_guard one_at_a_time(run_mutex_);
    // Nobody reads these now: whoever took a tile was waited for, and without a tile nobody looks.
    error_ = nullptr;
    unfinished_.store(tiles);
    keep_off(sched_getcpu());
    loop_++;
    for (size_t i = 0; i < shares_.size(); i++) {
      Share& share = shares_[i];
      int64_t first = tiles * int64_t(i) / int64_t(shares_.size());
      share.end = tiles * int64_t(i + 1) / int64_t(shares_.size());
      share.context = context, share.fn = fn, share.mode = floating_point_mode();
      share.left.store(loop_ << kTileBits | uint64_t(share.end - first), std::memory_order_release);
    }
    // A write, in one order with those of who is about to sleep: either it is seen here, or the shares are seen there.
    if (sleepers_.fetch_add(0) > 0) {
      { std::lock_guard lock(mutex_); }  // against a worker between its last look and its sleep
      wake_.notify_all();
    }
    run_tiles(0);
    for (int spin = 0; unfinished_.load() != 0; spin++) {
      if (spin < 4000)
        pause_briefly();
      else
        std::this_thread::yield();
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  // The low bits of Share::left count the tiles that nobody has taken yet, the rest count loops.
  static constexpr int kTileBits = 36;
  static constexpr uint64_t kTileMask = (uint64_t(1) << kTileBits) - 1;

  // What a thread needs to begin, in a cache line that others touch only to help: where all threads count the tiles of a loop in one place, that
  // line goes from core to core with each of them. While a tile that was taken is unfinished, all but `left` stay as they are.
  struct alignas(64) Share {
    std::atomic<uint64_t> left{0};
    int64_t end = 0;
    void* context = nullptr;
    detail::TileFn fn = nullptr;
    unsigned mode = 0;
    std::atomic<int> cpu{-1};  // that its thread was seen on
    cpu_set_t mask;            // that its thread was given last; the caller's alone
  };

  void keep_off(int cpu) {
    for (size_t i = 0; i < threads_.size(); i++) {
      if (cpu < 0 || shares_[i + 1].cpu.load() != cpu || CPU_COUNT(&allowed_) <= workers()) continue;
      Share& share = shares_[i + 1];
      pthread_t thread = threads_[i].native_handle();
      share.cpu.store(-1);
      cpu_set_t now;
      if (pthread_getaffinity_np(thread, sizeof now, &now) != 0 || !CPU_EQUAL(&now, &share.mask)) continue;
      cpu_set_t others = allowed_;
      CPU_CLR(cpu, &others);
      if (pthread_setaffinity_np(thread, sizeof others, &others) == 0) share.mask = others;
    }
  }

  // The tiles of the thread's own share, then of the next that has any. A share once empty stays so until the next loop.
  void run_tiles(size_t thread) {
    int64_t finished = 0;
    inside_parallel = true;
    for (size_t i = 0; i < shares_.size(); i++) {
      Share& share = shares_[(thread + i) % shares_.size()];
      for (uint64_t left = share.left.load(); left & kTileMask;) {
        if (!share.left.compare_exchange_weak(left, left - 1)) continue;
        if (share.mode != floating_point_mode()) set_floating_point_mode(share.mode);
        try {
          share.fn(share.context, share.end - int64_t(left & kTileMask));
        } catch (...) {
          std::lock_guard lock(error_mutex_);
          if (!error_) error_ = std::current_exception();
        }
        finished++;
        left = share.left.load();
      }
      // A thread that has told of all its tiles may find those of the next loop here.
      if (finished) unfinished_.fetch_sub(std::exchange(finished, 0));
    }
    inside_parallel = false;
  }

  void work(size_t thread) {
    Share& own = shares_[thread];
    uint64_t seen = 0;  // loops
    auto idle = [&] { return !stop_.load() && own.left.load() >> kTileBits == seen; };
    while (!stop_.load()) {
      for (int spin = 0; idle() && spin < 4000; spin++) pause_briefly();
      if (idle()) {
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return !idle(); });
        sleepers_.fetch_sub(1);
      }
      seen = own.left.load() >> kTileBits;
      own.cpu.store(sched_getcpu());
      run_tiles(thread);
    }
  }

  cpu_set_t allowed_;
  std::vector<Share> shares_;  // of the caller, then of each worker
  std::vector<std::thread> threads_;
  std::mutex run_mutex_, mutex_, error_mutex_;
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
  uint64_t loop_ = 0;
  alignas(64) std::atomic<bool> stop_{false};  // read by all who wait
  alignas(64) std::atomic<int64_t> unfinished_{0};
  std::exception_ptr error_;
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
  if (inside_parallel) return 1;
  std::lock_guard lock(pool_mutex);
  return requested_threads ? requested_threads : available_cpus();
}

void set_thread_count(int threads) {
  if (threads < 1 || threads > 1024) throw InvalidArgument(cat("threads must be 1 to 1024, got ", threads));
  std::lock_guard lock(pool_mutex);
  requested_threads = threads;
}

int64_t image_bands(int64_t images, int64_t rows, int64_t cols) noexcept {
  constexpr int64_t kLeastPixels = 64;
  int64_t wanted = images > 0 ? (thread_count() + images - 1) / images : 1;
  return std::clamp<int64_t>(std::min(wanted, rows * cols / kLeastPixels), 1, std::max<int64_t>(rows, 1));
}

int64_t bands_for(int64_t images, int64_t least, int64_t most) noexcept {
  int64_t threads = thread_count(), all = (std::max<int64_t>(images * least, 1) + threads - 1) / threads * threads;
  return std::clamp<int64_t>((all + images - 1) / std::max<int64_t>(images, 1), 1, std::max<int64_t>(most, 1));
}

SerialLoops::SerialLoops() noexcept : before_(std::exchange(inside_parallel, true)) {}
SerialLoops::~SerialLoops() { inside_parallel = before_; }

void flush_denormals() noexcept {
  set_floating_point_mode(floating_point_mode() | 0x8040);  // FTZ | DAZ
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
