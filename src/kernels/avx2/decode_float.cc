// Expansion without vpexpand: eight values at a time are permuted by a table entry of the mask byte, which names for each lane the value
// that comes there; lanes that are not kept carry a sign bit and are cleared by it.
#include "kernels/inner/decode_float.h"

#include <immintrin.h>

namespace lacuna::kernels::avx2 {
#include "kernels/inner/vec256.inl"
static_assert(Vec::kLanes == 8);
#include "kernels/inner/decode_float.inl"

namespace {

struct ExpandTable {
  alignas(64) int8_t lanes[256][8];  // index of the value, or -1
  constexpr ExpandTable() : lanes() {
    for (int mask = 0; mask < 256; mask++)
      for (int lane = 0, next = 0; lane < 8; lane++) lanes[mask][lane] = (mask >> lane) & 1 ? int8_t(next++) : int8_t(-1);
  }
};
constexpr ExpandTable kExpand;

__m256 expanded(__m256 v, uint64_t mask) {
  __m256i lanes = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kExpand.lanes[mask & 0xff])));
  return _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_srai_epi32(lanes, 31)), _mm256_permutevar8x32_ps(v, lanes));
}

__m256 f32_of_bf16(const std::byte* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
__m256 f32_of_f16(const std::byte* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

struct DenseF32 : NoHeader {
  using NoHeader::NoHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    out[0] = {_mm256_loadu_ps(reinterpret_cast<const float*>(stream))};
    stream += 32;
  }
};

struct DenseBf16 : NoHeader {
  using NoHeader::NoHeader;
  static constexpr int kVectors = 2;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(stream));
    out[0] = {_mm256_castsi256_ps(_mm256_slli_epi32(both, 16))};
    out[1] = {_mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(int(0xffff0000))))};
    stream += 32;
  }
};

struct DenseF16 : NoHeader {
  using NoHeader::NoHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    out[0] = {f32_of_f16(stream)};
    stream += 16;
  }
};

struct MaskF32 : MaskHeader {
  using MaskHeader::MaskHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    out[0] = {expanded(_mm256_loadu_ps(reinterpret_cast<const float*>(stream)), mask)};
    stream += 4 * __builtin_popcount(unsigned(mask & 0xff));
    mask >>= 8;
  }
};

struct MaskBf16 : MaskHeader {
  using MaskHeader::MaskHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    out[0] = {expanded(f32_of_bf16(stream), mask)};
    stream += 2 * __builtin_popcount(unsigned(mask & 0xff));
    mask >>= 8;
  }
};

struct MaskF16 : MaskHeader {
  using MaskHeader::MaskHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t, Vec* out) {
    out[0] = {expanded(f32_of_f16(stream), mask)};
    stream += 2 * __builtin_popcount(unsigned(mask & 0xff));
    mask >>= 8;
  }
};

void half_to_float(const std::byte* p, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 8) _mm256_store_ps(out + i, f32_of_f16(p + 2 * i));
}

__m256 kept_lanes(__m256 v, uint64_t mask) { return _mm256_and_ps(v, _mm256_castsi256_ps(Vec::lanes(uint32_t(mask & 0xff)))); }

template <bool half_scales, bool masked>
struct Nibbles : CodesHeader<half_scales, masked, half_to_float> {
  using CodesHeader<half_scales, masked, half_to_float>::CodesHeader;
  static constexpr int kVectors = 2;
  void step(const std::byte*& stream, int64_t col, Vec* out) {
    __m256i nibbles = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(stream)));
    __m256i low = _mm256_and_si256(nibbles, _mm256_set1_epi32(15)), high = _mm256_srli_epi32(nibbles, 4);
    __m256 scale = this->scale(col).v, minimum = this->minimum(col).v;
    out[0] = {_mm256_fmadd_ps(_mm256_cvtepi32_ps(low), scale, minimum)};
    out[1] = {_mm256_fmadd_ps(_mm256_cvtepi32_ps(high), scale, minimum)};
    if constexpr (masked) {
      out[0].v = kept_lanes(out[0].v, this->mask), out[1].v = kept_lanes(out[1].v, this->mask >> 8);
      this->mask >>= 16;
    }
    stream += 8;
  }
};

template <bool half_scales, bool masked>
struct Bytes : CodesHeader<half_scales, masked, half_to_float> {
  using CodesHeader<half_scales, masked, half_to_float>::CodesHeader;
  static constexpr int kVectors = 1;
  void step(const std::byte*& stream, int64_t col, Vec* out) {
    __m256 codes = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(stream))));
    out[0] = {_mm256_fmadd_ps(codes, this->scale(col).v, this->minimum(col).v)};
    if constexpr (masked) out[0].v = kept_lanes(out[0].v, this->mask), this->mask >>= 8;
    stream += 8;
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

}  // namespace lacuna::kernels::avx2
