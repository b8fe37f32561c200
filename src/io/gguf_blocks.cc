// Blocks (little-endian; element i of a block; d, m are f16):
//   Q4_0  32: d | 16 bytes, i in the low nibble of byte i, i + 16 in its high nibble          (q - 8) d
//   Q4_1  32: d m | as Q4_0                                                                  q d + m
//   Q5_0  32: d | u32 of fifth bits | as Q4_0                                                (q - 16) d
//   Q5_1  32: d m | u32 of fifth bits | as Q4_0                                              q d + m
//   Q8_0  32: d | 32 s8                                                                      q d
//   Q4_K 256: d dmin | 12 bytes: eight 6-bit scales s and minima m | 128 bytes of nibbles    q (d s) - dmin m, by 32
//   Q5_K 256: as Q4_K with 32 bytes of fifth bits before the nibbles
//   Q6_K 256: 128 bytes of low nibbles | 64 bytes of high bit pairs | 16 s8 scales s | d     (q - 32) (d s), by 16
// Source: ggml-common.h and ggml-quants.c of llama.cpp.
#include "io/gguf_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/dtype.h"

namespace lacuna {
namespace {

uint8_t byte_at(const std::byte* p, int64_t i) { return uint8_t(p[i]); }
float half_at(const std::byte* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  return f16_to_f32(h);
}
void put_float(std::byte* out, int64_t i, float v) { std::memcpy(out + 4 * i, &v, 4); }

// Nibble of element i of 32 in the order of Q4_0.
uint8_t nibble(const std::byte* q, int64_t i) { return i < 16 ? byte_at(q, i) & 15 : byte_at(q, i - 16) >> 4; }

// Consecutive elements in the low and high nibble of a byte; `flip` 8 turns q into the two's complement of q - 8.
void put_nibbles(const std::byte* q, std::byte* codes, uint8_t flip) {
  uint8_t both = uint8_t(flip | flip << 4);
  for (int64_t i = 0; i < 8; i++) {
    uint8_t first = byte_at(q, 2 * i), second = byte_at(q, 2 * i + 1);
    codes[i] = std::byte(((first & 15) | (second & 15) << 4) ^ both);
    codes[i + 8] = std::byte((first >> 4 | (second & 0xf0)) ^ both);
  }
}

void decode_q4_0(const std::byte* block, const BlockOut& out) {
  std::memcpy(out.scales, block, 2);
  put_nibbles(block + 2, out.codes, 8);
}
void decode_q4_1(const std::byte* block, const BlockOut& out) {
  std::memcpy(out.scales, block, 2);
  std::memcpy(out.minima, block + 2, 2);
  put_nibbles(block + 4, out.codes, 0);
}

void put_five_bits(const std::byte* high, const std::byte* q, std::byte* codes, int offset) {
  uint32_t fifth;
  std::memcpy(&fifth, high, 4);
  for (int64_t i = 0; i < 32; i++) codes[i] = std::byte(int(nibble(q, i) | ((fifth >> i & 1) << 4)) - offset);
}
void decode_q5_0(const std::byte* block, const BlockOut& out) {
  std::memcpy(out.scales, block, 2);
  put_five_bits(block + 2, block + 6, out.codes, 16);
}
void decode_q5_1(const std::byte* block, const BlockOut& out) {
  std::memcpy(out.scales, block, 2);
  std::memcpy(out.minima, block + 2, 2);
  put_five_bits(block + 4, block + 8, out.codes, 0);
}

void decode_q8_0(const std::byte* block, const BlockOut& out) {
  std::memcpy(out.scales, block, 2);
  std::memcpy(out.codes, block + 2, 32);
}

// Eight 6-bit scales and minima in 12 bytes.
void put_k_scales(const std::byte* block, const BlockOut& out) {
  float d = half_at(block), dmin = half_at(block + 2);
  const std::byte* s = block + 4;
  for (int64_t j = 0; j < 8; j++) {
    uint8_t scale = j < 4 ? byte_at(s, j) & 63 : (byte_at(s, j + 4) & 15) | ((byte_at(s, j - 4) >> 6) << 4);
    uint8_t minimum = j < 4 ? byte_at(s, j + 4) & 63 : (byte_at(s, j + 4) >> 4) | ((byte_at(s, j) >> 6) << 4);
    put_float(out.scales, j, d * float(scale));
    put_float(out.minima, j, -(dmin * float(minimum)));
  }
}

// Groups 2k and 2k + 1 share the 32 bytes k of `q`: low nibbles, then high ones.
uint8_t k_nibble(const std::byte* q, int64_t i) {
  uint8_t b = byte_at(q, i / 64 * 32 + i % 32);
  return i % 64 < 32 ? b & 15 : b >> 4;
}
void decode_q4_k(const std::byte* block, const BlockOut& out) {
  put_k_scales(block, out);
  const std::byte* q = block + 16;
  for (int64_t i = 0; i < 256; i += 2) out.codes[i / 2] = std::byte(k_nibble(q, i) | (k_nibble(q, i + 1) << 4));
}
void decode_q5_k(const std::byte* block, const BlockOut& out) {
  put_k_scales(block, out);
  const std::byte *high = block + 16, *q = block + 48;
  for (int64_t i = 0; i < 256; i++) out.codes[i] = std::byte(k_nibble(q, i) | ((byte_at(high, i % 32) >> (i / 32) & 1) << 4));
}

void decode_q6_k(const std::byte* block, const BlockOut& out) {
  const std::byte *low = block, *high = block + 128, *scales = block + 192;
  float d = half_at(block + 208);
  for (int64_t j = 0; j < 16; j++) put_float(out.scales, j, d * float(int8_t(scales[j])));
  for (int64_t i = 0; i < 256; i++) {
    int64_t half = i / 128, in_half = i % 128, quarter = in_half / 32, lane = in_half % 32;
    uint8_t l = byte_at(low, half * 64 + (quarter % 2) * 32 + lane);
    uint8_t four = quarter < 2 ? l & 15 : l >> 4;
    uint8_t two = byte_at(high, half * 32 + lane) >> (2 * quarter) & 3;
    out.codes[i] = std::byte(int(four | (two << 4)) - 32);
  }
}

Encoding plain(DType type) { return {.values = type}; }
Encoding grouped(DType codes, int64_t group, DType scales, bool minima) {
  return {.values = codes, .granularity = Encoding::Granularity::kGroup, .group = group, .has_minima = minima, .scales = scales};
}

const GgufType kTypes[] = {
    {kGgufF32, "F32", 1, 4, plain(DType::kF32), nullptr},
    {kGgufF16, "F16", 1, 2, plain(DType::kF16), nullptr},
    {kGgufBf16, "BF16", 1, 2, plain(DType::kBF16), nullptr},
    {kGgufQ4_0, "Q4_0", 32, 18, grouped(DType::kS4, 32, DType::kF16, false), decode_q4_0},
    {kGgufQ4_1, "Q4_1", 32, 20, grouped(DType::kU4, 32, DType::kF16, true), decode_q4_1},
    {6, "Q5_0", 32, 22, grouped(DType::kS8, 32, DType::kF16, false), decode_q5_0},
    {7, "Q5_1", 32, 24, grouped(DType::kU8, 32, DType::kF16, true), decode_q5_1},
    {kGgufQ8_0, "Q8_0", 32, 34, grouped(DType::kS8, 32, DType::kF16, false), decode_q8_0},
    {12, "Q4_K", 256, 144, grouped(DType::kU4, 32, DType::kF32, true), decode_q4_k},
    {13, "Q5_K", 256, 176, grouped(DType::kU8, 32, DType::kF32, true), decode_q5_k},
    {14, "Q6_K", 256, 210, grouped(DType::kS8, 16, DType::kF32, false), decode_q6_k},
};

}  // namespace

std::span<const GgufType> gguf_types() { return kTypes; }

const GgufType* gguf_type(uint32_t id) {
  auto it = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const GgufType& t) { return t.id == id; });
  return it == std::end(kTypes) ? nullptr : it;
}

void encode_q8_0(const float* x, std::byte* block) {
  float largest = 0;
  for (int i = 0; i < 32; i++) largest = std::max(largest, std::abs(x[i]));
  float d = largest / 127, inverse = d != 0 ? 1 / d : 0;
  uint16_t half = f32_to_f16(d);
  std::memcpy(block, &half, 2);
  for (int i = 0; i < 32; i++) block[2 + i] = std::byte(int8_t(std::round(x[i] * inverse)));
}

void encode_q4_0(const float* x, std::byte* block) {
  float extreme = 0;  // the value of largest magnitude, with its sign, becomes code -8
  for (int i = 0; i < 32; i++)
    if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
  float d = extreme / -8, inverse = d != 0 ? 1 / d : 0;
  uint16_t half = f32_to_f16(d);
  std::memcpy(block, &half, 2);
  auto code = [&](int i) { return uint8_t(std::clamp(int(x[i] * inverse + 8.5f), 0, 15)); };
  for (int i = 0; i < 16; i++) block[2 + i] = std::byte(code(i) | (code(i + 16) << 4));
}

}  // namespace lacuna
