// Linear candidates over SpmmMatrix: f32 arithmetic, more than a few tokens, unstructured or in blocks of four rows.
#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/spmm_f32.h"

namespace lacuna::kernels {
namespace {

// x [tokens, cols]: panels are transposed out of it, sums are transposed into y [tokens, rows].
struct TokenMajor final : PanelSource {
  const SpmmF32Isa& isa;
  const float* x;
  int64_t x_stride;
  float* y;
  int64_t y_stride;
  const Epilogue& epilogue;
  TokenMajor(const SpmmF32Isa& isa_in, const float* x_in, int64_t x_stride_in, float* y_in, int64_t y_stride_in, const Epilogue& epilogue_in)
      : isa(isa_in), x(x_in), x_stride(x_stride_in), y(y_in), y_stride(y_stride_in), epilogue(epilogue_in) {}

  void pack(int64_t first_token, int64_t tokens, int64_t first_col, int64_t cols, int64_t, float* out) const override {
    int64_t lanes = (tokens + isa.vector_lanes - 1) / isa.vector_lanes * isa.vector_lanes;
    isa.transpose(x + first_token * x_stride + first_col, x_stride, tokens, cols, out, kPanelLanes, lanes);
  }
  void store(int64_t first_token, int64_t tokens, int64_t first_row, int64_t rows, int64_t, const float* sums) const override {
    store_transposed({.sums = sums, .sums_stride = kPanelLanes, .first_row = first_row, .rows = rows, .first_token = first_token, .tokens = tokens},
                     y, y_stride, epilogue);
  }
};

// x [cols, n] and y [rows, n]: panels are copied.
struct ChannelMajor final : PanelSource {
  const SpmmF32Isa& isa;
  const float* x;
  int64_t x_stride;
  float* y;
  int64_t y_stride;
  const Epilogue& epilogue;
  ChannelMajor(const SpmmF32Isa& isa_in, const float* x_in, int64_t x_stride_in, float* y_in, int64_t y_stride_in, const Epilogue& epilogue_in)
      : isa(isa_in), x(x_in), x_stride(x_stride_in), y(y_in), y_stride(y_stride_in), epilogue(epilogue_in) {}

  void pack(int64_t first_token, int64_t tokens, int64_t first_col, int64_t cols, int64_t panel_pitch, float* out) const override {
    const float* columns[kMostTileCols];
    for (int64_t c = 0; c < cols; c++) columns[c] = x + (first_col + c) * x_stride + first_token;
    isa.copy_lanes(columns, cols, tokens, panel_pitch, out);
  }
  void store(int64_t first_token, int64_t tokens, int64_t first_row, int64_t rows, int64_t panel_pitch, const float* sums) const override {
    store_channel_major({.sums = sums,
                         .sums_stride = kPanelLanes,
                         .first_row = first_row,
                         .rows = rows,
                         .first_token = first_token,
                         .tokens = tokens,
                         .panel_pitch = panel_pitch},
                        y, y_stride, epilogue);
  }
  bool streams() const override { return true; }
};

class SpmmLinear final : public PackedLinear {
 public:
  SpmmLinear(std::string_view name, const SpmmF32Isa& isa, const LinearProblem& problem, const WeightMatrix& weight, SpmmMatrix::Store store)
      : name_(name), matrix_(packed(isa, problem, weight, store)) {}

  std::string_view kernel() const override { return name_; }
  int64_t size_bytes() const override { return matrix_.size_bytes(); }
  Shape shape() const override { return {matrix_.rows(), matrix_.cols()}; }
  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    multiply(matrix_, TokenMajor(matrix_.isa(), x, x_stride, y, y_stride, epilogue), tokens);
  }
  void run_channel_major(const float* x, int64_t x_stride, int64_t n, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    multiply(matrix_, ChannelMajor(matrix_.isa(), x, x_stride, y, y_stride, epilogue), n);
  }

 private:
  static SpmmMatrix packed(const SpmmF32Isa& isa, const LinearProblem& problem, const WeightMatrix& weight, SpmmMatrix::Store store) {
    if (problem.weights == DType::kF32) return {isa, weight.rows, weight.cols, weight.values, store};
    // Rounded to the type of the weights.
    Tensor values(DType::kF32, {weight.rows, weight.cols}, false);
    float* rounded = values.mutable_data<float>().data();
    parallel_for(weight.rows, [&](int64_t r) {
      for (int64_t i = r * weight.cols; i < (r + 1) * weight.cols; i++)
        rounded[i] = problem.weights == DType::kBF16 ? bf16_to_f32(f32_to_bf16(weight.values[i])) : f16_to_f32(f32_to_f16(weight.values[i]));
    });
    return {isa, weight.rows, weight.cols, rounded, store};
  }

  std::string_view name_;
  SpmmMatrix matrix_;
};

bool is_row_block(const std::string& pattern) { return pattern == "block:4x1" || pattern == "block:4x4" || pattern.starts_with("block:8x"); }

enum class Kind { kUnstructured, kBlocks, kDense };

std::optional<std::string> accepts(std::string_view isa, Kind kind, const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, isa)) return lacking;
  if (isa == kSpmmBf16.name && (problem.weights != DType::kBF16 || problem.activations != DType::kBF16)) return "multiplies bf16 only";
  if (isa != kSpmmBf16.name && (!is_float(problem.weights) || problem.activations != DType::kF32))
    return "multiplies f32 activations with float weights";
  if (kind != Kind::kDense && problem.pattern == "dense") return "the weight is dense";
  if (kind == Kind::kBlocks && !is_row_block(problem.pattern)) return cat("wants blocks of four rows, not ", problem.pattern);
  if (tokens <= 8) return "meant for more than 8 tokens";
  return std::nullopt;
}

template <const SpmmF32Isa* isa, Kind kind>
std::optional<std::string> accepts_kind(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu) {
  return accepts(isa->name, kind, problem, tokens, cpu);
}

template <const SpmmF32Isa* isa, const std::string_view* name, SpmmMatrix::Store store>
std::unique_ptr<PackedLinear> pack(const LinearProblem& problem, const WeightMatrix& weight) {
  return std::make_unique<SpmmLinear>(*name, *isa, problem, weight, store);
}

constexpr std::string_view kAvx512Spmm = "avx512::spmm_csr_f32_n64";
constexpr std::string_view kAvx512SpmmBlocks = "avx512::spmm_bsr4_f32_n64";
constexpr std::string_view kAvx512Dense = "avx512::dense_f32_n64";
constexpr std::string_view kAvx2Spmm = "avx2::spmm_csr_f32_n64";
constexpr std::string_view kAvx2SpmmBlocks = "avx2::spmm_bsr4_f32_n64";
constexpr std::string_view kAvx2Dense = "avx2::dense_f32_n64";
constexpr std::string_view kBf16Spmm = "avx512_bf16::spmm_csr_bf16_n64";

}  // namespace

extern const LinearKernel avx512_bf16_spmm = {.name = kBf16Spmm,
                                              .help = "unstructured bf16, two non-zeros at a time by vdpbf16ps",
                                              .sparse = true,
                                              .break_even = 0.7,
                                              .accepts = accepts_kind<&kSpmmBf16, Kind::kUnstructured>,
                                              .pack = pack<&kSpmmBf16, &kBf16Spmm, SpmmMatrix::Store::kSingle>};
extern const LinearKernel avx512_spmm_f32 = {.name = kAvx512Spmm,
                                             .help = "unstructured f32, 64 tokens side by side",
                                             .sparse = true,
                                             .break_even = 0.45,
                                             .accepts = accepts_kind<&kSpmmF32Avx512, Kind::kUnstructured>,
                                             .pack = pack<&kSpmmF32Avx512, &kAvx512Spmm, SpmmMatrix::Store::kSingle>};
extern const LinearKernel avx512_spmm_blocks_f32 = {.name = kAvx512SpmmBlocks,
                                                    .help = "f32 in blocks of four rows that share their loads",
                                                    .sparse = true,
                                                    .break_even = 0.2,
                                                    .accepts = accepts_kind<&kSpmmF32Avx512, Kind::kBlocks>,
                                                    .pack = pack<&kSpmmF32Avx512, &kAvx512SpmmBlocks, SpmmMatrix::Store::kRowBlocks>};
extern const LinearKernel avx512_dense_f32 = {.name = kAvx512Dense,
                                              .help = "dense f32 in blocks of four rows",
                                              .sparse = false,
                                              .break_even = 0,
                                              .accepts = accepts_kind<&kSpmmF32Avx512, Kind::kDense>,
                                              .pack = pack<&kSpmmF32Avx512, &kAvx512Dense, SpmmMatrix::Store::kDense>};
extern const LinearKernel avx2_spmm_f32 = {.name = kAvx2Spmm,
                                           .help = "unstructured f32, 64 tokens side by side",
                                           .sparse = true,
                                           .break_even = 0.45,
                                           .accepts = accepts_kind<&kSpmmF32Avx2, Kind::kUnstructured>,
                                           .pack = pack<&kSpmmF32Avx2, &kAvx2Spmm, SpmmMatrix::Store::kSingle>};
extern const LinearKernel avx2_spmm_blocks_f32 = {.name = kAvx2SpmmBlocks,
                                                  .help = "f32 in blocks of four rows that share their loads",
                                                  .sparse = true,
                                                  .break_even = 0.2,
                                                  .accepts = accepts_kind<&kSpmmF32Avx2, Kind::kBlocks>,
                                                  .pack = pack<&kSpmmF32Avx2, &kAvx2SpmmBlocks, SpmmMatrix::Store::kRowBlocks>};
extern const LinearKernel avx2_dense_f32 = {.name = kAvx2Dense,
                                            .help = "dense f32 in blocks of four rows",
                                            .sparse = false,
                                            .break_even = 0,
                                            .accepts = accepts_kind<&kSpmmF32Avx2, Kind::kDense>,
                                            .pack = pack<&kSpmmF32Avx2, &kAvx2Dense, SpmmMatrix::Store::kDense>};

}  // namespace lacuna::kernels
