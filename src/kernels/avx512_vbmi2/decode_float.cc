// 16-bit values expanded 32 at a time by vpexpandw.
#include "kernels/inner/decode_float.h"

#include <immintrin.h>

namespace lacuna::kernels::avx512_vbmi2 {
#include "kernels/inner/vec512.inl"
static_assert(Vec::kLanes == 16);
#include "kernels/inner/decode_float.inl"

namespace {

// In place, against the false dependency of Zen 4 (see avx512/decode_float.cc).
__m512i expanded(const std::byte* stream, uint64_t mask) {
  __m512i v = _mm512_loadu_si512(stream);
  __asm__("vpexpandw %0, %0%{%1%}%{z%}" : "+v"(v) : "Yk"(__mmask32(mask)));
  return v;
}

struct MaskBf16 : MaskHeader {
  using MaskHeader::MaskHeader;
  static constexpr int kVectors = 2;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    __m512i both = expanded(stream, mask);
    out[0] = {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16))};
    out[1] = {_mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(int(0xffff0000))))};
    stream += 2 * __builtin_popcount(unsigned(mask));
    mask >>= 32;
  }
};

struct MaskF16 : MaskHeader {
  using MaskHeader::MaskHeader;
  static constexpr int kVectors = 2;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    __m512i both = expanded(stream, mask);
    out[0] = {_mm512_cvtph_ps(_mm512_castsi512_si256(both))};
    out[1] = {_mm512_cvtph_ps(_mm512_extracti64x4_epi64(both, 1))};
    stream += 2 * __builtin_popcount(unsigned(mask));
    mask >>= 32;
  }
};

}  // namespace

void decode_mask_bf16(const DecodeTask& task) noexcept { decode_any<MaskBf16>(task); }
void decode_mask_f16(const DecodeTask& task) noexcept { decode_any<MaskF16>(task); }

}  // namespace lacuna::kernels::avx512_vbmi2
