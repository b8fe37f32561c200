// Attention, normalisations and activations of the runtime executor, vectorised per ISA and parallel over tiles.
#pragma once

#include <functional>

#include "kernels/linear.h"

namespace lacuna::kernels {

// softmax(q k^T * scale + mask) v for a batch of heads. Strides in elements: {batch, head, row}; a key's or value's row is contiguous.
struct AttentionProblem {
  int64_t batch = 1, heads = 1, kv_heads = 1, queries = 1, keys = 1, dim = 0, value_dim = 0;
  float scale = 1, softcap = 0;
  bool causal = false;
  int64_t window = 0;          // 0: all; else a query sees the last `window` keys up to its own
  int64_t first_position = 0;  // of query 0 among the keys (tokens already cached)
  bool coarse = false;         // products may err by 2^-14 of themselves: what they multiply comes from codes of eight bits
};
struct Strides {
  int64_t batch = 0, head = 0, row = 0;
};
// mask: additive, broadcast by zero strides, or nullptr. A row that sees no key gives zeros.
// Results do not depend on the thread count.
void attention(const AttentionProblem& problem, const float* q, Strides q_strides, const float* k, Strides k_strides, const float* v,
               Strides v_strides, const float* mask, Strides mask_strides, float* out, Strides out_strides);

// The same where operands, and the weights that softmax gives, are rounded to codes of eight bits, as in a graph of quantize and dequantize nodes:
//   y = result(weights(softmax(masked(scaled(product(q(q) k(k)^T) * scale) + mask))) v(v))
// with each name a rounding. Both products are sums of integers.
struct CodedAttentionProblem {
  int64_t batch = 1, heads = 1, queries = 1, keys = 1, dim = 0, value_dim = 0;
  float scale = 1;
  struct Operand {
    Rounding rounding;
    float factor = 1;  // of the operand, before it is rounded
    Strides strides;
  };
  Operand q, k, v;
  bool keys_contiguous = false;  // k is [dim, keys], the row stride that of dim
  Rounding weights;
  Rounding product, scaled, masked, result;  // scale 0: not rounded
};
// Has this CPU what it takes?
bool takes_codes(const CodedAttentionProblem& problem);
// Strides, mask and threads as above.
void coded_attention(const CodedAttentionProblem& problem, const float* q, const float* k, const float* v, const float* mask, Strides mask_strides,
                     float* out, Strides out_strides);

// Rows of n contiguous elements; y may be x.
void softmax_rows(const float* x, int64_t rows, int64_t n, float* y);
// scale and bias [n] or nullptr. `after` is called with each finished row, while it is in the cache, on the thread that made it.
using AfterRow = std::function<void(int64_t row, float* y)>;
void layer_norm_rows(const float* x, int64_t rows, int64_t n, const float* scale, const float* bias, float epsilon, float* y,
                     const AfterRow& after = {});
void rms_norm_rows(const float* x, int64_t rows, int64_t n, const float* scale, float scale_offset, float epsilon, float* y,
                   const AfterRow& after = {});
// y[i] = activation(x[i]); y may be x.
void activate_array(const float* x, int64_t n, Activation activation, float alpha, float beta, float* y);
// y[i] = activation(gate[i]) * up[i]; y may be either.
void gated_array(const float* gate, const float* up, int64_t n, Activation activation, float* y);
// Rotates the halves of each head: x [tokens, heads, 2 * half] with row stride x_stride, cosine and sine [tokens, half]. y may be x.
void rope_half(const float* x, int64_t x_stride, int64_t tokens, int64_t heads, int64_t head_dim, int64_t half, const float* cosine,
               const float* sine, float* y, int64_t y_stride);
// Rotates pairs of neighbours (2 d, 2 d + 1): cosine [tokens, 2 * half] holds each one twice, sine likewise, negated first.
void rope_pairs(const float* x, int64_t x_stride, int64_t tokens, int64_t heads, int64_t head_dim, int64_t half, const float* cosine,
                const float* sine, float* y, int64_t y_stride);

}  // namespace lacuna::kernels
