#include "kernels/inner/decode_float.h"

#include <immintrin.h>

namespace lacuna::kernels::avx512 {
#include "kernels/inner/vec512.inl"
static_assert(Vec::kLanes == 16);
#include "kernels/inner/decode_float.inl"

namespace {

// Expands in place: with another destination a zero-masked vpexpand waits on Zen 4 for the old value of that register.
__m512 expanded(__m512 v, uint64_t mask) {
  __asm__("vpexpandd %0, %0%{%1%}%{z%}" : "+v"(v) : "Yk"(__mmask16(mask)));
  return v;
}

__m512 f32_of_bf16(const std::byte* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
__m512 f32_of_f16(const std::byte* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }

struct DenseF32 {
  static constexpr bool kMasked = false;
  static constexpr int kVectors = 1;
  static void step(const std::byte*& stream, uint64_t&, Vec* out) {
    out[0] = {_mm512_loadu_ps(stream)};
    stream += 64;
  }
};

struct DenseBf16 {
  static constexpr bool kMasked = false;
  static constexpr int kVectors = 2;
  static void step(const std::byte*& stream, uint64_t&, Vec* out) {
    __m512i both = _mm512_loadu_si512(stream);
    out[0] = {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16))};
    out[1] = {_mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(int(0xffff0000))))};
    stream += 64;
  }
};

struct DenseF16 {
  static constexpr bool kMasked = false;
  static constexpr int kVectors = 1;
  static void step(const std::byte*& stream, uint64_t&, Vec* out) {
    out[0] = {f32_of_f16(stream)};
    stream += 32;
  }
};

struct MaskF32 {
  static constexpr bool kMasked = true;
  static constexpr int kVectors = 1;
  static void step(const std::byte*& stream, uint64_t& mask, Vec* out) {
    out[0] = {expanded(_mm512_loadu_ps(stream), mask)};
    stream += 4 * __builtin_popcount(unsigned(mask & 0xffff));
    mask >>= 16;
  }
};

struct MaskBf16 {
  static constexpr bool kMasked = true;
  static constexpr int kVectors = 1;
  static void step(const std::byte*& stream, uint64_t& mask, Vec* out) {
    out[0] = {expanded(f32_of_bf16(stream), mask)};
    stream += 2 * __builtin_popcount(unsigned(mask & 0xffff));
    mask >>= 16;
  }
};

struct MaskF16 {
  static constexpr bool kMasked = true;
  static constexpr int kVectors = 1;
  static void step(const std::byte*& stream, uint64_t& mask, Vec* out) {
    out[0] = {expanded(f32_of_f16(stream), mask)};
    stream += 2 * __builtin_popcount(unsigned(mask & 0xffff));
    mask >>= 16;
  }
};

}  // namespace

const std::byte* decode_dense_f32(const DecodeTask& task) noexcept { return decode_any<DenseF32>(task); }
const std::byte* decode_dense_bf16(const DecodeTask& task) noexcept { return decode_any<DenseBf16>(task); }
const std::byte* decode_dense_f16(const DecodeTask& task) noexcept { return decode_any<DenseF16>(task); }
const std::byte* decode_mask_f32(const DecodeTask& task) noexcept { return decode_any<MaskF32>(task); }
const std::byte* decode_mask_bf16(const DecodeTask& task) noexcept { return decode_any<MaskBf16>(task); }
const std::byte* decode_mask_f16(const DecodeTask& task) noexcept { return decode_any<MaskF16>(task); }

}  // namespace lacuna::kernels::avx512
