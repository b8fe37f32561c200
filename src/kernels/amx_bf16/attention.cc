// Attention whose two products run on AMX: scores = Q K^T and P V, of bf16 parts.
#include <immintrin.h>

#include "kernels/inner/transformer.h"

namespace lacuna::kernels::amx_bf16 {
namespace {

#include "kernels/inner/attention512.inl"
#include "kernels/inner/bf16_parts.inl"
#include "kernels/inner/vec512.inl"
// After the vector.
#include "kernels/inner/activations.inl"

constexpr int64_t kTile = 1024;  // bytes; 16 rows of 32 columns
constexpr int64_t kBlock = 32;   // rows and columns of a block of sums, and columns of a chunk

int64_t blocks_of(int64_t n) { return (n + kBlock - 1) / kBlock; }

__m512 load_first(const float* x, int64_t n) {
  return n <= 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1), x);
}

// 32 floats of a row, n of them there, times `scale`, to the parts of a row of a left tile.
template <int P>
void left_row(const float* x, int64_t n, __m512 scale, uint8_t* tile) {
  Parts<P> parts(_mm512_mul_ps(load_first(x, n), scale), _mm512_mul_ps(load_first(x + 16, n - 16), scale));
  for (int p = 0; p < P; p++) _mm512_store_si512(tile + p * kTile, parts.part[p]);
}

// Right tiles of 16 keys of 32 columns, `count` and `columns` of them there; those beyond are zero.
template <int P>
void key_tile(const float* k, int64_t stride, int64_t count, int64_t columns, uint8_t* tile) {
  __m512i rows[P][16];
  for (int64_t i = 0; i < 16; i++) {
    const float* key = k + i * stride;
    int64_t n = i < count ? columns : 0;
    Parts<P> parts(load_first(key, n), load_first(key + 16, n - 16));
    for (int p = 0; p < P; p++) rows[p][i] = parts.part[p];
  }
  for (int p = 0; p < P; p++) transpose_dwords(rows[p], tile + p * kTile, 64);
}

// Right tiles of 32 values of 16 columns.
template <int P>
void value_tile(const float* v, int64_t stride, int64_t count, int64_t columns, uint8_t* tile) {
  for (int64_t i = 0; i < 16; i++) {
    Parts<P> parts(load_first(v + i * stride, i < count ? columns : 0), load_first(v + (i + 16) * stride, i + 16 < count ? columns : 0));
    for (int p = 0; p < P; p++) _mm512_store_si512(tile + p * kTile + i * 64, parts.part[p]);
  }
}

// e^(x - shift), x at most shift or what masks hide.
template <int P>
__m512 exp_below(__m512 x, __m512 shift) {
  __m512 below = _mm512_sub_ps(x, shift);
  return P > 2 ? exp_of({below}).v : coarse_exp(below);
}

// What a query sees of the keys of a tile, its scores, and the additive mask of them.
struct Row {
  const float *scores, *mask;
  int64_t begin, end;
  __mmask16 visible(int64_t key) const {
    auto below = [&](int64_t n) { return n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1; };
    return __mmask16(below(end - key) & ~below(begin - key));
  }
  // Scores of 16 keys; minus infinity where the row does not see them.
  __m512 load(int64_t key) const {
    if (begin <= key && key + 16 <= end) [[likely]] {
      __m512 v = _mm512_loadu_ps(scores + key);
      return mask ? _mm512_add_ps(v, _mm512_loadu_ps(mask + key)) : v;
    }
    __mmask16 lanes = visible(key);
    __m512 v = _mm512_mask_loadu_ps(_mm512_set1_ps(-__builtin_inff()), lanes, scores + key);
    return mask ? _mm512_mask_add_ps(v, lanes, v, _mm512_maskz_loadu_ps(lanes, mask + key)) : v;
  }
};

// e to the scores of R rows less the largest of each, to the parts of rows of left tiles, `chunks` of 32 keys; in factors 1 / their sum, or 0 where
// there is none. Several rows at once, as each waits for its largest and for its sum.
template <int P, int R>
void weigh_rows(const Row (&rows)[R], int64_t chunks, uint8_t* const (&tiles)[R], float* factors) {
  const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
  __m512 top[R], sum[R], shift[R];
  for (int i = 0; i < R; i++) top[i] = lowest, sum[i] = _mm512_setzero_ps();
  for (int64_t c = 0; c < 2 * chunks; c++)
    for (int i = 0; i < R; i++) top[i] = _mm512_max_ps(top[i], rows[i].load(16 * c));
  for (int i = 0; i < R; i++) {
    float most = _mm512_reduce_max_ps(top[i]);
    shift[i] = _mm512_set1_ps(most == -__builtin_inff() ? 0 : most);
  }
  for (int64_t c = 0; c < chunks; c++)
    for (int i = 0; i < R; i++) {
      __m512 e[2];
      for (int h = 0; h < 2; h++) {
        __m512 v = rows[i].load(32 * c + 16 * h);
        e[h] = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, lowest, _CMP_NEQ_UQ), exp_below<P>(v, shift[i]));
        sum[i] = _mm512_add_ps(sum[i], e[h]);
      }
      Parts<P> parts(e[0], e[1]);
      for (int p = 0; p < P; p++) _mm512_store_si512(tiles[i] + (c * P + p) * kTile, parts.part[p]);
    }
  for (int i = 0; i < R; i++) {
    float total = _mm512_reduce_add_ps(sum[i]);
    factors[i] = total == 0 ? 0 : 1 / total;
  }
}

uint8_t* aligned(float* scratch) { return reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(scratch) + 63) / 64 * 64); }

template <int P>
void tile_of_parts(const AttentionTile& t) {
  int64_t rows = t.heads * t.rows, row_blocks = blocks_of(rows), chunks = blocks_of(t.dim), value_blocks = blocks_of(t.value_dim);
  int64_t last_key = t.causal && t.first_position + t.rows < t.keys ? t.first_position + t.rows : t.keys;
  int64_t first_key = t.window > 0 && t.first_position - t.window + 1 > 0 ? (t.first_position - t.window + 1) / kBlock * kBlock : 0;
  int64_t key_blocks = last_key > first_key ? blocks_of(last_key - first_key) : 0, padded = key_blocks * kBlock;
  // Left and right operands, first of the scores, then of the sum of values; then the sums.
  int64_t left_chunks = chunks > key_blocks ? chunks : key_blocks;
  uint8_t* left = aligned(t.scratch);
  uint8_t* right = left + row_blocks * 2 * left_chunks * P * kTile;
  float* scores = reinterpret_cast<float*>(right + 2 * left_chunks * P * kTile);
  int64_t value_stride = value_blocks * kBlock;
  float* results = scores + row_blocks * kBlock * padded;
  float* factors = results + row_blocks * kBlock * value_stride;
  // Tile i of 16 rows, chunk c, part p is at ((i * chunks + c) * P + p) * kTile.
  auto left_of = [&](int64_t block, int64_t n) {
    const uint8_t* first = left + 2 * block * n * P * kTile;
    return TilePair{first, first + n * P * kTile, 64, kTile, P * kTile, nullptr};
  };
  auto right_of = [&](int64_t n) { return TilePair{right, right + n * P * kTile, 64, kTile, P * kTile, nullptr}; };

  __m512 scale = _mm512_set1_ps(t.scale);
  for (int64_t r = 0; r < row_blocks * kBlock; r++) {
    const float* q = t.q + r / t.rows * t.q_head_stride + r % t.rows * t.q_stride;
    for (int64_t c = 0; c < chunks; c++)
      left_row<P>(q + c * kBlock, r < rows ? t.dim - c * kBlock : 0, scale, left + ((r / 16 * chunks + c) * P) * kTile + r % 16 * 64);
  }
  _tile_loadconfig(&kTileConfig);
  for (int64_t b = 0; b < key_blocks; b++) {
    int64_t key = first_key + b * kBlock;
    for (int64_t i = 0; i < 2; i++)
      for (int64_t c = 0; c < chunks; c++)
        key_tile<P>(t.k + (key + 16 * i) * t.k_stride + c * kBlock, t.k_stride, last_key - key - 16 * i, t.dim - c * kBlock,
                    right + (i * chunks + c) * P * kTile);
    for (int64_t r = 0; r < row_blocks; r++)
      multiply_block<P, P, 2>(left_of(r, chunks), right_of(chunks), chunks, scores + r * kBlock * padded + b * kBlock, padded, false, [] {});
  }
  auto row_of = [&](int64_t r) {
    float* row = scores + r * padded;
    if (r >= rows) return Row{row, nullptr, 0, 0};
    int64_t position = t.first_position + r % t.rows;
    int64_t end = (t.causal && position + 1 < last_key ? position + 1 : last_key) - first_key;
    int64_t begin = t.window > 0 && position - t.window + 1 > first_key ? position - t.window + 1 - first_key : 0;
    if (t.softcap > 0 && end > begin) {
      for (int64_t j = begin; j < end; j++) row[j] /= t.softcap;
      avx512::activate_array(row + begin, end - begin, 6, 0, 0, row + begin);
      for (int64_t j = begin; j < end; j++) row[j] *= t.softcap;
    }
    return Row{row, t.mask ? t.mask + r / t.rows * t.mask_head_stride + r % t.rows * t.mask_stride + first_key : nullptr, begin, end};
  };
  auto tile_of = [&](int64_t r) { return left + r / 16 * key_blocks * P * kTile + r % 16 * 64; };
  for (int64_t r = 0; r < row_blocks * kBlock; r += 4)
    weigh_rows<P, 4>({row_of(r), row_of(r + 1), row_of(r + 2), row_of(r + 3)}, key_blocks,
                     {tile_of(r), tile_of(r + 1), tile_of(r + 2), tile_of(r + 3)}, factors + r);
  for (int64_t b = 0; b < value_blocks; b++) {
    for (int64_t i = 0; i < 2; i++)
      for (int64_t c = 0; c < key_blocks; c++) {
        int64_t key = first_key + c * kBlock, column = b * kBlock + i * 16;
        value_tile<P>(t.v + key * t.v_stride + column, t.v_stride, last_key - key, t.value_dim - column, right + (i * key_blocks + c) * P * kTile);
      }
    for (int64_t r = 0; r < row_blocks; r++)
      multiply_block<P, P, 2>(left_of(r, key_blocks), right_of(key_blocks), key_blocks, results + r * kBlock * value_stride + b * kBlock,
                              value_stride, false, [] {});
  }
  _tile_release();
  for (int64_t r = 0; r < rows; r++) {
    float* out = t.out + r / t.rows * t.out_head_stride + r % t.rows * t.out_stride;
    for (int64_t c = 0; c < t.value_dim; c++) out[c] = results[r * value_stride + c] * factors[r];
  }
}

}  // namespace

void attention_tile(const AttentionTile& tile, int parts) noexcept { parts == 2 ? tile_of_parts<2>(tile) : tile_of_parts<3>(tile); }

}  // namespace lacuna::kernels::amx_bf16
