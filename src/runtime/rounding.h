// Activations that a product takes as integer codes: how they are rounded.
#pragma once

#include <cstdint>
#include <string>

#include "graph/graph.h"
#include "kernels/linear.h"

namespace lacuna {

struct InputRounding {
  enum class Kind : uint8_t { kNone, kPerToken, kPerTensor, kStatic } kind = Kind::kNone;
  // kPerToken: s8, scale max|x| / 127 of each token.
  // kPerTensor: u8, [min(x, 0), max(x, 0)] fills 0 to 255, as DynamicQuantizeLinear has it.
  // kStatic, for the whole tensor: x stands for scale * (code - zero_point).
  float scale = 0;
  int32_t zero_point = 0;
  DType type = DType::kS8;  // of the codes: s8 or u8
  // Of the same codes as signed ones: those of u8 less 128.
  int32_t signed_zero() const { return type == DType::kU8 ? zero_point - 128 : zero_point; }
  kernels::Rounding of_values() const { return {scale, signed_zero()}; }
  explicit operator bool() const { return kind != Kind::kNone; }
  bool operator==(const InputRounding&) const = default;
};

// What the attributes of a linear node ask for.
InputRounding rounding_of(const Node& node);

// out = the values that the codes of x stand for. Parallel over tokens.
void round_tokens(const InputRounding& rounding, const float* x, int64_t tokens, int64_t cols, float* out);

// What the range of x asks for: kStatic, of kPerTensor.
InputRounding rounding_of_range(const float* x, int64_t count);

// The values that the codes of the n values of y stand for, in their place. On the calling thread.
void round_values(const kernels::Rounding& rounding, float* y, int64_t n);

}  // namespace lacuna
