// com.microsoft MatMulNBits, version 1: x times a matrix of 4 or 8 bits in blocks along K, as ONNX Runtime's weight-only quantizer writes it.
//
// B [N, blocks, block_size * bits / 8], low nibble first; scales and zero points [N, blocks], flat or not, zero points packed like B with rows that
// start on a byte, or floats; without them 8 or 128. Becomes dequantize of blocks and a product, of which claim_weights makes a coded weight.
#include <algorithm>

#include "base/cat.h"
#include "io/onnx/gemm.h"
#include "io/onnx/tensors.h"

namespace lacuna::onnx::import {
namespace {

// `count` codes of each row, which begin on a byte, without what fills up its end; of `flip` the bits are turned.
Tensor packed_rows(const std::byte* from, int64_t rows, int64_t row_bytes, int64_t count, DType type, std::byte flip) {
  int64_t bytes = (count * bits_of(type) + 7) / 8;
  Tensor out(type, {rows, count});
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < bytes; i++) out.mutable_raw()[r * bytes + i] = from[r * row_bytes + i] ^ flip;
  return out;
}

Tensor constant_of(OpContext& context, size_t i, std::string_view what) {
  auto tensor = context.builder().constant(context.required(i));
  if (!tensor) context.unsupported(cat(what, " that are not constant"));
  return *tensor;
}

}  // namespace

// x [..., K], B, scales, zero_points?, g_idx?, bias?
void contrib_matmul_nbits(OpContext& context) {
  int64_t k = context.integer("K", 0), n = context.integer("N", 0), bits = context.integer("bits", 4), block = context.integer("block_size", 0);
  if (bits != 4 && bits != 8) context.unsupported(cat("bits = ", bits));
  constexpr int64_t kMost = 1 << 30;
  if (k < 1 || n < 1 || block < 2 || std::max({k, n, block}) > kMost) context.invalid(cat("K = ", k, ", N = ", n, ", block_size = ", block));
  if (context.has(4)) context.unsupported("g_idx");
  int64_t blocks = (k + block - 1) / block, row_bytes = blocks * block * bits / 8, zero_bytes = (blocks * bits + 7) / 8;
  Tensor packed = constant_of(context, 1, "weights"), scales = constant_of(context, 2, "scales");
  if (packed.dtype() != DType::kU8 || packed.size() != n * row_bytes) context.invalid(cat("B has shape ", to_string(packed.shape())));
  if (!is_float(scales.dtype()) || scales.size() != n * blocks) context.invalid(cat("scales have shape ", to_string(scales.shape())));
  // Without zero points the codes are signed ones, half of the range further down.
  bool shifted = context.has(3);
  DType type = shifted ? (bits == 8 ? DType::kU8 : DType::kU4) : bits == 8 ? DType::kS8 : DType::kS4;
  Tensor codes = packed_rows(packed.raw(), n, row_bytes, k, type, std::byte(shifted ? 0 : bits == 8 ? 0x80 : 0x88)), zeros;
  if (shifted) {
    Tensor given = constant_of(context, 3, "zero points");
    if (given.dtype() != DType::kU8) context.unsupported(cat("zero points of type ", name_of(given.dtype())));
    if (given.size() != n * zero_bytes) context.invalid(cat("zero_points have shape ", to_string(given.shape())));
    zeros = packed_rows(given.raw(), n, zero_bytes, blocks, type, std::byte(0));
  }
  ValueId zero = shifted ? context.constant(zeros, "zero_points") : kNoValue;
  Attributes attributes = with({{"axis", int64_t(1)}, {"block_size", block}});
  ValueId scale = context.constant(scales.to(DType::kF32).reshaped({n, blocks}), "scales");
  ValueId weight = context.add(Op::dequantize, {context.constant(codes, "codes"), scale, zero}, attributes, "weight");
  ValueId turned = context.add(Op::transpose, {weight}, with({{"perm", std::vector<int64_t>{1, 0}}}), "weight_t");
  ValueId y = add_matmul(context, context.required(0), turned, context.has(5) ? "product" : "");
  context.set_output(0, context.has(5) ? context.add(Op::add, {y, context.input(5)}) : y);
}

}  // namespace lacuna::onnx::import
