// Linear candidates for one to eight tokens with f32, bf16 or f16 weights, dense or behind a bitmask; the stream is described in
// inner/decode_float.h. Any number of tokens runs, eight at a time.
#include <algorithm>
#include <cstring>

#include "base/buffer.h"
#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/inner/decode_float.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

// The loops of one ISA for one type of values.
struct DecodeLoop {
  DecodeFloat run = nullptr;
  int64_t pair_block = 0;  // order of the activations, see DecodeTask
};
struct DecodeIsa {
  std::string_view isa;
  DecodeLoop f32, bf16, f16;
  const DecodeLoop& loop(DType type) const { return type == DType::kF32 ? f32 : type == DType::kBF16 ? bf16 : f16; }
};

class DecodeLinear final : public PackedLinear {
 public:
  DecodeLinear(std::string_view name, const DecodeLoop& loop, bool masked, DType type, const WeightMatrix& weight)
      : name_(name), loop_(loop), rows_(weight.rows), cols_(weight.cols), groups_((weight.rows + kDecodeRows - 1) / kDecodeRows) {
    chunks_ = (cols_ + kDecodeCols - 1) / kDecodeCols;
    Packer packer = {weight, type, masked};
    for (int64_t g = 0; g < groups_; g++) {
      offsets_.push_back(packer.size);
      for (int64_t c = 0; c < chunks_; c++) packer.measure(g, c);
    }
    offsets_.push_back(packer.size);
    stream_ = allocate(size_t(packer.size));
    packer.out = stream_.get();
    for (int64_t g = 0; g < groups_; g++)
      for (int64_t c = 0; c < chunks_; c++) packer.write(g, c);
  }

  std::string_view kernel() const override { return name_; }
  int64_t size_bytes() const override { return offsets_.back() + int64_t(offsets_.size() * sizeof(int64_t)); }
  Shape shape() const override { return {rows_, cols_}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    for (int64_t first = 0; first < tokens && rows_ > 0; first += kDecodeTokens)
      run_block(x, x_stride, first, std::min(kDecodeTokens, tokens - first), y, y_stride, epilogue);
  }

 private:
  // Writes tiles; measure() counts their bytes beforehand.
  struct Packer {
    const WeightMatrix& weight;
    DType type;
    bool masked;
    int64_t size = 0;
    std::byte* out = nullptr;

    int64_t value_bytes() const { return bits_of(type) / 8; }
    // A weight that is kept but zero needs no place.
    float value(int64_t row, int64_t col) const { return row < weight.rows && col < weight.cols ? weight.values[row * weight.cols + col] : 0.0f; }
    uint64_t mask_of(int64_t row, int64_t chunk) const {
      uint64_t mask = 0;
      for (int64_t c = 0; c < kDecodeCols; c++) mask |= uint64_t(value(row, chunk * kDecodeCols + c) != 0) << c;
      return mask;
    }
    void measure(int64_t group, int64_t chunk) {
      if (!masked)
        size += kDecodeRows * kDecodeCols * value_bytes();
      else
        for (int64_t row = group * kDecodeRows; row < (group + 1) * kDecodeRows; row++)
          size += 8 + std::popcount(mask_of(row, chunk)) * value_bytes();
    }
    void write(int64_t group, int64_t chunk) {
      std::byte* masks = out;
      if (masked) out += kDecodeRows * int64_t(sizeof(uint64_t));
      for (int64_t r = 0; r < kDecodeRows; r++) {
        int64_t row = group * kDecodeRows + r;
        uint64_t mask = masked ? mask_of(row, chunk) : ~uint64_t(0);
        if (masked) std::memcpy(masks + r * int64_t(sizeof mask), &mask, sizeof mask);
        for (int64_t c = 0; c < kDecodeCols; c++) {
          if (!((mask >> c) & 1)) continue;
          float v = value(row, chunk * kDecodeCols + c);
          convert_from_f32(&v, 1, type, out);
          out += value_bytes();
        }
      }
    }
  };

  // [chunk][lanes][64] of tokens [first, first + tokens); lanes beyond the tokens are zero.
  void fill_activations(const float* x, int64_t x_stride, int64_t first, int64_t tokens, int64_t lanes, float* out) const {
    for (int64_t chunk = 0; chunk < chunks_; chunk++) {
      int64_t cols = std::min(kDecodeCols, cols_ - chunk * kDecodeCols);
      for (int64_t t = 0; t < lanes; t++, out += kDecodeCols) {
        if (t >= tokens || cols < kDecodeCols) std::fill_n(out, kDecodeCols, 0.0f);
        if (t >= tokens) continue;
        const float* from = x + (first + t) * x_stride + chunk * kDecodeCols;
        if (loop_.pair_block == 0)
          std::copy_n(from, cols, out);
        else
          for (int64_t c = 0; c < cols; c++) {
            int64_t in_block = c % loop_.pair_block;
            out[c - in_block + in_block / 2 + in_block % 2 * (loop_.pair_block / 2)] = from[c];
          }
      }
    }
  }

  void run_block(const float* x, int64_t x_stride, int64_t first, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const {
    int64_t lanes = tokens <= 2 ? tokens : tokens <= 4 ? 4 : 8;
    float* activations = thread_scratch_of<float>(ScratchSlot::kShared, chunks_ * lanes * kDecodeCols);
    fill_activations(x, x_stride, first, tokens, lanes, activations);
    // Groups are shared out by the bytes of their streams.
    int64_t total = offsets_.back(), parts = std::clamp<int64_t>(total / (64 << 10), 1, std::min<int64_t>(groups_, 8 * thread_count()));
    auto boundary = [&](int64_t part) {
      if (part == parts) return groups_;
      return int64_t(std::lower_bound(offsets_.begin(), offsets_.end() - 1, total * part / parts) - offsets_.begin());
    };
    parallel_for(parts, [&](int64_t part) {
      for (int64_t begin = boundary(part), end = boundary(part + 1), most = 256; begin < end; begin += most)
        run_groups(begin, std::min(begin + most, end), first, tokens, lanes, activations, y, y_stride, epilogue);
    });
  }

  void run_groups(int64_t begin, int64_t end, int64_t first, int64_t tokens, int64_t lanes, const float* activations, float* y, int64_t y_stride,
                  const Epilogue& epilogue) const {
    int64_t stride = (end - begin) * kDecodeRows;
    float* sums = thread_scratch_of<float>(ScratchSlot::kTile, lanes * stride);
    const std::byte* stream = stream_.get() + offsets_[size_t(begin)];
    for (int64_t g = begin; g < end; g++)
      stream = loop_.run(
          {.stream = stream, .chunks = chunks_, .x = activations, .tokens = lanes, .sums = sums + (g - begin) * kDecodeRows, .sums_stride = stride});
    int64_t first_row = begin * kDecodeRows;
    store_token_major({.sums = sums,
                       .sums_stride = stride,
                       .first_row = first_row,
                       .rows = std::min(stride, rows_ - first_row),
                       .first_token = first,
                       .tokens = tokens},
                      y, y_stride, epilogue);
  }

  std::string_view name_;
  const DecodeLoop& loop_;
  int64_t rows_, cols_, groups_, chunks_ = 0;
  std::vector<int64_t> offsets_;  // bytes, per group, and the end
  std::shared_ptr<std::byte[]> stream_;
};

constexpr DecodeIsa kAvx2Dense = {"avx2", {avx2::decode_dense_f32}, {avx2::decode_dense_bf16, 16}, {avx2::decode_dense_f16}};
constexpr DecodeIsa kAvx2Mask = {"avx2", {avx2::decode_mask_f32}, {avx2::decode_mask_bf16}, {avx2::decode_mask_f16}};
constexpr DecodeIsa kAvx512Dense = {"avx512", {avx512::decode_dense_f32}, {avx512::decode_dense_bf16, 32}, {avx512::decode_dense_f16}};
constexpr DecodeIsa kAvx512Mask = {"avx512", {avx512::decode_mask_f32}, {avx512::decode_mask_bf16}, {avx512::decode_mask_f16}};
constexpr DecodeIsa kVbmi2Mask = {"avx512_vbmi2", {}, {avx512_vbmi2::decode_mask_bf16, 32}, {avx512_vbmi2::decode_mask_f16}};

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
  return std::make_unique<DecodeLinear>(*name, isa->loop(problem.weights), masked, problem.weights, weight);
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
