// Depthwise int8 convolution: sixteen positions by 64 channels. The bytes of four taps are interleaved, first bytes then words, so that each lane
// holds four taps of a channel for one vpdpbusd; vpunpck works inside 128-bit lanes, so that sums are put in order at the end.
#include <immintrin.h>

#include "kernels/integer/pixels.h"

namespace lacuna::kernels::avx512_vnni {

void depthwise_codes(const DepthwiseCall& c) noexcept {
  const uint8_t* position = c.x;
  for (int64_t p = 0; p < 16; p++, position += c.x_stride) {
    __m512i acc[4] = {};
    const uint8_t* weights = c.weights;
    for (int64_t t = 0; t < c.taps; t += 4, weights += 256) {
      auto row = [&](int64_t i) { return _mm512_loadu_si512(position + c.offsets[t + i]); };
      __m512i a = row(0), b = row(1), d = row(2), e = row(3);
      __m512i low_ab = _mm512_unpacklo_epi8(a, b), high_ab = _mm512_unpackhi_epi8(a, b);
      __m512i low_de = _mm512_unpacklo_epi8(d, e), high_de = _mm512_unpackhi_epi8(d, e);
      __m512i x[4] = {_mm512_unpacklo_epi16(low_ab, low_de), _mm512_unpackhi_epi16(low_ab, low_de), _mm512_unpacklo_epi16(high_ab, high_de),
                      _mm512_unpackhi_epi16(high_ab, high_de)};
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) acc[i] = _mm512_dpbusd_epi32(acc[i], x[i], _mm512_loadu_si512(weights + 64 * i));
    }
    // Lane l of acc[i] is channels 16 l + 4 i to 16 l + 4 i + 3.
    __m512i first = _mm512_shuffle_i32x4(acc[0], acc[1], 0x44), second = _mm512_shuffle_i32x4(acc[0], acc[1], 0xee);
    __m512i third = _mm512_shuffle_i32x4(acc[2], acc[3], 0x44), fourth = _mm512_shuffle_i32x4(acc[2], acc[3], 0xee);
    int32_t* sums = c.sums + 16 * p;
    _mm512_storeu_si512(sums, _mm512_shuffle_i32x4(first, third, 0x88));
    _mm512_storeu_si512(sums + kGroupSums, _mm512_shuffle_i32x4(first, third, 0xdd));
    _mm512_storeu_si512(sums + 2 * kGroupSums, _mm512_shuffle_i32x4(second, fourth, 0x88));
    _mm512_storeu_si512(sums + 3 * kGroupSums, _mm512_shuffle_i32x4(second, fourth, 0xdd));
  }
}

}  // namespace lacuna::kernels::avx512_vnni
