// What the attention kernels of 512-bit registers share. Included inside an unnamed namespace of an ISA folder.

// 16 x 16 dwords: row i of out, `stride` bytes from one to the next and aligned, is dwords i of all rows.
void transpose_dwords(const __m512i (&rows)[16], uint8_t* out, int64_t stride) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 4) {
    __m512i a = _mm512_unpacklo_epi32(rows[i], rows[i + 1]), b = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    __m512i c = _mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]), d = _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]);
    t[i] = _mm512_unpacklo_epi64(a, c), t[i + 1] = _mm512_unpackhi_epi64(a, c);
    t[i + 2] = _mm512_unpacklo_epi64(b, d), t[i + 3] = _mm512_unpackhi_epi64(b, d);
  }
  for (int i = 0; i < 4; i++) {
    __m512i a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
    __m512i c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88), d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);
    _mm512_store_si512(out + i * stride, _mm512_shuffle_i32x4(a, c, 0x88));
    _mm512_store_si512(out + (i + 8) * stride, _mm512_shuffle_i32x4(a, c, 0xdd));
    _mm512_store_si512(out + (i + 4) * stride, _mm512_shuffle_i32x4(b, d, 0x88));
    _mm512_store_si512(out + (i + 12) * stride, _mm512_shuffle_i32x4(b, d, 0xdd));
  }
}

// e^x for x at most 0: 2^y as a polynomial of degree 4, within 7e-6 of itself.
__m512 coarse_exp(__m512 x) {
  __m512 y = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
  __m512 n = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), r = _mm512_sub_ps(y, n);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(9.65671e-3f), r, _mm512_set1_ps(5.583828e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.402253e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.9313673e-1f));
  return _mm512_scalef_ps(_mm512_fmadd_ps(p, r, _mm512_set1_ps(1)), n);
}
