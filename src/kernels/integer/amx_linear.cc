// Int8 linear on AMX: dense, and sparse under a bitmask. AMX skips no zeros; a sparse weight gains by its size alone, which decides as soon as
// the weights come from memory: tiles multiply faster than memory delivers them.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/integer/amx_weight.h"
#include "kernels/integer/lane16_linear.h"
#include "kernels/integer/token_codes.h"
#include "kernels/support.h"

namespace lacuna::kernels {

namespace {

class AmxLinear : public PackedLinear {
 public:
  AmxLinear(std::string_view kernel, const LinearProblem& problem, const WeightMatrix& weight, bool bitmask)
      : kernel_(kernel),
        bitmask_(bitmask),
        weight_(pack_lane16(weight, amx_layout(),
                            {.format = bitmask ? Lane16Format::kBitmask : Lane16Format::kDense, .input_zero = problem.input_zero})) {
    LACUNA_ASSERT(amx_granted());
    for (int64_t i = 0; i < weight_.units / 2; i++) chunk_offsets_.push_back(64 * i);
    wanted_.token_multiple = 16;
    wanted_.input_scale = problem.input_scale, wanted_.input_zero = problem.input_zero;
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override { return weight_.size_bytes(); }
  Shape shape() const override { return {weight_.rows, weight_.cols}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    if (tokens == 0 || weight_.rows == 0) return;
    TokenCodes codes = quantize_tokens(x, x_stride, tokens, weight_.cols, wanted_, amx_layout());
    int64_t quads = (weight_.row_groups() + 3) / 4, blocks = (tokens + kBlockTokens - 1) / kBlockTokens;
    // A task takes some quads one after another, so that it knows which weights to fetch ahead.
    int64_t parts = std::min<int64_t>(quads, std::max<int64_t>(1, (4 * thread_count() + blocks - 1) / blocks));
    parallel_for(parts * blocks, [&](int64_t i) {
      int64_t first = i % blocks * kBlockTokens, part = i / blocks, last = (part + 1) * quads / parts;
      for (int64_t quad = part * quads / parts; quad < last; quad++)
        run_quad(codes, quad * 4, std::min(last * 4, weight_.row_groups()), first, std::min(kBlockTokens, tokens - first), y, y_stride, epilogue);
    });
  }

 private:
  static constexpr int64_t kBlockTokens = 128;

  // Four row groups, so that outputs of a token are 256 bytes together, for a block of tokens whose sums stay in the cache.
  // The task ends before row group `end`.
  void run_quad(const TokenCodes& codes, int64_t first_group, int64_t end, int64_t first_token, int64_t tokens, float* y, int64_t y_stride,
                const Epilogue& epilogue) const {
    int64_t token_tiles = (tokens + 15) / 16, groups = std::min<int64_t>(4, weight_.row_groups() - first_group);
    int32_t* sums = thread_scratch_of<int32_t>(ScratchSlot::kTileSecond, 4 * token_tiles * 256);
    for (int64_t i = 0; i < groups; i += 2) {
      // Outputs lie on as many pages as there are tokens: their lines are fetched while the sums are made.
      for (int64_t t = 0; t < tokens; t++)
        for (int64_t k = i; k < std::min(i + 2, groups); k++) __builtin_prefetch(y + (first_token + t) * y_stride + (first_group + k) * kLanes, 1, 2);
      multiply_pair(codes, first_group + i, end, first_token, token_tiles, sums + i * token_tiles * 256);
    }
    for (int64_t t = 0; t < tokens; t += 16)
      for (int64_t i = 0; i < groups; i++)
        store_row_group(weight_, amx_layout(), first_group + i, sums + i * token_tiles * 256 + t * 16, nullptr, codes.scales + first_token + t,
                        first_token + t, std::min<int64_t>(16, tokens - t), y, y_stride, epilogue);
  }

  // Sums [2][token_tiles * 16][16] of row groups g and g + 1; an odd last one is multiplied twice.
  void multiply_pair(const TokenCodes& codes, int64_t g, int64_t end, int64_t first_token, int64_t token_tiles, int32_t* sums) const {
    int64_t chunks = weight_.units / 2;
    uint8_t* tiles = bitmask_ ? thread_scratch_of<uint8_t>(ScratchSlot::kTile, 2 * chunks * kAmxTile) : nullptr;
    std::array<int64_t, kBlockTokens / 16> tile_offsets;
    for (int64_t t = 0; t < token_tiles; t++) tile_offsets[size_t(t)] = t * 16 * codes.stride;
    AmxCall call = {.tiles = {},
                    .chunk_offsets = chunk_offsets_.data(),
                    .chunks = chunks,
                    .x = codes.codes + first_token * codes.stride,
                    .tile_offsets = tile_offsets.data(),
                    .x_stride = codes.stride,
                    .token_tiles = token_tiles,
                    .sums = {sums, sums + token_tiles * 256},
                    .ahead = g + 2 < end ? stream_of(g + 2) : nullptr,
                    .ahead_bytes = g + 2 < end ? stream_of(std::min(g + 4, end)) - stream_of(g + 2) : 0};
    for (int64_t i = 0; i < 2; i++) {
      bool present = g + i < weight_.row_groups();
      const uint8_t* stream = stream_of(present ? g + i : g);
      if (bitmask_ && present) amx_int8::expand(stream, weight_.units, tiles + i * chunks * kAmxTile);
      call.tiles[i] = bitmask_ ? tiles + (present ? i : 0) * chunks * kAmxTile : stream;
    }
    amx_int8::multiply(call);
  }

  const uint8_t* stream_of(int64_t g) const { return reinterpret_cast<const uint8_t*>(weight_.stream.get()) + weight_.stream_begin[size_t(g)]; }

  std::string_view kernel_;
  bool bitmask_;
  Lane16Weight weight_;
  TokenCodesWanted wanted_;
  std::vector<int64_t> chunk_offsets_;
};

std::optional<std::string> accepts(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu, bool bitmask) {
  if (auto reason = lacks(cpu, "amx_int8")) return reason;
  if (auto reason = refuses_lane16(problem, bitmask ? Lane16Format::kBitmask : Lane16Format::kDense, 8)) return reason;
  if (problem.group != 0) return cat("takes one scale per row, not one per ", problem.group);
  if (tokens < 2) return "is for more than one token";
  if (!amx_granted()) return "the operating system does not grant AMX tiles";
  return std::nullopt;
}

}  // namespace

extern const LinearKernel amx_int8_bitmask_s8 = {
    .name = "amx_int8::bitmask_s8",
    .help = "int8 under a bitmask, expanded to AMX tiles",
    .sparse = true,
    .break_even = 0.3,
    .accepts = [](const LinearProblem& p, int64_t tokens, const CpuFeatures& cpu) { return accepts(p, tokens, cpu, true); },
    .pack = [](const LinearProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedLinear> {
      return std::make_unique<AmxLinear>("amx_int8::bitmask_s8", p, w, true);
    }};

extern const LinearKernel amx_int8_dense_s8 = {
    .name = "amx_int8::dense_s8",
    .help = "dense int8 in AMX tiles",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const LinearProblem& p, int64_t tokens, const CpuFeatures& cpu) { return accepts(p, tokens, cpu, false); },
    .pack = [](const LinearProblem& p, const WeightMatrix& w) -> std::unique_ptr<PackedLinear> {
      return std::make_unique<AmxLinear>("amx_int8::dense_s8", p, w, false);
    }};

}  // namespace lacuna::kernels
