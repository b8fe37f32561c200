// The vector halves of transformer.cc, one set per ISA: plain data for ISA folders.
#pragma once

#include <cstdint>

#include "kernels/inner/code_rule.h"

namespace lacuna::kernels {

// One tile of attention: `rows` queries of each of `heads` heads that share their keys and values. Strides in elements.
struct AttentionTile {
  const float* q;  // [heads, rows, dim]
  int64_t q_head_stride, q_stride;
  const float *k, *v;  // [keys, dim], [keys, value_dim]
  int64_t k_stride, v_stride;
  const float* mask;  // additive [heads, rows, keys], or nullptr
  int64_t mask_head_stride, mask_stride;
  float* out;  // [heads, rows, value_dim]
  int64_t out_head_stride, out_stride;
  int64_t heads, rows, keys, dim, value_dim;
  int64_t first_position;  // query i sees keys j with j <= first_position + i (causal) and j > first_position + i - window (window > 0)
  bool causal;
  int64_t window;
  float scale, softcap;
  float* scratch;  // attention_scratch_floats(), or attention_parts_scratch_floats()
};

// One tile of attention whose products are of codes: `rows` queries of one head. Strides in elements.
struct CodedAttentionTile {
  struct Operand {
    const float* x;
    int64_t stride;  // of rows
    float factor;    // of x, before it is rounded
    CodeRule rule;
  };
  Operand q, k, v;    // [rows, dim], [keys, dim], [keys, value_dim]
  const float* mask;  // additive [rows, keys], or nullptr
  int64_t mask_stride;
  float* out;  // [rows, value_dim]
  int64_t out_stride;
  int64_t rows, keys, dim, value_dim;
  bool keys_contiguous;  // k is [dim, keys]
  float scale;
  CodeRule product, scaled, masked, weights, result;  // of scores, of scores times the scale, of that and the mask, ...; scale 0: not rounded
  uint8_t* scratch;                                   // coded_attention_scratch_bytes(), 64-byte aligned
};

#define LACUNA_TRANSFORMER_FUNCTIONS                                                                                       \
  void attention_tile(const AttentionTile& tile) noexcept;                                                                 \
  /* scores [heads * rows][stride], the first column key `first`, to weights of keys [first, last) */                      \
  void attention_weights(const AttentionTile& tile, int64_t first, int64_t last, float* scores, int64_t stride) noexcept;  \
  void softmax_row(const float* x, int64_t n, float* y) noexcept;                                                          \
  void layer_norm_row(const float* x, int64_t n, const float* scale, const float* bias, float epsilon, float* y) noexcept; \
  void rms_norm_row(const float* x, int64_t n, const float* scale, float scale_offset, float epsilon, float* y) noexcept;  \
  void activate_array(const float* x, int64_t n, uint8_t activation, float alpha, float beta, float* y) noexcept;          \
  void gated_array(const float* gate, const float* up, int64_t n, uint8_t activation, float* y) noexcept;                  \
  void rope_half_row(const float* x, const float* cosine, const float* sine, int64_t half, float* y) noexcept;             \
  void rope_pairs_row(const float* x, const float* cosine, const float* sine, int64_t n, float* y) noexcept;

namespace avx2 {
LACUNA_TRANSFORMER_FUNCTIONS
}
namespace avx512 {
LACUNA_TRANSFORMER_FUNCTIONS
}
namespace reference {
LACUNA_TRANSFORMER_FUNCTIONS
}
#undef LACUNA_TRANSFORMER_FUNCTIONS
namespace amx_bf16 {
// Products of 2 or 3 bf16 parts of every float (bf16_parts.inl).
void attention_tile(const AttentionTile& tile, int parts) noexcept;
}  // namespace amx_bf16
namespace avx512_vnni {
void coded_attention_tile(const CodedAttentionTile& tile) noexcept;
}  // namespace avx512_vnni

// Keys are packed in panels of this many.
inline constexpr int64_t kKeyPanel = 64;
// Floats of scratch that a tile of `rows` queries over all its heads needs.
constexpr int64_t attention_scratch_floats(int64_t rows, int64_t keys, int64_t dim, int64_t value_dim) {
  return rows * ((keys + kKeyPanel - 1) / kKeyPanel * kKeyPanel + dim + value_dim) + dim * kKeyPanel;
}

// Likewise for amx_bf16::attention_tile, whose operands and sums are in blocks of 32.
constexpr int64_t attention_parts_scratch_floats(int64_t rows, int64_t keys, int64_t dim, int64_t value_dim, int64_t parts) {
  auto blocks = [](int64_t n) { return (n + 31) / 32; };
  int64_t chunks = blocks(dim) > blocks(keys) + 1 ? blocks(dim) : blocks(keys) + 1;
  return 16 + (blocks(rows) + 1) * 2 * chunks * parts * 256 + blocks(rows) * 32 * (32 * (blocks(keys) + 1 + blocks(value_dim)) + 1);
}

// Of a coded tile: operands in blocks of 64, for four rows their queries, scores and weights.
inline constexpr int64_t kCodedRows = 4, kMostCodedKeys = 32768;
constexpr int64_t coded_attention_scratch_bytes(int64_t keys, int64_t dim, int64_t value_dim) {
  auto padded = [](int64_t n) { return (n + 63) / 64 * 64; };
  int64_t k = padded(keys), d = padded(dim), v = padded(value_dim);
  return k * d + 4 * k + k * v + 4 * v + kCodedRows * (d + 5 * k);
}

}  // namespace lacuna::kernels
