// Products of floats on AMX: each float is a sum of bf16 parts, x0 = x rounded, x1 = x - x0 rounded, and so on, the last one cut off, and the
// products of parts i and j with i + j < P are added up in f32. Three parts hold all 24 bits, and what they leave out of a product is at most 2^-23
// of it; of two parts 2^-14. What is infinite, or above 3.39e38, gives NaN.
// Pairs of columns, as tiles want them, are columns n and n + 16 of 32: both operands agree on that.
// Included inside the namespace of an ISA folder, after <immintrin.h>.

#include "kernels/inner/tile_config.inl"

// The parts of 16 pairs (a, b); a single one is rounded to nearest even.
template <int P>
struct Parts {
  __m512i part[P];
  Parts(__m512 a, __m512 b) {
    if constexpr (P == 1) {
      auto words = [](__m512 v) { return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v))); };
      part[0] = _mm512_or_si512(words(a), _mm512_slli_epi32(words(b), 16));
      return;
    }
    const __m512i upper = _mm512_set1_epi32(int(0xffff0000));
    for (int i = 0; i < P; i++) {
      // The last part takes no carry, so that a NaN of all ones stays one.
      const __m512i half = _mm512_set1_epi32(i + 1 < P ? 0x8000 : 0);
      __m512i bits_a = _mm512_add_epi32(_mm512_castps_si512(a), half), bits_b = _mm512_add_epi32(_mm512_castps_si512(b), half);
      part[i] = _mm512_ternarylogic_epi32(_mm512_srli_epi32(bits_a, 16), bits_b, upper, 0xf8);  // (a >> 16) | (b & upper)
      a = _mm512_sub_ps(a, _mm512_castsi512_ps(_mm512_and_si512(bits_a, upper)));
      b = _mm512_sub_ps(b, _mm512_castsi512_ps(_mm512_and_si512(bits_b, upper)));
    }
  }
};

// Two operands of one kind, tiles of 16 rows of 64 bytes.
struct TilePair {
  const uint8_t *first, *second;
  int64_t row;                   // bytes from row to row
  int64_t part;                  // bytes from part to part
  int64_t chunk;                 // bytes from one 32 columns to the next, unless
  const int64_t* chunk_offsets;  // says where each begins
  int64_t at(int64_t c) const { return chunk_offsets ? chunk_offsets[c] : c * chunk; }
};

// out[Tiles * 16][2 * 16] = left [Tiles * 16][chunks * 32] times right [chunks * 32][2 * 16], or is added to; a right tile holds pairs of
// its rows, [16][16][2]. Products of parts i and j are made where i + j is below the larger number of parts.
// `between` is called once a chunk.
template <int L, int R, int Tiles>
static inline void multiply_block(const TilePair& left, const TilePair& right, int64_t chunks, float* out, int64_t out_stride, bool add,
                                  const auto& between) {
  int64_t out_bytes = out_stride * 4;
  if (add) {
    _tile_loadd(0, out, out_bytes);
    _tile_loadd(1, out + 16, out_bytes);
    if constexpr (Tiles > 1) _tile_loadd(2, out + 16 * out_stride, out_bytes);
    if constexpr (Tiles > 1) _tile_loadd(3, out + 16 * out_stride + 16, out_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t c = 0; c < chunks; c++) {
    const uint8_t *l0 = left.first + left.at(c), *l1 = left.second + left.at(c);
    const uint8_t *r0 = right.first + right.at(c), *r1 = right.second + right.at(c);
    // The left operand comes by and goes, the right one is to stay in the cache.
    auto load_left = [&](int64_t part) {
      _tile_stream_loadd(4, l0 + part * left.part, left.row);
      if constexpr (Tiles > 1) _tile_stream_loadd(5, l1 + part * left.part, left.row);
    };
    auto load_right = [&](int64_t part) {
      _tile_loadd(6, r0 + part * right.part, right.row);
      _tile_loadd(7, r1 + part * right.part, right.row);
    };
    auto products = [&] {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (Tiles > 1) _tile_dpbf16ps(2, 5, 6);
      if constexpr (Tiles > 1) _tile_dpbf16ps(3, 5, 7);
    };
    // In an order that keeps one operand where it can.
    load_left(0);
    if constexpr (R > 2) load_right(2), products();
    if constexpr (R > 1) load_right(1), products();
    between();
    load_right(0), products();
    if constexpr (L > 2) load_left(2), products();
    if constexpr (L > 1) load_left(1), products();
    if constexpr (L > 1 && R > 1 && (L > 2 || R > 2)) load_right(1), products();
  }
  _tile_stored(0, out, out_bytes);
  _tile_stored(1, out + 16, out_bytes);
  if constexpr (Tiles > 1) _tile_stored(2, out + 16 * out_stride, out_bytes);
  if constexpr (Tiles > 1) _tile_stored(3, out + 16 * out_stride + 16, out_bytes);
}
