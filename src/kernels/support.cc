#include "kernels/support.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/buffer.h"
#include "kernels/epilogue.h"
#include "kernels/inner/store.h"

namespace lacuna::kernels {

std::byte* thread_scratch(ScratchSlot slot, size_t size_bytes) {
  struct Buffer {
    std::shared_ptr<std::byte[]> data;
    size_t capacity = 0;
  };
  thread_local std::array<Buffer, size_t(ScratchSlot::kCount)> buffers;
  Buffer& buffer = buffers[size_t(slot)];
  if (!buffer.data || buffer.capacity < size_bytes) {
    buffer.data.reset();
    buffer.capacity = std::max<size_t>(size_bytes + size_bytes / 4, 4096);
    buffer.data = allocate(buffer.capacity, false);
  }
  return buffer.data.get();
}

std::vector<int64_t> balanced_cut(std::span<const int64_t> work, int64_t parts) {
  int64_t total = 0;
  for (int64_t w : work) total += w;
  std::vector<int64_t> bounds = {0};
  int64_t done = 0;
  for (size_t i = 0; i < work.size(); i++) {
    done += work[i];
    if (int64_t(bounds.size()) < parts && double(done) * double(parts) >= double(total) * double(bounds.size())) bounds.push_back(int64_t(i) + 1);
  }
  if (bounds.back() != int64_t(work.size())) bounds.push_back(int64_t(work.size()));
  return bounds;
}

std::vector<int64_t> work_of_row_groups(const WeightMatrix& weight, int64_t group_rows, int64_t per_row) {
  std::vector<int64_t> work(size_t((weight.rows + group_rows - 1) / group_rows));
  for (int64_t r = 0; r < weight.rows; r++) work[size_t(r / group_rows)] += (weight.mask ? weight.mask->count_kept(r) : weight.cols) + per_row;
  return work;
}

namespace {

float largest_magnitude(const float* x, int64_t n) {
  if (cpu_features().avx512) return avx512::largest_magnitude(x, n);
  if (cpu_features().avx2) return avx2::largest_magnitude(x, n);
  return reference::largest_magnitude(x, n);
}

void quantize_s8(const float* x, int64_t n, const CodeRule& rule, int8_t* codes) {
  if (cpu_features().avx512) return avx512::quantize_s8(x, n, rule, codes);
  if (cpu_features().avx2) return avx2::quantize_s8(x, n, rule, codes);
  for (int64_t i = 0; i < n; i++) {
    float v = std::nearbyint(rule.scale > 0 ? x[i] / rule.scale : x[i] * rule.inverse);
    codes[i] = int8_t(std::min(rule.high, std::max(rule.low, v)) + float(rule.zero));
  }
}

constexpr float kSmallestMagnitude = 0x1p-100f;

}  // namespace

float quantize_token_s8(const float* x, int64_t n, int8_t* codes) noexcept {
  float largest = largest_magnitude(x, n);
  if (largest >= kSmallestMagnitude) {
    quantize_s8(x, n, per_token_rule(127.0f / largest), codes);
    return largest / 127.0f;
  }
  std::fill_n(codes, n, int8_t(0));
  return 0;
}

void quantize_static_s8(const float* x, int64_t n, float scale, int32_t zero, int8_t* codes) noexcept {
  quantize_s8(x, n, static_rule(scale, zero), codes);
}

void values_of_codes(const CodedPixels& x, int64_t pixels, int64_t channels, float* y) noexcept {
  if (cpu_features().avx512) return avx512::values_of_codes(x, pixels, channels, y);
  if (cpu_features().avx2) return avx2::values_of_codes(x, pixels, channels, y);
  for (int64_t p = 0; p < pixels; p++)
    for (int64_t i = 0; i < channels; i++) y[p * channels + i] = float(x.codes[p * x.pitch + i] - x.zero) * x.scale;
}

void recode(const CodedPixels& x, const CodedPixels& other, bool product, int64_t pixels, int64_t channels, const CodeRule& rule, int8_t* y,
            int64_t y_pitch) noexcept {
  constexpr int64_t kFewest = 1024;  // codes that are worth a table
  if (!other.codes && cpu_features().avx512_vbmi2 && pixels * channels >= kFewest) {
    int8_t all[256], table[256];
    for (int code = 0; code < 256; code++) all[code] = int8_t(uint8_t(code));
    avx512::recode({all, 0, x.scale, x.zero}, {}, false, 1, 256, rule, table, 0);
    return avx512_vbmi2::map_codes(table, x, pixels, channels, y, y_pitch);
  }
  if (cpu_features().avx512) return avx512::recode(x, other, product, pixels, channels, rule, y, y_pitch);
  if (cpu_features().avx2) return avx2::recode(x, other, product, pixels, channels, rule, y, y_pitch);
  reference::recode(x, other, product, pixels, channels, rule, y, y_pitch);
}

void largest_codes(std::span<const int8_t* const> rows, int64_t count, int8_t* y) noexcept {
  if (cpu_features().avx512) return avx512::largest_codes(rows.data(), int64_t(rows.size()), count, y);
  reference::largest_codes(rows, count, y);
}

void interleave_three(const int8_t* const (&rows)[3], int64_t count, int8_t* y) noexcept {
  if (cpu_features().avx2) return avx2::interleave_three(rows, count, y);
  reference::interleave_three(rows, count, y);
}

namespace reference {

void recode(const CodedPixels& x, const CodedPixels& other, bool product, int64_t pixels, int64_t channels, const CodeRule& rule, int8_t* y,
            int64_t y_pitch) noexcept {
  for (int64_t p = 0; p < pixels; p++)
    for (int64_t i = 0; i < channels; i++) {
      float v = float(x.codes[p * x.pitch + i] - x.zero) * x.scale;
      if (other.codes) {
        const float second = float(other.codes[p * other.pitch + i] - other.zero) * other.scale;
        v = product ? v * second : v + second;
      }
      y[p * y_pitch + i] = int8_t(std::min(rule.high, std::max(rule.low, std::nearbyint(v / rule.scale))) + float(rule.zero));
    }
}

void interleave_three(const int8_t* const (&rows)[3], int64_t count, int8_t* y) noexcept {
  for (int64_t i = 0; i < count; i++)
    for (int row = 0; row < 3; row++) y[3 * i + row] = rows[row][i];
}

void largest_codes(std::span<const int8_t* const> rows, int64_t count, int8_t* y) noexcept {
  std::fill(y, y + count, int8_t(-128));
  for (const int8_t* row : rows)
    for (int64_t i = 0; i < count; i++) y[i] = std::max(y[i], row[i]);
}

float largest_magnitude(const float* x, int64_t n) noexcept {
  float largest = 0;
  for (int64_t i = 0; i < n; i++) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

float quantize_token_s8(const float* x, int64_t n, int8_t* codes) noexcept {
  float largest = largest_magnitude(x, n);
  if (largest >= kSmallestMagnitude) {
    for (int64_t i = 0; i < n; i++) codes[i] = int8_t(std::nearbyint(std::min(127.0f, std::max(-127.0f, x[i] * (127.0f / largest)))));
    return largest / 127.0f;
  }
  std::fill_n(codes, n, int8_t(0));
  return 0;
}

void quantize_static_s8(const float* x, int64_t n, float scale, int32_t zero, int8_t* codes) noexcept {
  for (int64_t i = 0; i < n; i++) codes[i] = int8_t(std::min(127.0f, std::max(-128.0f, std::nearbyint(x[i] / scale) + float(zero))));
}

}  // namespace reference

void transpose(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float* out, int64_t out_stride) noexcept {
  if (cpu_features().avx512) return avx512::transpose(in, in_stride, rows, cols, out, out_stride, rows);
  if (cpu_features().avx2) return avx2::transpose(in, in_stride, rows, cols, out, out_stride, rows);
  for (int64_t c = 0; c < cols; c++)
    for (int64_t r = 0; r < rows; r++) out[c * out_stride + r] = in[r * in_stride + c];
}

void PackedLinear::run_codes(const CodedTokens&, float*, int64_t, const Epilogue&) const { LACUNA_ASSERT(reads_codes()); }

void PackedLinear::run_channel_major(const float* x, int64_t x_stride, int64_t n, float* y, int64_t y_stride, const Epilogue& epilogue) const {
  auto [rows, cols] = shape();
  std::vector<float> x_rows(size_t(n * cols)), y_rows(size_t(n * rows)), sums(size_t(n * rows));
  transpose(x, x_stride, cols, n, x_rows.data(), cols);
  run(x_rows.data(), cols, n, y_rows.data(), rows, Epilogue{});
  transpose(y_rows.data(), rows, n, rows, sums.data(), n);
  store_channel_major({.sums = sums.data(), .sums_stride = n, .first_row = 0, .rows = rows, .first_token = 0, .tokens = n}, y, y_stride, epilogue);
}

}  // namespace lacuna::kernels
