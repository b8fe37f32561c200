// Element types of tensors and weights.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lacuna {

enum class DType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kS64,
  kS32,
  kS16,
  kS8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
  kS4,  // two's complement nibble, two per byte, low nibble first; rows start on a byte
  kU4,  // unsigned nibble, same packing
};

// Bits of one element: 64 ... 4.
int bits_of(DType type) noexcept;
// "f32", "bf16", "s8", "u4", "bool" ...: the names used in files, recipes and reports.
std::string_view name_of(DType type) noexcept;
std::optional<DType> dtype_from_name(std::string_view name) noexcept;
constexpr bool is_float(DType t) { return t <= DType::kBF16; }
constexpr bool is_integer(DType t) { return t > DType::kBF16; }

// Scalar conversions; f32 -> f16/bf16 rounds to nearest even, keeps NaN.
// Without branches, so that loops of it are vectorised, and exact where denormals are flushed.
inline float f16_to_f32(uint16_t h) noexcept {
  uint32_t sign = uint32_t(h & 0x8000) << 16, magnitude = uint32_t(h & 0x7fff) << 13;
  uint32_t is_special = uint32_t(int32_t(0x0f7fffffu - magnitude) >> 31), is_subnormal = uint32_t(int32_t(magnitude - 0x00800000u) >> 31);
  uint32_t number = magnitude + 0x38000000u + (is_special & 0x38000000u);  // infinity and NaN have the highest exponent
  uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude + 0x38800000u) - 0x1p-14f);
  return std::bit_cast<float>(sign | (subnormal & is_subnormal) | (number & ~is_subnormal));
}
uint16_t f32_to_f16(float f) noexcept;
inline float bf16_to_f32(uint16_t b) noexcept { return std::bit_cast<float>(uint32_t(b) << 16); }
inline uint16_t f32_to_bf16(float f) noexcept {
  uint32_t u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return uint16_t((u >> 16) | 0x40);
  return uint16_t((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

template <class T>
inline constexpr DType dtype_v = DType::kF32;
template <>
inline constexpr DType dtype_v<double> = DType::kF64;
template <>
inline constexpr DType dtype_v<int64_t> = DType::kS64;
template <>
inline constexpr DType dtype_v<int32_t> = DType::kS32;
template <>
inline constexpr DType dtype_v<int16_t> = DType::kS16;
template <>
inline constexpr DType dtype_v<int8_t> = DType::kS8;
template <>
inline constexpr DType dtype_v<uint64_t> = DType::kU64;
template <>
inline constexpr DType dtype_v<uint32_t> = DType::kU32;
template <>
inline constexpr DType dtype_v<uint16_t> = DType::kU16;
template <>
inline constexpr DType dtype_v<uint8_t> = DType::kU8;
template <>
inline constexpr DType dtype_v<bool> = DType::kBool;

}  // namespace lacuna
