// Helpers of the plain (ISA-free) halves of kernels: scratch memory, balanced row groups, quantization of activations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/inner/code_rule.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

// Memory of the calling thread, 64-byte aligned, uninitialised, kept for the next call; 64 spare bytes follow. A slot asked for again
// may move: a function uses each slot once at a time. kShared is for what the caller of parallel_for prepares for all tiles.
enum class ScratchSlot { kShared, kSharedSecond, kSharedThird, kPlanes, kTile, kTileSecond, kTileThird, kCount };
std::byte* thread_scratch(ScratchSlot slot, size_t size_bytes);
template <class T>
T* thread_scratch_of(ScratchSlot slot, int64_t count) {
  return reinterpret_cast<T*>(thread_scratch(slot, size_t(count) * sizeof(T)));
}

// Boundaries [0, ..., work.size()] that cut consecutive units (row groups) into at most `parts` ranges of about equal summed work.
// Dynamic scheduling evens out the rest, so a few parts per thread suffice; results must not depend on the cut.
std::vector<int64_t> balanced_cut(std::span<const int64_t> work, int64_t parts);
// Work of each group of `group_rows` rows: kept weights, plus `per_row` for the fixed cost of a row. mask nullptr: dense.
std::vector<int64_t> work_of_row_groups(const WeightMatrix& weight, int64_t group_rows, int64_t per_row);

inline CodeRule per_token_rule(float inverse) { return {.inverse = inverse, .scale = 0, .low = -127, .high = 127, .zero = 0}; }
inline CodeRule static_rule(float scale, int32_t zero) {
  return {.inverse = 1.0f / scale, .scale = scale, .low = float(-128 - zero), .high = float(127 - zero), .zero = zero};
}

// One token to s8: scale = max|x| / 127, code = x * (127 / max|x|) rounded to nearest even; all zero and scale 0 if max|x| < 2^-100.
// Every ISA gives these codes. Returns the scale.
float quantize_token_s8(const float* x, int64_t n, int8_t* codes) noexcept;
// With a given scale and zero point, as LinearProblem says.
void quantize_static_s8(const float* x, int64_t n, float scale, int32_t zero, int8_t* codes) noexcept;

// y [pixels, channels] = what the codes stand for.
void values_of_codes(const CodedPixels& x, int64_t pixels, int64_t channels, float* y) noexcept;
// For each of `pixels` the codes of `channels` to y, y_pitch bytes from pixel to pixel: of what x stands for, plus or, for a `product`, times
// `other`, if that has codes.
void recode(const CodedPixels& x, const CodedPixels& other, bool product, int64_t pixels, int64_t channels, const CodeRule& rule, int8_t* y,
            int64_t y_pitch) noexcept;

// y[i] = the largest of rows[.][i], of `count` codes; the lowest code if there are no rows.
void largest_codes(std::span<const int8_t* const> rows, int64_t count, int8_t* y) noexcept;
// y[3 * i + r] = rows[r][i], of `count` codes each: colours, side by side.
void interleave_three(const int8_t* const (&rows)[3], int64_t count, int8_t* y) noexcept;

// The same in plain loops.
namespace reference {
void recode(const CodedPixels& x, const CodedPixels& other, bool product, int64_t pixels, int64_t channels, const CodeRule& rule, int8_t* y,
            int64_t y_pitch) noexcept;
void largest_codes(std::span<const int8_t* const> rows, int64_t count, int8_t* y) noexcept;
void interleave_three(const int8_t* const (&rows)[3], int64_t count, int8_t* y) noexcept;
float largest_magnitude(const float* x, int64_t n) noexcept;
float quantize_token_s8(const float* x, int64_t n, int8_t* codes) noexcept;
void quantize_static_s8(const float* x, int64_t n, float scale, int32_t zero, int8_t* codes) noexcept;
}  // namespace reference

// out [cols, rows] = in [rows, cols].
void transpose(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float* out, int64_t out_stride) noexcept;

}  // namespace lacuna::kernels
