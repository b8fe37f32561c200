#include "kernels/machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "base/buffer.h"
#include "base/cpu.h"
#include "base/parallel.h"
#include "kernels/inner/peak.h"
#include "kernels/integer/amx_weight.h"

namespace lacuna::kernels {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Runs body(thread) on `threads` threads that start together.
template <class Body>
double seconds_together(int threads, Body&& body) {
  int before = thread_count();
  set_thread_count(threads);
  std::atomic<int> ready{0};
  auto start = std::chrono::steady_clock::now();
  parallel_for(threads, [&](int64_t thread) {
    ready++;
    while (ready.load() < threads) std::this_thread::yield();
    if (thread == 0) start = std::chrono::steady_clock::now();
    body(thread);
  });
  double seconds = seconds_since(start);
  set_thread_count(before);
  return seconds;
}

uint64_t read_plainly(const std::byte* data, int64_t size) noexcept {
  uint64_t sum = 0;
  const uint64_t* words = reinterpret_cast<const uint64_t*>(data);
  for (int64_t i = 0; i < size / 8; i++) sum += words[i];
  return sum;
}

int64_t peak_f32_plainly(int64_t rounds) noexcept {
  volatile float sink = 0;
  float a = sink, b = sink, c = sink, d = sink, x = sink;
  for (int64_t i = 0; i < rounds; i++) a = a * x + x, b = b * x + x, c = c * x + x, d = d * x + x;
  sink = a + b + c + d;
  return rounds * 8;
}

using Peak = int64_t (*)(int64_t rounds) noexcept;

Peak peak_loop(PeakKind kind) {
  const CpuFeatures& cpu = cpu_features();
  switch (kind) {
    case PeakKind::kF32: return cpu.avx512 ? avx512::peak_f32 : cpu.avx2 ? avx2::peak_f32 : peak_f32_plainly;
    case PeakKind::kBF16: return cpu.avx512_bf16 ? avx512_bf16::peak_bf16 : nullptr;
    case PeakKind::kInt8:
      return cpu.avx512_vnni ? avx512_vnni::peak_int8 : cpu.avx_vnni ? avx2_vnni::peak_int8 : cpu.avx2 ? avx2::peak_int8 : nullptr;
    case PeakKind::kBF16Tiles:  // a tile of bf16 takes as long as one of int8, with half as many multiplications
    case PeakKind::kInt8Tiles: return cpu.amx_int8 && amx_granted() ? amx_int8::peak_int8 : nullptr;
  }
  return nullptr;
}

}  // namespace

double measure_read_gb_s(int64_t size_bytes, int threads) {
  int64_t part = std::max<int64_t>(size_bytes / threads / 256 * 256, 256), passes = std::clamp<int64_t>((64 << 20) / (part * threads), 1, 1000);
  std::shared_ptr<std::byte[]> buffer = allocate(size_t(part * threads), false);
  std::memset(buffer.get(), 1, size_t(part * threads));  // untouched pages would all be the one page of zeros
  auto read = cpu_features().avx512 ? avx512::read_bytes : cpu_features().avx2 ? avx2::read_bytes : read_plainly;
  std::atomic<uint64_t> sink{0};
  double best = 0;
  for (int round = 0; round < 5; round++) {
    double seconds = seconds_together(threads, [&](int64_t thread) {
      for (int64_t pass = 0; pass < passes; pass++) sink += read(buffer.get() + thread * part, part);
    });
    best = std::max(best, double(part * threads * passes) / seconds * 1e-9);
  }
  return best;
}

double measure_peak_gop_s(PeakKind kind, int threads) {
  Peak loop = peak_loop(kind);
  if (!loop) return 0;
  constexpr int64_t kRounds = 200000;  // a few tenths of a millisecond
  double best = 0;
  for (int round = 0; round < 20; round++) {
    std::atomic<int64_t> operations{0};
    double seconds = seconds_together(threads, [&](int64_t) { operations += loop(kRounds); });
    best = std::max(best, double(operations.load()) / seconds * 1e-9);
  }
  return kind == PeakKind::kBF16Tiles ? best / 2 : best;
}

MachineReport measure_machine() {
  CacheSizes caches = cache_sizes();
  MachineReport report = {.cpu = cpu_name(),
                          .isa = isa_summary(cpu_features()),
                          .threads = thread_count(),
                          .l1_bytes = int64_t(caches.l1),
                          .l2_bytes = int64_t(caches.l2),
                          .l3_bytes = int64_t(caches.l3)};
  int64_t buffer = std::clamp<int64_t>(report.l3_bytes * 4, 256 << 20, 1 << 30);
  auto both = [&](double& one, double& all, auto&& measure) { one = measure(1), all = measure(report.threads); };
  auto peak = [](PeakKind kind) { return [kind](int threads) { return measure_peak_gop_s(kind, threads); }; };
  both(report.read_one_gb_s, report.read_all_gb_s, [&](int threads) { return measure_read_gb_s(buffer, threads); });
  both(report.f32_one_gop_s, report.f32_all_gop_s, peak(PeakKind::kF32));
  both(report.bf16_one_gop_s, report.bf16_all_gop_s, peak(PeakKind::kBF16));
  both(report.int8_one_gop_s, report.int8_all_gop_s, peak(PeakKind::kInt8));
  both(report.amx_int8_one_gop_s, report.amx_int8_all_gop_s, peak(PeakKind::kInt8Tiles));
  return report;
}

}  // namespace lacuna::kernels
