// What this CPU can do, found at run time; LACUNA_ISA forces a lower level.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

struct CpuFeatures {
  bool avx2 = false;  // AVX2 + FMA + F16C
  bool avx_vnni = false;
  bool avx512 = false;  // F + BW + DQ + VL
  bool avx512_vnni = false;
  bool avx512_vbmi = false;
  bool avx512_vbmi2 = false;
  bool avx512_bf16 = false;
  bool amx_bf16 = false;  // AMX tiles; Linux must still grant them to the process
  bool amx_int8 = false;
};

// Features of this CPU that the operating system enables, lowered by the environment variable
// LACUNA_ISA = reference | avx2 | avx2_vnni | avx512 | avx512_vnni | avx512_vbmi | avx512_vbmi2 | avx512_bf16 | amx_bf16 | amx_int8 (each
// includes those before it, as far as the CPU has them). An unknown or unavailable level throws InvalidArgument naming the known ones.
const CpuFeatures& cpu_features();
// As detected, ignoring LACUNA_ISA.
const CpuFeatures& detected_cpu_features() noexcept;

// What the CPU calls itself, and its family and model: hosts of virtual machines often hide the name behind one for all.
std::string cpu_name();
// "GenuineIntel", "AuthenticAMD" and so on; empty if unknown.
std::string cpu_vendor();
// Data cache sizes in bytes, of the first core: its own L1 and L2, the L3 that it reaches; 0 if unknown.
struct CacheSizes {
  size_t l1 = 0, l2 = 0, l3 = 0;
};
CacheSizes cache_sizes() noexcept;
// "avx2 avx512 avx512_vnni ...", for reports.
std::string isa_summary(const CpuFeatures& features);

}  // namespace lacuna
