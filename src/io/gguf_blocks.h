// The block encodings of ggml that Lacuna reads and writes. Private to the GGUF reader and writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "sparse/weight.h"

namespace lacuna {

// Where the codes, scales and minima of one block go. Scales are f16 bits or f32, as the encoding says.
struct BlockOut {
  std::byte* codes;
  std::byte* scales;
  std::byte* minima;
};

struct GgufType {
  uint32_t id;
  std::string_view name;
  int64_t elements, bytes;                                      // of a block
  Encoding encoding;                                            // granularity kNone: plain elements
  void (*decode)(const std::byte* block, const BlockOut& out);  // nullptr for plain elements
};

std::span<const GgufType> gguf_types();
const GgufType* gguf_type(uint32_t id);  // nullptr if unknown

inline constexpr uint32_t kGgufF32 = 0, kGgufF16 = 1, kGgufQ4_0 = 2, kGgufQ4_1 = 3, kGgufQ8_0 = 8, kGgufBf16 = 30;

// Rounds 32 values into a block, as ggml's reference does; zero stays exactly zero.
void encode_q8_0(const float* x, std::byte* block);  // 34 bytes
void encode_q4_0(const float* x, std::byte* block);  // 18 bytes

}  // namespace lacuna
