// Linear candidates for one to eight tokens with f32, bf16 or f16 weights, dense or behind a bitmask; the stream is described in
// inner/decode_float.h.
#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "base/buffer.h"
#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/decode_linear.h"
#include "kernels/dispatch.h"
#include "sparse/bits.h"

namespace lacuna::kernels {
namespace {

// The loops of one ISA by type of values.
struct DecodeIsa {
  std::string_view isa;
  DecodeLoop f32, bf16, f16;
  const DecodeLoop& loop(DType type) const { return type == DType::kF32 ? f32 : type == DType::kBF16 ? bf16 : f16; }
};

// A weight as tiles, groups of rows in parallel.
struct Packer {
  const WeightMatrix& weight;
  DType type;
  bool masked;

  int64_t value_bytes() const { return bits_of(type) / 8; }
  int64_t cols_of(int64_t chunk) const { return std::min(kDecodeCols, weight.cols - chunk * kDecodeCols); }
  const float* values_of(int64_t row, int64_t chunk) const { return weight.values + row * weight.cols + chunk * kDecodeCols; }
  // A weight that is kept but zero needs no place.
  uint64_t mask_of(int64_t row, int64_t chunk) const {
    if (!masked) return ~uint64_t(0);
    return row < weight.rows ? nonzero_bits(values_of(row, chunk), cols_of(chunk)) : 0;
  }
  int64_t group_bytes(int64_t group) const {
    int64_t chunks = decode_chunks(weight.cols), kept = 0;
    if (!masked) return chunks * kDecodeRows * kDecodeCols * value_bytes();
    for (int64_t row = group * kDecodeRows; row < (group + 1) * kDecodeRows; row++)
      for (int64_t chunk = 0; chunk < chunks; chunk++) kept += count_ones(mask_of(row, chunk));
    return chunks * kDecodeRows * 8 + kept * value_bytes();
  }
  std::byte* write_tile(int64_t group, int64_t chunk, std::byte* out) const {
    std::byte* masks = out;
    if (masked) out += kDecodeRows * int64_t(sizeof(uint64_t));
    for (int64_t r = 0; r < kDecodeRows; r++) {
      int64_t row = group * kDecodeRows + r;
      uint64_t mask = mask_of(row, chunk);
      if (masked) std::memcpy(masks + r * int64_t(sizeof mask), &mask, sizeof mask);
      float values[kDecodeCols] = {};
      int64_t count = 0;
      if (row < weight.rows) {
        if (!masked)
          std::copy_n(values_of(row, chunk), cols_of(chunk), values);
        else
          for (; mask; mask &= mask - 1) values[count++] = values_of(row, chunk)[std::countr_zero(mask)];
      }
      if (!masked) count = kDecodeCols;
      convert_from_f32(values, count, type, out);
      out += count * value_bytes();
    }
    return out;
  }
};

DecodeStream stream_of(const WeightMatrix& weight, DType type, bool masked) {
  Packer packer = {weight, type, masked};
  int64_t groups = decode_groups(weight.rows);
  DecodeStream stream;
  stream.offsets.assign(size_t(groups + 1), 0);
  parallel_for(groups, [&](int64_t g) { stream.offsets[size_t(g + 1)] = packer.group_bytes(g); });
  std::partial_sum(stream.offsets.begin(), stream.offsets.end(), stream.offsets.begin());
  stream.bytes = allocate(size_t(stream.offsets.back()), false);
  parallel_for(groups, [&](int64_t g) {
    std::byte* out = stream.bytes.get() + stream.offsets[size_t(g)];
    for (int64_t chunk = 0; chunk < decode_chunks(weight.cols); chunk++) out = packer.write_tile(g, chunk, out);
  });
  return stream;
}

constexpr DecodeIsa kAvx2Dense = {"avx2", {avx2::decode_dense_f32}, {avx2::decode_dense_bf16, 16}, {avx2::decode_dense_f16}};
constexpr DecodeIsa kAvx2Mask = {"avx2", {avx2::decode_mask_f32, 0, true}, {avx2::decode_mask_bf16, 0, true}, {avx2::decode_mask_f16, 0, true}};
constexpr DecodeIsa kAvx512Dense = {"avx512", {avx512::decode_dense_f32}, {avx512::decode_dense_bf16, 32}, {avx512::decode_dense_f16}};
constexpr DecodeIsa kAvx512Mask = {
    "avx512", {avx512::decode_mask_f32, 0, true}, {avx512::decode_mask_bf16, 0, true}, {avx512::decode_mask_f16, 0, true}};
constexpr DecodeIsa kVbmi2Mask = {"avx512_vbmi2", {}, {avx512_vbmi2::decode_mask_bf16, 32, true}, {avx512_vbmi2::decode_mask_f16, 0, true}};

template <const DecodeIsa* isa, bool masked>
std::optional<std::string> accepts(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, isa->isa)) return lacking;
  if (!is_float(problem.weights) || problem.activations != DType::kF32) return "multiplies f32 activations with float weights";
  if (!isa->loop(problem.weights).run) return cat("has no loop for ", name_of(problem.weights));
  if (masked && problem.pattern == "dense") return "the weight is dense";
  if (tokens > kDecodeTokens) return "meant for at most 8 tokens";
  return std::nullopt;
}

template <const std::string_view* name, const DecodeIsa* isa, bool masked>
std::unique_ptr<PackedLinear> pack(const LinearProblem& problem, const WeightMatrix& weight) {
  return std::make_unique<DecodeLinear>(*name, isa->loop(problem.weights), weight.rows, weight.cols, stream_of(weight, problem.weights, masked));
}

template <const std::string_view* name, const DecodeIsa* isa, bool masked>
constexpr LinearKernel kernel(std::string_view help, double break_even) {
  return {.name = *name, .help = help, .sparse = masked, .break_even = break_even, .accepts = accepts<isa, masked>, .pack = pack<name, isa, masked>};
}

constexpr std::string_view kNameVbmi2Mask = "avx512_vbmi2::decode_bitmask_float", kNameAvx512Mask = "avx512::decode_bitmask_float",
                           kNameAvx2Mask = "avx2::decode_bitmask_float", kNameAvx512Dense = "avx512::decode_dense_float",
                           kNameAvx2Dense = "avx2::decode_dense_float";

}  // namespace

extern const LinearKernel avx512_vbmi2_decode_bitmask_float =
    kernel<&kNameVbmi2Mask, &kVbmi2Mask, true>("1-8 tokens, bf16 and f16 by vpexpandw", 0.15);
extern const LinearKernel avx512_decode_bitmask_float = kernel<&kNameAvx512Mask, &kAvx512Mask, true>("1-8 tokens, float weights by vpexpandd", 0.15);
extern const LinearKernel avx2_decode_bitmask_float =
    kernel<&kNameAvx2Mask, &kAvx2Mask, true>("1-8 tokens, float weights by permutation tables", 0.3);
extern const LinearKernel avx512_decode_dense_float = kernel<&kNameAvx512Dense, &kAvx512Dense, false>("1-8 tokens, dense float weights", 0);
extern const LinearKernel avx2_decode_dense_float = kernel<&kNameAvx2Dense, &kAvx2Dense, false>("1-8 tokens, dense float weights", 0);

}  // namespace lacuna::kernels
