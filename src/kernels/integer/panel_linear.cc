// The candidates over integer/panel.h: int8, unstructured, 1x4, 4x1 and 4x4 blocks, for many tokens.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/integer/panel_pack.h"
#include "kernels/integer/token_codes.h"
#include "kernels/support.h"

namespace lacuna::kernels {

namespace avx512_vnni { extern const Lane16Isa lane16; extern const PanelIsa panels; }
namespace avx512 { extern const Lane16Isa lane16; extern const PanelIsa panels; }
namespace avx2_vnni { extern const Lane16Isa lane16; extern const PanelIsa panels; }
namespace avx2 { extern const Lane16Isa lane16; extern const PanelIsa panels; }

namespace {

constexpr int64_t kOutputRows = 16;

class PanelLinear : public PackedLinear {
 public:
  PanelLinear(std::string_view kernel, const LinearProblem& problem, const WeightMatrix& weight, const Lane16Isa& tokens_isa, const PanelIsa& isa,
              const PanelOptions& options)
      : kernel_(kernel), tokens_isa_(tokens_isa), isa_(isa), weight_(pack_panels(weight, isa, options)) {
    wanted_.flip = isa.unsigned_x ? 0x80 : 0;
    wanted_.token_multiple = 16;
    wanted_.input_scale = problem.input_scale;
    run_ = isa.run[options.group_rows == 4][options.aligned];
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override { return weight_.size_bytes(); }
  Shape shape() const override { return {weight_.rows, weight_.cols}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    if (tokens == 0 || weight_.rows == 0) return;
    Panels panels = interleave(quantize_tokens(x, x_stride, tokens, weight_.cols, wanted_, tokens_isa_), tokens);
    multiply(panels, tokens, y, y_stride, epilogue, false);
  }

 private:
  struct Panels {
    const uint8_t* data;
    int64_t stride;       // bytes of a panel
    const float* scales;  // [panels * panel tokens]
  };

  Panels interleave(const TokenCodes& codes, int64_t tokens) const {
    int64_t cols = (weight_.cols + 63) / 64 * 64, count = (tokens + isa_.tokens - 1) / isa_.tokens, stride = cols * isa_.tokens;
    uint8_t* data = thread_scratch_of<uint8_t>(ScratchSlot::kSharedSecond, count * stride);
    auto fill = weight_.options.aligned ? isa_.interleave_quads : isa_.interleave_bytes;
    int64_t token_bytes = weight_.options.aligned ? 4 : 1;
    parallel_for((tokens + 15) / 16, [&](int64_t i) {
      int64_t first = 16 * i;
      fill(codes.codes + first * codes.stride, codes.stride, cols, data + first / isa_.tokens * stride + first % isa_.tokens * token_bytes);
    });
    return {data, stride, codes.scales};
  }

  void multiply(const Panels& panels, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue, bool channel_major) const {
    int64_t count = (tokens + isa_.tokens - 1) / isa_.tokens;
    parallel_for(weight_.chunks() * count, [&](int64_t i) {
      int64_t chunk = i / count, first_token = i % count * isa_.tokens;
      int32_t* sums = thread_scratch_of<int32_t>(ScratchSlot::kTile, weight_.chunk_rows * isa_.tokens);
      for (int64_t tile = 0; tile < weight_.tiles; tile++) run_tile(chunk, tile, panels.data + i % count * panels.stride, sums);
      int64_t first_row = chunk * weight_.chunk_rows;
      store(sums, panels.scales + first_token,
            {.sums = nullptr,
             .sums_stride = isa_.tokens,
             .first_row = first_row,
             .rows = std::min(weight_.chunk_rows, weight_.rows - first_row),
             .first_token = first_token,
             .tokens = std::min(isa_.tokens, tokens - first_token)},
            y, y_stride, epilogue, channel_major);
    });
  }

  void run_tile(int64_t chunk, int64_t tile, const uint8_t* panel, int32_t* sums) const {
    size_t unit = size_t(chunk * weight_.tiles + tile);
    run_({.stream = reinterpret_cast<const uint8_t*>(weight_.stream.get()) + weight_.stream_begin[unit],
          .quads = weight_.quads.data() + weight_.quads_begin[unit],
          .row_groups = weight_.quads_begin[unit + 1] - weight_.quads_begin[unit],
          .panel = panel + tile * weight_.tile_cols * isa_.tokens,
          .sums = sums,
          .accumulate = tile > 0});
  }

  // Sixteen rows and all tokens of a panel at a time are finished in registers; other activations and rests in scratch memory.
  void store(const int32_t* sums, const float* x_scales, OutputTile tile, float* y, int64_t y_stride, const Epilogue& epilogue, bool channel_major) const {
    bool simple = epilogue.activation == Activation::kNone || epilogue.activation == Activation::kRelu;
    int64_t fused_rows = simple && tile.tokens == isa_.tokens ? tile.rows / kOutputRows * kOutputRows : 0;
    PanelOutput out = {};
    out.interleaved = !weight_.options.aligned, out.x_scales = x_scales;
    auto take_rows = [&](int64_t row, int64_t rows) {
      out.sums = sums + row * isa_.tokens, out.rows = rows;
      if (!weight_.excess.empty()) out.excess = weight_.excess.data() + tile.first_row + row;
      out.scales = weight_.scales.data() + tile.first_row + row;
    };
    if (fused_rows > 0) {
      auto at = [&](int64_t stride) { return channel_major ? tile.first_row * stride + tile.first_token : tile.first_token * stride + tile.first_row; };
      take_rows(0, fused_rows);
      out.y = y + at(y_stride), out.y_stride = y_stride;
      if (epilogue.bias) out.bias = epilogue.bias + tile.first_row;
      if (epilogue.residual) out.residual = epilogue.residual + at(epilogue.residual_stride);
      out.residual_stride = epilogue.residual_stride, out.relu = epilogue.activation == Activation::kRelu;
      channel_major ? isa_.output_channel_major(out) : isa_.output_token_major(out);
      out = {.interleaved = out.interleaved, .x_scales = x_scales};
    }
    for (int64_t row = fused_rows; row < tile.rows; row += kOutputRows) {
      float* finished = thread_scratch_of<float>(ScratchSlot::kTileSecond, kOutputRows * isa_.tokens);
      take_rows(row, kOutputRows);
      out.y = finished, out.y_stride = isa_.tokens;
      isa_.output_channel_major(out);
      OutputTile rest = tile;
      rest.sums = finished, rest.first_row += row, rest.rows = std::min(kOutputRows, tile.rows - row);
      channel_major ? store_channel_major(rest, y, y_stride, epilogue) : store_transposed(rest, y, y_stride, epilogue);
    }
  }

  std::string_view kernel_;
  const Lane16Isa& tokens_isa_;
  const PanelIsa& isa_;
  PanelWeight weight_;
  TokenCodesWanted wanted_;
  PanelRun run_;
};

// block:RxC as quads: rows of a group and neighbouring columns in fours.
std::optional<PanelOptions> block_options(std::string_view pattern) {
  int rows = 0, cols = 0;
  if (!pattern.starts_with("block:")) return std::nullopt;
  const char *begin = pattern.data() + 6, *end = pattern.data() + pattern.size();
  auto first = std::from_chars(begin, end, rows);
  if (first.ptr == end || *first.ptr != 'x' || std::from_chars(first.ptr + 1, end, cols).ptr != end) return std::nullopt;
  if (rows % 4 != 0 && cols % 4 != 0) return std::nullopt;
  return PanelOptions{.group_rows = rows % 4 == 0 ? 4 : 1, .aligned = cols % 4 == 0};
}

std::optional<std::string> accepts(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu, std::string_view isa, bool blocks) {
  if (auto reason = lacks(cpu, isa)) return reason;
  if (problem.weights != DType::kS8 || problem.activations != DType::kS8) return "takes s8 weights and activations";
  if (problem.group != 0 || problem.minima) return "takes one scale per row";
  if (problem.pattern == "dense") return "is for sparse weights";
  if (blocks && !block_options(problem.pattern)) return cat("takes blocks whose rows or columns are a multiple of 4, not ", problem.pattern);
  if (tokens < 9) return "is for more than 8 tokens";
  return std::nullopt;
}

}  // namespace

#define LACUNA_PANEL(isa, kernel, blocks, text, even)                                                                                             \
  extern const LinearKernel isa##_##kernel = {                                                                                                    \
      .name = #isa "::" #kernel,                                                                                                                  \
      .help = text,                                                                                                                               \
      .sparse = true,                                                                                                                             \
      .break_even = even,                                                                                                                         \
      .accepts = [](const LinearProblem& p, int64_t tokens, const CpuFeatures& cpu) { return accepts(p, tokens, cpu, #isa, blocks); },                  \
      .pack = [](const LinearProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedLinear> {                                                \
        return std::make_unique<PanelLinear>(#isa "::" #kernel, p, w, isa::lane16, isa::panels, blocks ? *block_options(p.pattern) : PanelOptions()); \
      }};

#define LACUNA_PANEL_ISA(isa)                                                                                      \
  LACUNA_PANEL(isa, blocks_s8, true, "int8 blocks of 1x4, 4x1, 4x4 and multiples, tokens in the lanes", 0.3)       \
  LACUNA_PANEL(isa, quads_s8, false, "int8 unstructured, four columns of a row interleaved, tokens in the lanes", 0.7)

LACUNA_PANEL_ISA(avx512_vnni)
LACUNA_PANEL_ISA(avx512)
LACUNA_PANEL_ISA(avx2_vnni)
LACUNA_PANEL_ISA(avx2)

}  // namespace lacuna::kernels
