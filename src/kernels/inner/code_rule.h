// Plain data for ISA folders.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

// How x becomes signed codes: v = x * inverse, to nearest even, clipped to [low, high], plus zero. With a scale v is x / scale, which the product
// rounds alike but beside a tie.
struct CodeRule {
  float inverse, scale, low, high;
  int32_t zero;
};

// Codes of some channels of pixels, `pitch` bytes from pixel to pixel, each of which stands for scale * (code - zero).
struct CodedPixels {
  const int8_t* codes = nullptr;
  int64_t pitch = 0;
  float scale = 0;
  int32_t zero = 0;
};

}  // namespace lacuna::kernels
