#include "base/dtype.h"

#include <array>

namespace lacuna {
namespace {
struct Info {
  std::string_view name;
  int bits;
};
constexpr std::array<Info, 15> kInfo = {{{"f64", 64},
                                         {"f32", 32},
                                         {"f16", 16},
                                         {"bf16", 16},
                                         {"s64", 64},
                                         {"s32", 32},
                                         {"s16", 16},
                                         {"s8", 8},
                                         {"u64", 64},
                                         {"u32", 32},
                                         {"u16", 16},
                                         {"u8", 8},
                                         {"bool", 8},
                                         {"s4", 4},
                                         {"u4", 4}}};
}  // namespace

int bits_of(DType type) noexcept { return kInfo[size_t(type)].bits; }
std::string_view name_of(DType type) noexcept { return kInfo[size_t(type)].name; }

std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (size_t i = 0; i < kInfo.size(); i++)
    if (kInfo[i].name == name) return DType(i);
  return std::nullopt;
}

uint16_t f32_to_f16(float f) noexcept {
  uint32_t u = std::bit_cast<uint32_t>(f), sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00);
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00);  // rounds beyond 65504
  if (magnitude < 0x38800000u) {                                 // subnormal half: let the FPU round
    float shifted = std::bit_cast<float>(magnitude) + 0.5f;      // 0.5 has ulp 2^-24
    return uint16_t(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1);
  return uint16_t(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace lacuna
