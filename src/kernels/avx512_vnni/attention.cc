// Attention whose operands and weights are codes of eight bits: scores = Q K^T and P V as sums of products of bytes.
//
// vpdpbusd multiplies unsigned by signed bytes, four to a lane. Lanes are keys, then columns of values: their codes are the unsigned side (signed
// ones plus 128), packed once a tile; four codes of a query, or four of its weights, are broadcast as the signed side. With zero points,
//   sum (u - zu) (s - zs) = sum u s - zu sum s - zs sum u + n zu zs,
// the sums of u by lane, those of s by row; lanes and columns that are only filled up hold 0 on both sides. Four queries at a time go the whole way,
// so that their scores stay in the first cache.
#include <immintrin.h>

#include <utility>

#include "kernels/inner/transformer.h"

namespace lacuna::kernels::avx512_vnni {
namespace {

#include "kernels/inner/attention512.inl"
#include "kernels/inner/vec512.inl"

using Four [[gnu::may_alias]] = int32_t;

constexpr int64_t kBlock = 64;

int64_t padded(int64_t n) { return (n + kBlock - 1) / kBlock * kBlock; }
__mmask16 lanes_below(int64_t n) { return n >= 16 ? __mmask16(0xffff) : n <= 0 ? __mmask16(0) : __mmask16((1u << n) - 1); }
__mmask64 bytes_below(int64_t n) { return n >= 64 ? ~__mmask64(0) : (__mmask64(1) << n) - 1; }
__m512i ones() { return _mm512_set1_epi8(1); }

// acc += sums of four products of bytes, unsigned times signed. Written out because gcc 12 copies the accumulator before the intrinsic.
[[gnu::always_inline]] inline void dot(__m512i& acc, __m512i u, __m512i s) { __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u), "v"(s)); }

// Codes of up to 64 floats, signed, those beyond n of any value. In 128-bit lanes: dword i of lane j is columns 16 i + 4 j to 16 i + 4 j + 3.
// v * inverse rounds like v / scale but beside a tie. NaN becomes the lowest code.
[[gnu::always_inline]] inline __m512i codes_by_lanes(const CodedAttentionTile::Operand& o, const float* x, int64_t n) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  __m512 v[4], code[4], off = _mm512_setzero_ps();
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    v[i] = _mm512_maskz_loadu_ps(lanes_below(n - 16 * i), x + 16 * i);
    if (o.factor != 1) v[i] = _mm512_mul_ps(v[i], _mm512_set1_ps(o.factor));
    __m512 q = _mm512_mul_ps(v[i], _mm512_set1_ps(o.rule.inverse));
    code[i] = _mm512_roundscale_ps(q, kNearest);
    off = _mm512_max_ps(_mm512_abs_ps(_mm512_sub_ps(q, code[i])), off);  // which stays where the first is NaN
  }
  if (_mm512_cmp_ps_mask(off, _mm512_set1_ps(0.4999f), _CMP_GT_OQ)) [[unlikely]]
    for (int i = 0; i < 4; i++) code[i] = _mm512_roundscale_ps(_mm512_div_ps(v[i], _mm512_set1_ps(o.rule.scale)), kNearest);
  const __m512 low = _mm512_set1_ps(o.rule.low), high = _mm512_set1_ps(o.rule.high);
  __m512i whole[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++)
    whole[i] = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(code[i], low), high)), _mm512_set1_epi32(o.rule.zero));
  return _mm512_packs_epi16(_mm512_packs_epi32(whole[0], whole[1]), _mm512_packs_epi32(whole[2], whole[3]));
}
// Of columns in their order.
__m512i codes(const CodedAttentionTile::Operand& o, const float* x, int64_t n) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_maskz_mov_epi8(bytes_below(n), _mm512_permutexvar_epi32(order, codes_by_lanes(o, x, n)));
}
__m512i unsigned_codes(__m512i codes, __mmask64 present) { return _mm512_maskz_mov_epi8(present, _mm512_xor_si512(codes, _mm512_set1_epi8(-128))); }

// What one of the products reads: panels of 64 lanes, [lanes / 64][depth / 4][64][4], and of each lane the sum of its codes.
struct Panels {
  uint8_t* bytes;
  int32_t* sums;
  int64_t depth;  // rounded up to 4
  uint8_t* at(int64_t lane, int64_t k) const { return bytes + lane / kBlock * kBlock * depth + k * kBlock + lane % kBlock * 4; }
};

void pack_keys(const CodedAttentionTile& t, const Panels& to) {
  for (int64_t first = 0; first < padded(t.keys); first += 16) {
    __m512i sums = _mm512_setzero_si512();
    for (int64_t d = 0; d < to.depth; d += kBlock) {
      __m512i rows[16];
      alignas(64) uint8_t turned[16 * 64];
      for (int64_t i = 0; i < 16; i++) {
        int64_t n = first + i < t.keys ? t.dim - d : 0;
        rows[i] = n <= 0 ? _mm512_setzero_si512() : unsigned_codes(codes(t.k, t.k.x + (first + i) * t.k.stride + d, n), bytes_below(n));
      }
      transpose_dwords(rows, turned, 64);
      for (int64_t i = 0; i < 16 && d + 4 * i < to.depth; i++) {
        __m512i dwords = _mm512_load_si512(turned + 64 * i);
        _mm512_store_si512(to.at(first, d + 4 * i), dwords);
        dot(sums, dwords, ones());
      }
    }
    _mm512_store_si512(to.sums + first, sums);
  }
}

// An operand whose lanes follow each other: [depth, lanes].
void pack_lanes(const CodedAttentionTile::Operand& o, int64_t lanes, int64_t depth, const Panels& to) {
  for (int64_t c = 0; c < padded(lanes); c += kBlock) {
    __mmask64 present = 0;  // of a row as codes_by_lanes leaves it
    for (int b = 0; b < 64; b++) present |= __mmask64(b % 16 / 4 * 16 + b / 16 * 4 + b % 4 < lanes - c) << b;
    __m512i sums[4] = {};
    for (int64_t k = 0; k < to.depth; k += 4) {
      __m512i row[4];
      for (int64_t i = 0; i < 4; i++)
        row[i] = k + i < depth ? unsigned_codes(codes_by_lanes(o, o.x + (k + i) * o.stride + c, lanes - c), present) : _mm512_setzero_si512();
      __m512i ab[2] = {_mm512_unpacklo_epi8(row[0], row[1]), _mm512_unpackhi_epi8(row[0], row[1])};
      __m512i cd[2] = {_mm512_unpacklo_epi8(row[2], row[3]), _mm512_unpackhi_epi8(row[2], row[3])};
      for (int i = 0; i < 4; i++) {
        __m512i four = i % 2 ? _mm512_unpackhi_epi16(ab[i / 2], cd[i / 2]) : _mm512_unpacklo_epi16(ab[i / 2], cd[i / 2]);
        _mm512_store_si512(to.at(c + 16 * i, k), four);
        dot(sums[i], four, ones());
      }
    }
    for (int i = 0; i < 4; i++) _mm512_store_si512(to.sums + c + 16 * i, sums[i]);
  }
}

// out[r][64 lanes] = sum over the depth of panel times `left` [R][left_stride], less what zero points add.
template <int R, class Use>
[[gnu::always_inline]] inline void multiply(const Panels& p, int64_t lane, const int8_t* left, int64_t left_stride, int64_t zero_left,
                                            int64_t zero_panel, int64_t depth, Use&& use) {
  __m512i acc[R][4] = {};
  const uint8_t* panel = p.at(lane, 0);
  for (int64_t k = 0; k < p.depth; k += 4, panel += 4 * kBlock) {
    __m512i right[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) right[i] = _mm512_load_si512(panel + 64 * i);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      __m512i four = _mm512_set1_epi32(*reinterpret_cast<const Four*>(left + r * left_stride + k));
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) dot(acc[r][i], right[i], four);
    }
  }
  __m512i by_lane[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) by_lane[i] = _mm512_mullo_epi32(_mm512_load_si512(p.sums + lane + 16 * i), _mm512_set1_epi32(int32_t(-zero_left)));
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) {
    __m512i sum = _mm512_setzero_si512();
    for (int64_t k = 0; k < p.depth; k += kBlock) dot(sum, ones(), _mm512_maskz_loadu_epi8(bytes_below(p.depth - k), left + r * left_stride + k));
    __m512i by_row = _mm512_set1_epi32(int32_t(depth * zero_left * zero_panel - zero_panel * _mm512_reduce_add_epi32(sum)));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) use(r, i, Vec{_mm512_cvtepi32_ps(_mm512_add_epi32(acc[r][i], _mm512_add_epi32(by_lane[i], by_row)))});
  }
}

// v, a sum times `factor`, as its rounding leaves it: factor / scale in one, as sums of floats have no exact ties to keep.
struct SumRounding {
  SumRounding(const CodeRule& r, float factor)
      : to_code(Vec::set1(r.scale > 0 ? factor / r.scale : factor)),
        low(Vec::set1(r.scale > 0 ? r.low : -__builtin_inff())),
        high(Vec::set1(r.scale > 0 ? r.high : __builtin_inff())),
        scale(Vec::set1(r.scale > 0 ? r.scale : 1)),
        rounds(r.scale > 0) {}
  Vec operator()(Vec v) const {
    v = Vec::mul(v, to_code);
    return rounds ? Vec::mul(Vec::round(Vec::min(Vec::max(v, low), high)), scale) : v;
  }
  Vec to_code, low, high, scale;
  bool rounds;
};

// Scores [keys] to codes of their softmax, up to `depth` of them; beyond the last key zero.
void weigh_row(const float* scores, int64_t keys, int64_t depth, const CodeRule& rule, float* e, int8_t* weights) {
  const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
  auto load = [&](int64_t j) { return _mm512_mask_loadu_ps(lowest, lanes_below(keys - j), scores + j); };
  __m512 top = lowest;
  for (int64_t j = 0; j < keys; j += 16) top = _mm512_max_ps(top, load(j));
  float most = _mm512_reduce_max_ps(top);
  Vec shift = Vec::set1(most == -__builtin_inff() ? 0 : most), sum = Vec::zero();
  for (int64_t j = 0; j < keys; j += 16) {
    __m512 x = load(j);
    Vec v{_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, lowest, _CMP_NEQ_UQ), coarse_exp(_mm512_sub_ps(x, shift.v)))};
    Vec::store(e + j, v);
    sum = Vec::add(sum, v);
  }
  float total = Vec::sum(sum);
  Vec factor = Vec::set1((total == 0 ? 0 : 1 / total) * rule.inverse), low = Vec::set1(rule.low), high = Vec::set1(rule.high);
  const __m512i zero = _mm512_set1_epi32(rule.zero);
  for (int64_t j = 0; j < depth; j += 16) {
    __m512i code = _mm512_add_epi32(_mm512_cvtps_epi32(Vec::min(Vec::max(Vec::mul(Vec::load(e + j), factor), low), high).v), zero);
    _mm_store_si128(reinterpret_cast<__m128i*>(weights + j), _mm512_cvtepi32_epi8(_mm512_maskz_mov_epi32(lanes_below(keys - j), code)));
  }
}

template <int R>
void rows_of(const CodedAttentionTile& t, int64_t first, const Panels& keys, const Panels& values, float* scores, int8_t* left) {
  int64_t dims = padded(t.dim), width = padded(t.keys);
  for (int64_t r = 0; r < R; r++)
    for (int64_t d = 0; d < t.dim; d += kBlock) _mm512_store_si512(left + r * dims + d, codes(t.q, t.q.x + (first + r) * t.q.stride + d, t.dim - d));
  SumRounding product(t.product, t.q.rule.scale * t.k.rule.scale), scaled(t.scaled, t.scale), masked(t.masked, 1);
  for (int64_t j = 0; j < t.keys; j += kBlock)
    multiply<R>(keys, j, left, dims, t.q.rule.zero, t.k.rule.zero + 128, t.dim, [&](int r, int i, Vec v) {
      v = scaled(product(v));
      if (t.mask) v = Vec::add(v, {_mm512_maskz_loadu_ps(lanes_below(t.keys - j - 16 * i), t.mask + (first + r) * t.mask_stride + j + 16 * i)});
      if (masked.rounds) v = masked(v);
      Vec::store(scores + r * width + j + 16 * i, v);
    });
  int8_t* weights = left + R * dims;
  for (int64_t r = 0; r < R; r++) weigh_row(scores + r * width, t.keys, values.depth, t.weights, scores + r * width, weights + r * width);
  SumRounding result(t.result, t.weights.scale * t.v.rule.scale);
  for (int64_t c = 0; c < t.value_dim; c += kBlock)
    multiply<R>(values, c, weights, width, t.weights.zero, t.v.rule.zero + 128, t.keys, [&](int r, int i, Vec v) {
      _mm512_mask_storeu_ps(t.out + (first + r) * t.out_stride + c + 16 * i, lanes_below(t.value_dim - c - 16 * i), result(v).v);
    });
}

}  // namespace

void coded_attention_tile(const CodedAttentionTile& t) noexcept {
  auto whole = [](int64_t n) { return (n + 3) / 4 * 4; };
  uint8_t* next = t.scratch;
  auto take = [&](int64_t bytes) { return std::exchange(next, next + bytes); };
  Panels keys{take(padded(t.keys) * padded(t.dim)), reinterpret_cast<int32_t*>(take(4 * padded(t.keys))), whole(t.dim)};
  Panels values{take(padded(t.value_dim) * padded(t.keys)), reinterpret_cast<int32_t*>(take(4 * padded(t.value_dim))), whole(t.keys)};
  float* scores = reinterpret_cast<float*>(take(4 * kCodedRows * padded(t.keys)));
  int8_t* left = reinterpret_cast<int8_t*>(next);
  t.keys_contiguous ? pack_lanes(t.k, t.keys, t.dim, keys) : pack_keys(t, keys);
  pack_lanes(t.v, t.value_dim, t.keys, values);
  int64_t r = 0;
  for (; r + kCodedRows <= t.rows; r += kCodedRows) rows_of<kCodedRows>(t, r, keys, values, scores, left);
  for (; r < t.rows; r++) rows_of<1>(t, r, keys, values, scores, left);
}

}  // namespace lacuna::kernels::avx512_vnni
