// Sparse times dense panel in bf16, two non-zeros of a row at a time: their activation rows are interleaved word by word, so that each
// dword holds both activations of one token, and vdpbf16ps multiplies them with both weights. Format in spmm_f32.h.
// Worth its shuffles where vdpbf16ps runs at the rate of an f32 FMA (Zen 4), not where it runs at half of it (Intel up to Granite Rapids).
#include <immintrin.h>

#include "kernels/inner/spmm_f32.h"

namespace lacuna::kernels::avx512_bf16 {
namespace {

const __m512i* column_at(const float* panel, uint16_t offset) {
  return reinterpret_cast<const __m512i*>(reinterpret_cast<const char*>(panel) + offset);
}

// sums of 32 tokens += both non-zeros.
void add_pair(const __m512i* first, const __m512i* second, __m512bh weights, __m512& low, __m512& high) {
  __m512i a = _mm512_loadu_si512(first), b = _mm512_loadu_si512(second);
  low = _mm512_dpbf16_ps(low, reinterpret_cast<__m512bh>(_mm512_unpacklo_epi16(a, b)), weights);
  high = _mm512_dpbf16_ps(high, reinterpret_cast<__m512bh>(_mm512_unpackhi_epi16(a, b)), weights);
}

__m512bh broadcast_weights(const float* value) { return reinterpret_cast<__m512bh>(_mm512_set1_ps(*value)); }

// H times 32 tokens of one row, or of two rows whose sums are independent of each other.
template <int H>
void single_rows(const SpmmRun& run, const uint16_t*& meta, const float*& values, const float* panel, float* sums, __mmask16 old) {
  for (uint32_t step = 0; step < run.steps; step++) {
    float* out = sums + int64_t(*meta++) * kPanelLanes;
    __m512 a0 = _mm512_maskz_loadu_ps(old, out), a1 = _mm512_maskz_loadu_ps(old, out + 16), a2 = a0, a3 = a0;
    if constexpr (H > 1) a2 = _mm512_maskz_loadu_ps(old, out + 32), a3 = _mm512_maskz_loadu_ps(old, out + 48);
    for (uint32_t i = 0; i < run.count; i++, meta += 2, values++) {
      const __m512i *first = column_at(panel, meta[0]), *second = column_at(panel, meta[1]);
      __m512bh w = broadcast_weights(values);
      add_pair(first, second, w, a0, a1);
      if constexpr (H > 1) add_pair(first + 1, second + 1, w, a2, a3);
    }
    _mm512_storeu_ps(out, a0);
    _mm512_storeu_ps(out + 16, a1);
    if constexpr (H > 1) _mm512_storeu_ps(out + 32, a2), _mm512_storeu_ps(out + 48, a3);
  }
}

template <int H>
void paired_rows(const SpmmRun& run, const uint16_t*& meta, const float*& values, const float* panel, float* sums, __mmask16 old) {
  for (uint32_t step = 0; step < run.steps; step++) {
    float *out_a = sums + int64_t(meta[0]) * kPanelLanes, *out_b = sums + int64_t(meta[1]) * kPanelLanes;
    meta += 2;
    __m512 a0 = _mm512_maskz_loadu_ps(old, out_a), a1 = _mm512_maskz_loadu_ps(old, out_a + 16), a2 = a0, a3 = a0;
    __m512 b0 = _mm512_maskz_loadu_ps(old, out_b), b1 = _mm512_maskz_loadu_ps(old, out_b + 16), b2 = b0, b3 = b0;
    if constexpr (H > 1) a2 = _mm512_maskz_loadu_ps(old, out_a + 32), a3 = _mm512_maskz_loadu_ps(old, out_a + 48);
    if constexpr (H > 1) b2 = _mm512_maskz_loadu_ps(old, out_b + 32), b3 = _mm512_maskz_loadu_ps(old, out_b + 48);
    for (uint32_t i = 0; i < run.count; i++, meta += 4, values += 2) {
      const __m512i *first_a = column_at(panel, meta[0]), *second_a = column_at(panel, meta[1]);
      const __m512i *first_b = column_at(panel, meta[2]), *second_b = column_at(panel, meta[3]);
      __m512bh w_a = broadcast_weights(values), w_b = broadcast_weights(values + 1);
      add_pair(first_a, second_a, w_a, a0, a1);
      add_pair(first_b, second_b, w_b, b0, b1);
      if constexpr (H > 1) add_pair(first_a + 1, second_a + 1, w_a, a2, a3);
      if constexpr (H > 1) add_pair(first_b + 1, second_b + 1, w_b, b2, b3);
    }
    _mm512_storeu_ps(out_a, a0);
    _mm512_storeu_ps(out_a + 16, a1);
    _mm512_storeu_ps(out_b, b0);
    _mm512_storeu_ps(out_b + 16, b1);
    if constexpr (H > 1) _mm512_storeu_ps(out_a + 32, a2), _mm512_storeu_ps(out_a + 48, a3);
    if constexpr (H > 1) _mm512_storeu_ps(out_b + 32, b2), _mm512_storeu_ps(out_b + 48, b3);
  }
}

template <int H>
void tile_of_halves(const SpmmTile& tile, const float* panel, float* sums) {
  const uint16_t* meta = tile.meta;
  const float* values = tile.values;
  const __mmask16 old = tile.fresh ? 0 : 0xffff;  // lanes of sums that hold something yet
  for (int64_t i = 0; i < tile.run_count; i++) {
    if (tile.runs[i].rows_per_step == 2)
      paired_rows<H>(tile.runs[i], meta, values, panel, sums, old);
    else
      single_rows<H>(tile.runs[i], meta, values, panel, sums, old);
  }
}

}  // namespace

void spmm_bf16_tile(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) noexcept {
  if (lanes <= 32)
    tile_of_halves<1>(tile, panel, sums);
  else
    tile_of_halves<2>(tile, panel, sums);
}

void convert_panel(const float* in, int64_t cols, float* out) noexcept {
  const __m512i alternate = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
  for (int64_t i = 0; i < 2 * cols; i++, in += 32, out += 16) {
    __m512i low = _mm512_castsi256_si512(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(in))));
    __m512i high = _mm512_castsi256_si512(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(in + 16))));
    _mm512_storeu_si512(out, _mm512_permutex2var_epi64(low, alternate, high));
  }
}

}  // namespace lacuna::kernels::avx512_bf16
