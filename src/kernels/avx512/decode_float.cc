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

struct DenseF32 : NoHeader {
  using NoHeader::NoHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    out[0] = {_mm512_loadu_ps(stream)};
    stream += 64;
  }
};

struct DenseBf16 : NoHeader {
  using NoHeader::NoHeader;
  static constexpr int kVectors = 2;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    __m512i both = _mm512_loadu_si512(stream);
    out[0] = {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16))};
    out[1] = {_mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(int(0xffff0000))))};
    stream += 64;
  }
};

struct DenseF16 : NoHeader {
  using NoHeader::NoHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    out[0] = {f32_of_f16(stream)};
    stream += 32;
  }
};

struct MaskF32 : MaskHeader {
  using MaskHeader::MaskHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    out[0] = {expanded(_mm512_loadu_ps(stream), mask)};
    stream += 4 * __builtin_popcount(unsigned(mask & 0xffff));
    mask >>= 16;
  }
};

struct MaskBf16 : MaskHeader {
  using MaskHeader::MaskHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    out[0] = {expanded(f32_of_bf16(stream), mask)};
    stream += 2 * __builtin_popcount(unsigned(mask & 0xffff));
    mask >>= 16;
  }
};

struct MaskF16 : MaskHeader {
  using MaskHeader::MaskHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    out[0] = {expanded(f32_of_f16(stream), mask)};
    stream += 2 * __builtin_popcount(unsigned(mask & 0xffff));
    mask >>= 16;
  }
};

void half_to_float(const std::byte* p, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) _mm512_store_ps(out + i, f32_of_f16(p + 2 * i));
}

// All sixteen weights that a nibble can name, by one FMA; a permutation then takes lanes of it by the low four bits of its indices.
template <bool half_scales, bool masked>
struct Nibbles : CodesHeader<half_scales, masked, half_to_float> {
  using CodesHeader<half_scales, masked, half_to_float>::CodesHeader;
  static constexpr int kVectors = 2;
  void step(const std::byte*& stream, int64_t col, Vec* out) {
    __m512 codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512 table = _mm512_fmadd_ps(codes, this->scale(col).v, this->minimum(col).v);
    __m512i nibbles = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(stream)));
    __m512i high = _mm512_srli_epi32(nibbles, 4);
    if constexpr (masked) {
      out[0] = {_mm512_maskz_permutexvar_ps(__mmask16(this->mask), nibbles, table)};
      out[1] = {_mm512_maskz_permutexvar_ps(__mmask16(this->mask >> 16), high, table)};
      this->mask >>= 32;
    } else {
      out[0] = {_mm512_permutexvar_ps(nibbles, table)};
      out[1] = {_mm512_permutexvar_ps(high, table)};
    }
    stream += 16;
  }
};

template <bool half_scales, bool masked>
struct Bytes : CodesHeader<half_scales, masked, half_to_float> {
  using CodesHeader<half_scales, masked, half_to_float>::CodesHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t col, Vec* out) {
    __m512 codes = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(stream))));
    if constexpr (masked)
      out[0] = {_mm512_maskz_fmadd_ps(__mmask16(this->mask), codes, this->scale(col).v, this->minimum(col).v)}, this->mask >>= 16;
    else
      out[0] = {_mm512_fmadd_ps(codes, this->scale(col).v, this->minimum(col).v)};
    stream += 16;
  }
};

}  // namespace

DecodeFloat decode_codes(CodesLayout layout) noexcept { return codes_loop<Nibbles, Bytes>(layout); }
void decode_dense_f32(const DecodeTask& task) noexcept { decode_any<DenseF32>(task); }
void decode_dense_bf16(const DecodeTask& task) noexcept { decode_any<DenseBf16>(task); }
void decode_dense_f16(const DecodeTask& task) noexcept { decode_any<DenseF16>(task); }
void decode_mask_f32(const DecodeTask& task) noexcept { decode_any<MaskF32>(task); }
void decode_mask_bf16(const DecodeTask& task) noexcept { decode_any<MaskBf16>(task); }
void decode_mask_f16(const DecodeTask& task) noexcept { decode_any<MaskF16>(task); }

}  // namespace lacuna::kernels::avx512
