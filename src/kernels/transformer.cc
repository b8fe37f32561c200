#include "kernels/transformer.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/inner/transformer.h"
#include "kernels/integer/amx_weight.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

// The functions of the best ISA that may be used.
#define LACUNA_CALL(function, ...) \
  (cpu_features().avx512 ? avx512::function(__VA_ARGS__) : cpu_features().avx2 ? avx2::function(__VA_ARGS__) : reference::function(__VA_ARGS__))

// Enough for a balanced load on a few threads.
constexpr int64_t kManyTiles = 16;

// Queries per tile: each tile turns the keys into panels anew, so many, as long as their scores stay in L2 and all threads have work.
int64_t query_tile(const AttentionProblem& p, int64_t most, int64_t many) {
  constexpr int64_t kFewest = 16, kMostScores = 128 << 10;
  int64_t tile = most;
  while (tile > kFewest && (tile * p.keys > kMostScores || p.batch * p.heads * ((p.queries + tile - 1) / tile) < many)) tile /= 2;
  return tile;
}

// bf16 parts of a float where tiles multiply them, else 0. With fewer queries turning keys and values into tiles would take longer.
int tile_parts(const AttentionProblem& p) {
  constexpr int64_t kFewestQueries = 32;
  bool tiles = p.queries >= kFewestQueries && !lacks(cpu_features(), "amx_bf16") && amx_granted();
  return !tiles ? 0 : p.coarse ? 2 : 3;
}

// Tiles of at least this many elements are worth a thread.
constexpr int64_t kElementTile = 16384;

void for_row_tiles(int64_t rows, int64_t n, const auto& body) {
  int64_t per_tile = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, n)), threads = thread_count();
  int64_t tiles = (rows + per_tile - 1) / per_tile;
  if (tiles > threads) tiles = (tiles + threads - 1) / threads * threads;  // as many for one thread as for another
  parallel_for(tiles, [&](int64_t tile) {
    for (int64_t r = rows * tile / tiles; r < rows * (tile + 1) / tiles; r++) body(r);
  });
}

// After a product, which divides its columns among the threads, part of each row lies in another core's cache: its lines are on their way while the
// row before is worked on (two threads, 128 rows of 768 floats: 27 to 22 us).
void fetch_row(const float* x, int64_t row, int64_t rows, int64_t n) {
  constexpr int64_t kMost = 1024, kLine = 16;
  if (row >= rows) return;
  for (int64_t i = 0; i < std::min(n, kMost); i += kLine) __builtin_prefetch(x + row * n + i);
}

void for_element_tiles(int64_t n, const auto& body) {
  parallel_for((n + kElementTile - 1) / kElementTile,
               [&](int64_t tile) { body(tile * kElementTile, std::min(kElementTile, n - tile * kElementTile)); });
}

}  // namespace

void attention(const AttentionProblem& p, const float* q, Strides q_strides, const float* k, Strides k_strides, const float* v, Strides v_strides,
               const float* mask, Strides mask_strides, float* out, Strides out_strides) {
  int parts = tile_parts(p);
  int64_t tile_queries = parts ? query_tile(p, 128, 8) : query_tile(p, 64, kManyTiles), group = p.heads / p.kv_heads,
          query_tiles = (p.queries + tile_queries - 1) / tile_queries;
  // Heads that share their keys share a tile, where that leaves tiles enough for all threads.
  int64_t shared = p.batch * p.kv_heads * query_tiles >= kManyTiles ? group : 1, head_tiles = p.heads / shared;
  parallel_for(p.batch * head_tiles * query_tiles, [&](int64_t index) {
    int64_t b = index / (head_tiles * query_tiles), h = index / query_tiles % head_tiles * shared, first = index % query_tiles * tile_queries;
    int64_t rows = std::min(tile_queries, p.queries - first);
    thread_local std::vector<float> scratch;
    size_t floats = size_t(parts ? attention_parts_scratch_floats(shared * rows, p.keys, p.dim, p.value_dim, parts)
                                 : attention_scratch_floats(shared * rows, p.keys, p.dim, p.value_dim));
    if (scratch.size() < floats) scratch.resize(floats);
    AttentionTile tile{.q = q + b * q_strides.batch + h * q_strides.head + first * q_strides.row,
                       .q_head_stride = q_strides.head,
                       .q_stride = q_strides.row,
                       .k = k + b * k_strides.batch + h / group * k_strides.head,
                       .v = v + b * v_strides.batch + h / group * v_strides.head,
                       .k_stride = k_strides.row,
                       .v_stride = v_strides.row,
                       .mask = mask ? mask + b * mask_strides.batch + h * mask_strides.head + first * mask_strides.row : nullptr,
                       .mask_head_stride = mask_strides.head,
                       .mask_stride = mask_strides.row,
                       .out = out + b * out_strides.batch + h * out_strides.head + first * out_strides.row,
                       .out_head_stride = out_strides.head,
                       .out_stride = out_strides.row,
                       .heads = shared,
                       .rows = rows,
                       .keys = p.keys,
                       .dim = p.dim,
                       .value_dim = p.value_dim,
                       .first_position = p.first_position + first,
                       .causal = p.causal,
                       .window = p.window,
                       .scale = p.scale,
                       .softcap = p.softcap,
                       .scratch = scratch.data()};
    if (parts)
      amx_bf16::attention_tile(tile, parts);
    else
      LACUNA_CALL(attention_tile, tile);
  });
}

bool takes_codes(const CodedAttentionProblem& p) {
  constexpr int64_t kMostScratch = 16 << 20;
  return !lacks(cpu_features(), "avx512_vnni") && p.queries > 0 && p.keys > 0 && p.dim > 0 && p.value_dim > 0 &&
         std::max({p.keys, p.dim, p.value_dim}) <= kMostCodedKeys && coded_attention_scratch_bytes(p.keys, p.dim, p.value_dim) <= kMostScratch;
}

void coded_attention(const CodedAttentionProblem& p, const float* q, const float* k, const float* v, const float* mask, Strides mask_strides,
                     float* out, Strides out_strides) {
  // Each tile codes the keys and values anew.
  constexpr int64_t kMostQueries = 256, kFewestTiles = 8;
  int64_t tiles = (p.queries + kMostQueries - 1) / kMostQueries;
  while (p.batch * p.heads * tiles < kFewestTiles && p.queries / tiles >= 64) tiles *= 2;
  auto rule = [](const Rounding& r) { return r.scale > 0 ? static_rule(r.scale, r.zero) : CodeRule{}; };
  const CodeRule of_q = rule(p.q.rounding), of_k = rule(p.k.rounding), of_v = rule(p.v.rounding);
  parallel_for(p.batch * p.heads * tiles, [&](int64_t index) {
    int64_t b = index / (p.heads * tiles), h = index / tiles % p.heads, tile = index % tiles;
    int64_t first = p.queries * tile / tiles, last = p.queries * (tile + 1) / tiles;
    auto operand = [&](const float* x, const CodedAttentionProblem::Operand& o, const CodeRule& of, int64_t row) {
      return CodedAttentionTile::Operand{x + b * o.strides.batch + h * o.strides.head + row * o.strides.row, o.strides.row, o.factor, of};
    };
    avx512_vnni::coded_attention_tile(
        {.q = operand(q, p.q, of_q, first),
         .k = operand(k, p.k, of_k, 0),
         .v = operand(v, p.v, of_v, 0),
         .mask = mask ? mask + b * mask_strides.batch + h * mask_strides.head + first * mask_strides.row : nullptr,
         .mask_stride = mask_strides.row,
         .out = out + b * out_strides.batch + h * out_strides.head + first * out_strides.row,
         .out_stride = out_strides.row,
         .rows = last - first,
         .keys = p.keys,
         .dim = p.dim,
         .value_dim = p.value_dim,
         .keys_contiguous = p.keys_contiguous,
         .scale = p.scale,
         .product = rule(p.product),
         .scaled = rule(p.scaled),
         .masked = rule(p.masked),
         .weights = rule(p.weights),
         .result = rule(p.result),
         .scratch = thread_scratch_of<uint8_t>(ScratchSlot::kTile, coded_attention_scratch_bytes(p.keys, p.dim, p.value_dim))});
  });
}

void softmax_rows(const float* x, int64_t rows, int64_t n, float* y) {
  for_row_tiles(rows, n, [&](int64_t r) { LACUNA_CALL(softmax_row, x + r * n, n, y + r * n); });
}

void layer_norm_rows(const float* x, int64_t rows, int64_t n, const float* scale, const float* bias, float epsilon, float* y, const AfterRow& after) {
  for_row_tiles(rows, n, [&](int64_t r) {
    fetch_row(x, r + 1, rows, n);
    LACUNA_CALL(layer_norm_row, x + r * n, n, scale, bias, epsilon, y + r * n);
    if (after) after(r, y + r * n);
  });
}

void rms_norm_rows(const float* x, int64_t rows, int64_t n, const float* scale, float scale_offset, float epsilon, float* y, const AfterRow& after) {
  for_row_tiles(rows, n, [&](int64_t r) {
    fetch_row(x, r + 1, rows, n);
    LACUNA_CALL(rms_norm_row, x + r * n, n, scale, scale_offset, epsilon, y + r * n);
    if (after) after(r, y + r * n);
  });
}

void activate_array(const float* x, int64_t n, Activation activation, float alpha, float beta, float* y) {
  for_element_tiles(
      n, [&](int64_t first, int64_t count) { LACUNA_CALL(activate_array, x + first, count, uint8_t(activation), alpha, beta, y + first); });
}

void gated_array(const float* gate, const float* up, int64_t n, Activation activation, float* y) {
  for_element_tiles(n,
                    [&](int64_t first, int64_t count) { LACUNA_CALL(gated_array, gate + first, up + first, count, uint8_t(activation), y + first); });
}

namespace {

// rotate_head(token, in, to) for every head; what is not rotated is copied.
void rope(const float* x, int64_t x_stride, int64_t tokens, int64_t heads, int64_t head_dim, int64_t rotary, float* y, int64_t y_stride,
          const auto& rotate_head) {
  for_row_tiles(tokens, heads * head_dim, [&](int64_t t) {
    for (int64_t h = 0; h < heads; h++) {
      const float* in = x + t * x_stride + h * head_dim;
      float* to = y + t * y_stride + h * head_dim;
      rotate_head(t, in, to);
      if (in != to && head_dim > rotary) std::memcpy(to + rotary, in + rotary, size_t(head_dim - rotary) * sizeof(float));
    }
  });
}

}  // namespace

void rope_half(const float* x, int64_t x_stride, int64_t tokens, int64_t heads, int64_t head_dim, int64_t half, const float* cosine,
               const float* sine, float* y, int64_t y_stride) {
  rope(x, x_stride, tokens, heads, head_dim, 2 * half, y, y_stride,
       [&](int64_t t, const float* in, float* to) { LACUNA_CALL(rope_half_row, in, cosine + t * half, sine + t * half, half, to); });
}

void rope_pairs(const float* x, int64_t x_stride, int64_t tokens, int64_t heads, int64_t head_dim, int64_t half, const float* cosine,
                const float* sine, float* y, int64_t y_stride) {
  rope(x, x_stride, tokens, heads, head_dim, 2 * half, y, y_stride,
       [&](int64_t t, const float* in, float* to) { LACUNA_CALL(rope_pairs_row, in, cosine + t * 2 * half, sine + t * 2 * half, 2 * half, to); });
}

}  // namespace lacuna::kernels
