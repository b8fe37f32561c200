// Linear over integer/panel.h: int8, unstructured and in blocks, for many tokens.
#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/integer/panel_weight.h"
#include "kernels/integer/token_codes.h"
#include "kernels/support.h"

namespace lacuna::kernels {

namespace avx512_vnni {
extern const Lane16Isa lane16;
extern const PanelIsa panels;
}  // namespace avx512_vnni
namespace avx512 {
extern const Lane16Isa lane16;
extern const PanelIsa panels;
}  // namespace avx512
namespace avx2_vnni {
extern const Lane16Isa lane16;
extern const PanelIsa panels;
}  // namespace avx2_vnni
namespace avx2 {
extern const Lane16Isa lane16;
extern const PanelIsa panels;
}  // namespace avx2

namespace {

class PanelLinear : public PackedLinear {
 public:
  PanelLinear(std::string_view kernel, const LinearProblem& problem, const WeightMatrix& weight, const PanelSet& set, const PanelOptions& options)
      : kernel_(kernel), set_(set), weight_(weight, set.panels, options) {
    wanted_.flip = set.panels.unsigned_x ? 0x80 : 0;
    wanted_.token_multiple = 16;
    wanted_.input_scale = problem.input_scale, wanted_.input_zero = problem.input_zero;
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override { return weight_.size_bytes(); }
  Shape shape() const override { return {weight_.rows(), weight_.cols()}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    if (tokens == 0 || weight_.rows() == 0) return;
    int64_t lanes = set_.panels.tokens, count = (tokens + lanes - 1) / lanes;
    uint8_t* panels = thread_scratch_of<uint8_t>(ScratchSlot::kSharedSecond, count * weight_.panel_bytes());
    TokenCodes codes = quantize_tokens(x, x_stride, tokens, weight_.cols(), wanted_, set_.tokens,
                                       [&](const TokenCodes& made, int64_t first) { interleave(made, first, panels); });
    parallel_for(weight_.chunks() * count, [&](int64_t i) {
      int64_t chunk = i / count, first_token = i % count * lanes;
      int32_t* sums = thread_scratch_of<int32_t>(ScratchSlot::kTile, weight_.chunk_rows() * lanes);
      bool whole = tokens - first_token >= lanes && (chunk + 1) * weight_.chunk_rows() <= weight_.rows();
      const float* outputs = whole ? y + first_token * y_stride + chunk * weight_.chunk_rows() : nullptr;
      weight_.multiply(chunk, panels + i % count * weight_.panel_bytes(), sums, outputs, y_stride);
      PanelWeight::Finish finish = {.x_scales = codes.scales + first_token, .interleaved = !weight_.options().aligned, .channel_major = false};
      weight_.store(chunk, sums, finish, first_token, std::min(lanes, tokens - first_token), y, y_stride, epilogue);
    });
  }

 private:
  // Sixteen tokens to their place in the panels.
  void interleave(const TokenCodes& codes, int64_t first, uint8_t* panels) const {
    int64_t lanes = set_.panels.tokens, cols = (weight_.cols() + 63) / 64 * 64;
    bool aligned = weight_.options().aligned;
    auto fill = aligned ? set_.panels.interleave_quads : set_.panels.interleave_bytes;
    fill(codes.codes + first * codes.stride, codes.stride, cols, panels + first / lanes * weight_.panel_bytes() + first % lanes * (aligned ? 4 : 1));
  }

  std::string_view kernel_;
  PanelSet set_;
  PanelWeight weight_;
  TokenCodesWanted wanted_;
};

enum class Kind { kQuads, kBlocks, kDense };

std::optional<std::string> accepts(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu, std::string_view isa, Kind kind) {
  if (auto reason = lacks(cpu, isa)) return reason;
  if (problem.weights != DType::kS8 || problem.activations != DType::kS8) return "takes s8 weights and activations";
  if (problem.group != 0 || problem.minima) return "takes one scale per row";
  if (kind != Kind::kDense && problem.pattern == "dense") return "is for sparse weights";
  if (kind == Kind::kBlocks && !panel_blocks(problem.pattern))
    return cat("takes blocks whose rows or columns are a multiple of 4, not ", problem.pattern);
  if (tokens < 9) return "is for more than 8 tokens";
  return std::nullopt;
}

PanelOptions options_for(const LinearProblem& problem, Kind kind) {
  PanelOptions options = kind == Kind::kDense    ? PanelOptions{.group_rows = 4, .aligned = true, .skips = false}
                         : kind == Kind::kBlocks ? *panel_blocks(problem.pattern)
                                                 : PanelOptions();
  options.input_zero = problem.input_zero;
  return options;
}

}  // namespace

#define LACUNA_PANEL(isa, kernel, kind, text, even)                                                                                  \
  extern const LinearKernel isa##_##kernel = {                                                                                       \
      .name = #isa "::" #kernel,                                                                                                     \
      .help = text,                                                                                                                  \
      .sparse = kind != Kind::kDense,                                                                                                \
      .break_even = even,                                                                                                            \
      .accepts = [](const LinearProblem& p, int64_t tokens, const CpuFeatures& cpu) { return accepts(p, tokens, cpu, #isa, kind); }, \
      .pack = [](const LinearProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedLinear> {                                   \
        return std::make_unique<PanelLinear>(#isa "::" #kernel, p, w, PanelSet{isa::panels, isa::lane16}, options_for(p, kind));     \
      }};

#define LACUNA_PANEL_ISA(isa)                                                                                                 \
  LACUNA_PANEL(isa, blocks_s8, Kind::kBlocks, "int8 blocks of 1x4, 4x1, 4x4 and multiples, tokens in the lanes", 0.3)         \
  LACUNA_PANEL(isa, quads_s8, Kind::kQuads, "int8 unstructured, four columns of a row interleaved, tokens in the lanes", 0.7) \
  LACUNA_PANEL(isa, dense_panels_s8, Kind::kDense, "dense int8 in 4x4 blocks, tokens in the lanes", 0)

LACUNA_PANEL_ISA(avx512_vnni)
LACUNA_PANEL_ISA(avx512)
LACUNA_PANEL_ISA(avx2_vnni)
LACUNA_PANEL_ISA(avx2)

}  // namespace lacuna::kernels
