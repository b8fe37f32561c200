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

}  // namespace lacuna::kernels
