// Activations on their way into the integer kernels: f32 tokens quantized to rows of codes in scratch memory.
#pragma once

#include <functional>

#include "kernels/integer/lane16.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

struct TokenCodes {
  uint8_t* codes;  // [padded tokens][stride], columns beyond cols hold the code of 0
  uint8_t* xored;  // codes[c] ^ codes[c - 16], or nullptr
  int64_t stride;
  float* scales;  // [tokens]
  int32_t* sums;  // [tokens][groups]: sums of signed codes per scale group, or nullptr
  int64_t groups;
};

struct TokenCodesWanted {
  uint8_t flip = 0;            // 0x80: codes are x + 128
  int64_t token_multiple = 0;  // tokens are padded to it with zeros; 0: to 1, 2, 4 or a multiple of 8
  bool xored = false;
  int planes = 1;            // 2 or 4: each row holds so many copies of its codes, plane p shifted by p * 64 / planes columns
  int64_t plane_stride = 0;  // bytes between them
  bool sums = false;
  int64_t group = 0;      // a multiple of 32; 0: all columns
  float input_scale = 0;  // 0: per token
  int32_t input_zero = 0;
};

// Bytes between tokens of `cols` codes, a multiple of `multiple`, itself one of 64.
int64_t code_stride(int64_t cols, int64_t multiple);

// Called with the first of sixteen tokens when they are coded, on the thread that did it; wants a token_multiple of sixteen.
using AfterSixteen = std::function<void(const TokenCodes& codes, int64_t first)>;
// In the shared scratch slots of the calling thread.
TokenCodes quantize_tokens(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, const TokenCodesWanted& wanted, const Lane16Isa& isa,
                           const AfterSixteen& after = {});

}  // namespace lacuna::kernels
