// What this machine can do at most: the floors that kernels are held against.
#pragma once

#include <cstdint>
#include <string>

#include "base/cpu.h"

namespace lacuna::kernels {

struct MachineReport {
  std::string cpu, isa;
  int threads = 1;  // those of the figures "all"
  CacheSizes caches;
  double read_one_gb_s = 0, read_all_gb_s = 0;  // from DRAM, buffer of four times the L3 cache, at most 1 GiB
  // 10^9 multiplications and additions per second; 0 where the instructions are missing.
  double f32_one_gop_s = 0, f32_all_gop_s = 0;
  double bf16_one_gop_s = 0, bf16_all_gop_s = 0;  // vdpbf16ps
  double int8_one_gop_s = 0, int8_all_gop_s = 0;  // vpdpbusd, or vpmaddubsw and vpmaddwd
};

// Takes about a second. Uses the instruction sets of cpu_features() and thread_count() threads.
MachineReport measure_machine();

// Read bandwidth in GB/s over a buffer of that size, best of a few passes: DRAM or cache, as the size falls. `threads` share the buffer.
double measure_read_gb_s(int64_t size_bytes, int threads);
enum class PeakKind { kF32, kBF16, kInt8 };
double measure_peak_gop_s(PeakKind kind, int threads);

}  // namespace lacuna::kernels
