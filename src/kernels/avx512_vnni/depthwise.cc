// Depthwise int8 convolution: positions by 64 channels. The bytes of four rows of a column are interleaved, first bytes then words, so that each lane
// holds four taps of a channel for one vpdpbusd. Neighbouring positions share columns, which are interleaved once.
#include <immintrin.h>

#include "kernels/integer/pixels.h"

namespace lacuna::kernels::avx512_vnni {
namespace {

// Up to four rows of a column, [4][16 channels][4 rows]; rows that are not there are zero. vpunpck works inside 128-bit lanes, so the channels are
// put there first: lane l gets channels 4 l to 4 l + 3 of each sixteen.
template <int kRows>
void interleave(const uint8_t* column, int64_t row_bytes, uint8_t* out) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i row[4] = {};
#pragma GCC unroll 4
  for (int i = 0; i < kRows; i++) row[i] = _mm512_permutexvar_epi32(order, _mm512_loadu_si512(column + i * row_bytes));
  const __m512i low_ab = _mm512_unpacklo_epi8(row[0], row[1]), high_ab = _mm512_unpackhi_epi8(row[0], row[1]);
  const __m512i low_cd = _mm512_unpacklo_epi8(row[2], row[3]), high_cd = _mm512_unpackhi_epi8(row[2], row[3]);
  _mm512_store_si512(out, _mm512_unpacklo_epi16(low_ab, low_cd));
  _mm512_store_si512(out + 64, _mm512_unpackhi_epi16(low_ab, low_cd));
  _mm512_store_si512(out + 128, _mm512_unpacklo_epi16(high_ab, high_cd));
  _mm512_store_si512(out + 192, _mm512_unpackhi_epi16(high_ab, high_cd));
}

template <int kRows>
void interleave_columns(const DepthwiseCall& c, int64_t part, int64_t parts) {
  const uint8_t* column = c.x + 4 * part * c.row_bytes;
  uint8_t* out = c.columns + 256 * part;
  const int64_t count = c.column_count, column_bytes = c.column_bytes, row_bytes = c.row_bytes;
  for (int64_t i = 0; i < count; i++, column += column_bytes, out += 256 * parts) interleave<kRows>(column, row_bytes, out);
}

// Sixteen positions of sixteen channels. kWidth, kStride: of the kernel, if it has one part and is not dilated, or else 0.
template <int kWidth, int kStride>
void sixteen_sums(const DepthwiseCall& c, const uint8_t* columns, int64_t parts, const uint8_t* weights, int32_t* sums) {
  __m512i acc[16] = {};
  if constexpr (kWidth > 0) {
    __m512i weight[kWidth];
#pragma GCC unroll 8
    for (int w = 0; w < kWidth; w++) weight[w] = _mm512_loadu_si512(weights + 256 * w);
#pragma GCC unroll 40
    for (int i = 0; i < 15 * kStride + kWidth; i++) {
      const __m512i column = _mm512_load_si512(columns + 256 * i);
#pragma GCC unroll 8
      for (int w = 0; w < kWidth; w++)
        if (i >= w && (i - w) % kStride == 0 && (i - w) / kStride < 16)
          acc[(i - w) / kStride] = _mm512_dpbusd_epi32(acc[(i - w) / kStride], column, weight[w]);
    }
  } else {
    const int64_t pitch = parts * 256, step = c.stride_w * pitch, taps = c.kernel_w * parts;
    for (int64_t w = 0, part = 0; w < taps; w++, weights += 256) {
      const __m512i weight = _mm512_loadu_si512(weights);
      const uint8_t* column = columns + part * 256;
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++, column += step) acc[i] = _mm512_dpbusd_epi32(acc[i], _mm512_load_si512(column), weight);
      if (++part == parts) part = 0, columns += c.dilation_w * pitch;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) _mm512_storeu_si512(sums + 16 * i, acc[i]);
}

template <int kWidth, int kStride>
void sums_of(const DepthwiseCall& c, int64_t parts) {
  for (int64_t i = 0; i < 4; i++) sixteen_sums<kWidth, kStride>(c, c.columns + 64 * i, parts, c.weights + 64 * i, c.sums + i * kGroupSums);
}

}  // namespace

void depthwise_codes(const DepthwiseCall& c) noexcept {
  const int64_t parts = (c.kernel_h + 3) / 4;
  for (int64_t part = 0; part < parts; part++) {
    switch (c.kernel_h - 4 * part) {
      case 1: interleave_columns<1>(c, part, parts); break;
      case 2: interleave_columns<2>(c, part, parts); break;
      case 3: interleave_columns<3>(c, part, parts); break;
      default: interleave_columns<4>(c, part, parts);
    }
  }
  const bool three = parts == 1 && c.kernel_w == 3 && c.dilation_w == 1;
  if (three && c.stride_w == 1) return sums_of<3, 1>(c, parts);
  if (three && c.stride_w == 2) return sums_of<3, 2>(c, parts);
  sums_of<0, 0>(c, parts);
}

}  // namespace lacuna::kernels::avx512_vnni
