// Linear candidates for one to eight tokens of floats with weights of 8 or 4 bits: the codes are decoded in registers, so a quantized
// model is multiplied exactly as it is, at the price of its bytes. The stream is described in inner/decode_float.h.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/buffer.h"
#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/decode_linear.h"
#include "kernels/dispatch.h"

namespace lacuna::kernels {
namespace {

class CodesPacker {
 public:
  CodesPacker(const WeightMatrix& weight, bool four_bits, int64_t run)
      : weight_(weight),
        run_(run),
        group_(weight.group ? weight.group : std::max<int64_t>(weight.cols, 1)),
        groups_(std::max<int64_t>((weight.cols + group_ - 1) / group_, 1)),
        layout_{.four_bits = four_bits, .half_scales = true, .masked = weight.mask && weight.minima} {
    std::atomic<bool> half = true;
    parallel_for(weight.rows, [&](int64_t r) {
      for (int64_t i = r * groups_; i < (r + 1) * groups_ && half.load(std::memory_order_relaxed); i++)
        if (!is_half(weight.scales[i]) || !is_half(minimum(i))) half = false;
    });
    layout_.half_scales = half;
  }

  CodesLayout layout() const { return layout_; }

  DecodeStream stream() const {
    int64_t chunks = decode_chunks(weight_.cols), header = 2 * kScales * (layout_.half_scales ? 2 : 4) + (layout_.masked ? kDecodeRows * 8 : 0);
    int64_t group_bytes = chunks * (header + kDecodeRows * kDecodeCols / (layout_.four_bits ? 2 : 1));
    DecodeStream stream;
    for (int64_t g = 0; g <= decode_groups(weight_.rows); g++) stream.offsets.push_back(g * group_bytes);
    stream.bytes = allocate(size_t(stream.offsets.back()), false);
    parallel_for(decode_groups(weight_.rows), [&](int64_t g) {
      std::byte* out = stream.bytes.get() + stream.offsets[size_t(g)];
      for (int64_t c = 0; c < chunks; c++) out = write_tile(g * kDecodeRows, c * kDecodeCols, out);
    });
    return stream;
  }

 private:
  static constexpr int64_t kScales = kDecodeRows * kDecodeCols / kDecodeGroup;

  static bool is_half(float v) { return f16_to_f32(f32_to_f16(v)) == v; }
  float minimum(int64_t i) const { return (weight_.minima ? weight_.minima[i] : 0.0f) - (layout_.four_bits ? 8 * weight_.scales[i] : 0.0f); }
  bool inside(int64_t row, int64_t col) const { return row < weight_.rows && col < weight_.cols; }

  std::byte* write_tile(int64_t row, int64_t col, std::byte* out) const {
    for (bool minima : {false, true})
      for (int64_t i = 0; i < kScales; i++) {
        int64_t r = row + i / (kDecodeCols / kDecodeGroup), c = col + i % (kDecodeCols / kDecodeGroup) * kDecodeGroup, at = r * groups_ + c / group_;
        float v = !inside(r, c) ? 0.0f : minima ? minimum(at) : weight_.scales[at];
        convert_from_f32(&v, 1, layout_.half_scales ? DType::kF16 : DType::kF32, out);
        out += layout_.half_scales ? 2 : 4;
      }
    for (int64_t r = row; r < row + kDecodeRows && layout_.masked; r++, out += 8) {
      uint64_t mask = r < weight_.rows ? weight_.mask->row(r)[size_t(col / kDecodeCols)] : 0;
      std::memcpy(out, &mask, sizeof mask);
    }
    for (int64_t r = row; r < row + kDecodeRows; r++) {
      int8_t codes[kDecodeCols] = {};
      if (r < weight_.rows) std::memcpy(codes, weight_.codes + r * weight_.cols + col, size_t(std::min(kDecodeCols, weight_.cols - col)));
      if (!layout_.four_bits) {
        std::memcpy(out, codes, sizeof codes);
        out += kDecodeCols;
        continue;
      }
      for (int64_t c = 0; c < kDecodeCols; c += run_)
        for (int64_t i = c; i < c + run_ / 2; i++) *out++ = std::byte((codes[i] + 8) | (codes[i + run_ / 2] + 8) << 4);
    }
    return out;
  }

  const WeightMatrix& weight_;
  int64_t run_, group_, groups_;
  CodesLayout layout_;
};

struct CodesIsa {
  std::string_view isa, name;
  DecodeFloat (*loop)(CodesLayout layout) noexcept;
  int64_t run;  // columns
};
constexpr CodesIsa kAvx512 = {"avx512", "avx512::decode_codes_float", avx512::decode_codes, 32},
                   kAvx2 = {"avx2", "avx2::decode_codes_float", avx2::decode_codes, 16};

template <const CodesIsa* isa>
std::optional<std::string> accepts(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, isa->isa)) return lacking;
  if ((problem.weights != DType::kS8 && problem.weights != DType::kS4) || problem.activations != DType::kF32)
    return "multiplies f32 activations with s8 or s4 weights";
  if (problem.group % kDecodeGroup != 0) return cat("wants scale groups of a multiple of ", kDecodeGroup, " columns");
  if (tokens > kDecodeTokens) return "meant for at most 8 tokens";
  return std::nullopt;
}

template <const CodesIsa* isa>
std::unique_ptr<PackedLinear> pack(const LinearProblem& problem, const WeightMatrix& weight) {
  CodesPacker packer(weight, problem.weights == DType::kS4, isa->run);
  return std::make_unique<DecodeLinear>(isa->name, DecodeLoop{isa->loop(packer.layout())}, weight.rows, weight.cols, packer.stream());
}

template <const CodesIsa* isa>
constexpr LinearKernel kernel() {
  return {.name = isa->name,
          .help = "1-8 tokens of floats, dense 8-bit or 4-bit weights decoded in registers",
          .sparse = false,
          .break_even = 0,
          .accepts = accepts<isa>,
          .pack = pack<isa>};
}

}  // namespace

extern const LinearKernel avx512_decode_codes_float = kernel<&kAvx512>();
extern const LinearKernel avx2_decode_codes_float = kernel<&kAvx2>();

}  // namespace lacuna::kernels
