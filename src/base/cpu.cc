#include "base/cpu.h"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

#include "base/cat.h"
#include "lacuna/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lacuna {
namespace {

struct Level {
  std::string_view name;
  bool CpuFeatures::*feature;
};
// In ascending order; a forced level switches off every feature after it.
constexpr std::array<Level, 9> kLevels = {{{"avx2", &CpuFeatures::avx2},
                                           {"avx2_vnni", &CpuFeatures::avx_vnni},
                                           {"avx512", &CpuFeatures::avx512},
                                           {"avx512_vnni", &CpuFeatures::avx512_vnni},
                                           {"avx512_vbmi", &CpuFeatures::avx512_vbmi},
                                           {"avx512_vbmi2", &CpuFeatures::avx512_vbmi2},
                                           {"avx512_bf16", &CpuFeatures::avx512_bf16},
                                           {"amx_bf16", &CpuFeatures::amx_bf16},
                                           {"amx_int8", &CpuFeatures::amx_int8}}};

#if defined(__x86_64__)
unsigned long long enabled_state() {
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<unsigned long long>(high) << 32) | low;
}
#endif

CpuFeatures detect() {
  CpuFeatures f;
#if defined(__x86_64__)
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27))) return f;  // OSXSAVE
  bool fma = c & (1u << 12), f16c = c & (1u << 29), avx = c & (1u << 28);
  unsigned long long state = enabled_state();
  bool ymm = (state & 6) == 6, zmm = (state & 0xe6) == 0xe6;
  unsigned b7 = 0, c7 = 0, d7 = 0, a71 = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    b7 = b, c7 = c, d7 = d;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) a71 = a;
  }
  f.avx2 = ymm && avx && fma && f16c && (b7 & (1u << 5));
  f.avx_vnni = f.avx2 && (a71 & (1u << 4));
  f.avx512 = f.avx2 && zmm && (b7 & (1u << 16)) && (b7 & (1u << 17)) && (b7 & (1u << 30)) && (b7 & (1u << 31));
  f.avx512_vnni = f.avx512 && (c7 & (1u << 11));
  f.avx512_vbmi = f.avx512 && (c7 & (1u << 1));
  f.avx512_vbmi2 = f.avx512 && (c7 & (1u << 6));
  f.avx512_bf16 = f.avx512 && (a71 & (1u << 5));
  bool tiles = (state & 0x60000) == 0x60000;
  f.amx_bf16 = tiles && (d7 & (1u << 22));
  f.amx_int8 = tiles && (d7 & (1u << 25));
#endif
  return f;
}

CpuFeatures lowered_by_environment() {
  CpuFeatures f = detected_cpu_features();
  const char* forced = std::getenv("LACUNA_ISA");
  if (!forced || !*forced) return f;
  std::vector<std::string> known = {"reference"};
  bool reference = std::strcmp(forced, "reference") == 0, found = reference;
  for (auto& level : kLevels) known.emplace_back(level.name);
  for (auto& level : kLevels) {
    if (found) f.*level.feature = false;
    if (level.name == forced) {
      if (!(f.*level.feature)) throw InvalidArgument(cat("LACUNA_ISA=", forced, ": this CPU has only: ", isa_summary(f)));
      found = true;
    }
  }
  if (!found) throw InvalidArgument(cat("LACUNA_ISA=", forced, " is unknown; known: ", join(known)));
  return f;
}

}  // namespace

const CpuFeatures& detected_cpu_features() noexcept {
  static const CpuFeatures features = detect();
  return features;
}

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = lowered_by_environment();
  return features;
}

std::string cpu_vendor() {
#if defined(__x86_64__)
  std::array<unsigned, 3> words{};
  unsigned highest;
  if (__get_cpuid(0, &highest, &words[0], &words[2], &words[1])) return {reinterpret_cast<const char*>(words.data()), sizeof words};
#endif
  return {};
}

std::string cpu_name() {
#if defined(__x86_64__)
  unsigned max = __get_cpuid_max(0x80000000u, nullptr);
  if (max >= 0x80000004u) {
    std::array<unsigned, 12> words{};
    for (unsigned i = 0; i < 3; i++) __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    std::string name(reinterpret_cast<const char*>(words.data()), sizeof words);
    name = name.c_str();
    while (!name.empty() && name.front() == ' ') name.erase(0, 1);
    while (!name.empty() && name.back() == ' ') name.pop_back();
    unsigned a = 0, b, c, d;
    __get_cpuid(1, &a, &b, &c, &d);
    unsigned family = (a >> 8) & 15, model = (a >> 4) & 15;
    if (family == 6 || family == 15) model += (a >> 12) & 0xf0;
    if (family == 15) family += (a >> 20) & 0xff;
    if (!name.empty()) return cat(name, " (family ", family, ", model ", model, ")");
  }
#endif
  return "unknown CPU";
}

namespace {

// Of cpu0, as the system sees it; nullopt where it does not say.
std::optional<CacheSizes> listed_cache_sizes() {
  CacheSizes sizes;
  for (int i = 0; i < 8; i++) {
    const std::string folder = cat("/sys/devices/system/cpu/cpu0/cache/index", i, "/");
    std::string type;
    int level = 0;
    size_t kib = 0;
    if (!(std::ifstream(folder + "level") >> level) || !(std::ifstream(folder + "type") >> type) || !(std::ifstream(folder + "size") >> kib)) break;
    if (type != "Instruction" && level >= 1 && level <= 3) (level == 1 ? sizes.l1 : level == 2 ? sizes.l2 : sizes.l3) = kib << 10;
  }
  return sizes.l1 ? std::optional(sizes) : std::nullopt;
}

CacheSizes detect_cache_sizes() {
  if (auto listed = listed_cache_sizes()) return *listed;
  // Less exact: on AMD this L3 is that of the whole package, of which a core sees one part.
  auto size = [](int what) {
    long bytes = ::sysconf(what);
    return bytes > 0 ? size_t(bytes) : size_t(0);
  };
  return {size(_SC_LEVEL1_DCACHE_SIZE), size(_SC_LEVEL2_CACHE_SIZE), size(_SC_LEVEL3_CACHE_SIZE)};
}

}  // namespace

CacheSizes cache_sizes() noexcept {
  static const CacheSizes sizes = detect_cache_sizes();
  return sizes;
}

std::string isa_summary(const CpuFeatures& features) {
  std::vector<std::string> names;
  for (auto& level : kLevels)
    if (features.*level.feature) names.emplace_back(level.name);
  return names.empty() ? "reference" : join(names, " ");
}

}  // namespace lacuna
