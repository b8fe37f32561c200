// From a dtype to the C++ type of its elements.
#pragma once

#include <cstdint>

#include "base/assert.h"
#include "base/dtype.h"

namespace lacuna {

// f(T{}) for the C++ type of a dtype that has one: not the halves, not the 4-bit types.
template <class F>
void with_type(DType type, F&& f) {
  switch (type) {
    case DType::kF64: return f(double{});
    case DType::kF32: return f(float{});
    case DType::kS64: return f(int64_t{});
    case DType::kS32: return f(int32_t{});
    case DType::kS16: return f(int16_t{});
    case DType::kS8: return f(int8_t{});
    case DType::kU64: return f(uint64_t{});
    case DType::kU32: return f(uint32_t{});
    case DType::kU16: return f(uint16_t{});
    case DType::kU8: return f(uint8_t{});
    case DType::kBool: return f(bool{});
    default: LACUNA_ASSERT(!"type has no C++ scalar");
  }
}

}  // namespace lacuna
