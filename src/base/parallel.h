// All of Lacuna's parallelism: fixed tiles handed to a pool of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace lacuna {

// Number of threads parallel_for uses here: 1 in its own bodies. The default is the CPUs this process may run on. Set it before work starts.
int thread_count() noexcept;
void set_thread_count(int threads);  // throws InvalidArgument unless 1 <= threads <= 1024

namespace detail {
using TileFn = void (*)(void* context, int64_t tile);
void parallel_tiles(int64_t tiles, void* context, TileFn fn);
}  // namespace detail

// Calls body(tile) once for each tile in [0, tiles), on several threads, dynamically scheduled; returns when all are done.
// Which thread runs a tile is unspecified, so results must not depend on it: write per tile, reduce in tile order.
// The first exception thrown by a body is rethrown here. Nested calls run serially. Workers take
// over the caller's floating-point mode (flush_denormals), so that results do not depend on the thread.
template <class Body>
void parallel_for(int64_t tiles, Body&& body) {
  detail::parallel_tiles(tiles, const_cast<void*>(static_cast<const void*>(&body)),
                         [](void* context, int64_t tile) { (*static_cast<std::remove_reference_t<Body>*>(context))(tile); });
}

// In how many bands of rows a loop over images of rows x cols pixels takes each of them, bands outside of channels: convolutions divide pixels, 64 at
// a time, among the threads, so what one loop leaves in the cache of a core is then what the same core reads in the next.
int64_t image_bands(int64_t images, int64_t rows, int64_t cols) noexcept;

// As many bands, at least `least` and at most `most`, as give every thread as many of all images as the others.
int64_t bands_for(int64_t images, int64_t least, int64_t most) noexcept;

// While it lives, loops of this thread run serially, and thread_count() is 1 here, as within a parallel_for.
class SerialLoops {
 public:
  SerialLoops() noexcept;
  ~SerialLoops();
  SerialLoops(const SerialLoops&) = delete;
  SerialLoops& operator=(const SerialLoops&) = delete;

 private:
  bool before_;
};

// Sets flush-to-zero and denormals-are-zero for the calling thread.
void flush_denormals() noexcept;

}  // namespace lacuna
