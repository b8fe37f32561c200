// Tokens as rows of int8 codes: quantized once for all linear layers that read them, by whoever makes them or on their own.
#pragma once

#include "kernels/linear.h"

namespace lacuna::kernels {

struct CodedTokens {
  int64_t tokens, cols;
  int64_t stride;  // bytes of a row
  uint8_t* codes;  // [tokens, rounded up to 16][stride], signed; columns beyond cols and tokens beyond the last hold 0
  float* scales;   // [tokens]
};

// How many bytes the codes of so many tokens take, and where what is in them.
int64_t coded_tokens_bytes(int64_t tokens, int64_t cols);
CodedTokens coded_tokens(void* memory, int64_t tokens, int64_t cols);

// x [tokens, cols] with x_stride to codes; rounding with scale 0: per token. `by_columns` tells who made x: each thread some columns of all tokens,
// or (else) some tokens. A thread then reads what it wrote; the codes are the same.
void code_tokens(const float* x, int64_t x_stride, const Rounding& rounding, bool by_columns, const CodedTokens& out);

// One token, x [cols].
void code_token(const float* x, const Rounding& rounding, int64_t token, const CodedTokens& out);

}  // namespace lacuna::kernels
