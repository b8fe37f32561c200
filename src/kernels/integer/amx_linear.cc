// Int8 linear on AMX: dense, and sparse under a bitmask. AMX skips no zeros; a sparse weight gains by its size alone, which decides as soon as
// the weights come from memory: tiles multiply faster than memory delivers them.
#include <algorithm>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/coded_tokens.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/integer/amx_block.h"
#include "kernels/integer/amx_weight.h"
#include "kernels/integer/lane16_linear.h"
#include "kernels/support.h"

namespace lacuna::kernels {

namespace {

class AmxLinear : public PackedLinear {
 public:
  AmxLinear(std::string_view kernel, const LinearProblem& problem, const WeightMatrix& weight, bool bitmask)
      : kernel_(kernel),
        bitmask_(bitmask),
        rounding_{.scale = problem.input_scale, .zero = problem.input_zero},
        weight_(pack_lane16(weight, amx_layout(),
                            {.format = bitmask ? Lane16Format::kBitmask : Lane16Format::kDense, .input_zero = problem.input_zero})) {
    LACUNA_ASSERT(amx_granted());
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override { return weight_.size_bytes(); }
  Shape shape() const override { return {weight_.rows, weight_.cols}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    if (tokens == 0 || weight_.rows == 0) return;
    CodedTokens codes = coded_tokens(thread_scratch(ScratchSlot::kShared, size_t(coded_tokens_bytes(tokens, weight_.cols))), tokens, weight_.cols);
    code_tokens(x, x_stride, rounding_, false, codes);
    run_codes(codes, y, y_stride, epilogue);
  }

  bool reads_codes() const override { return true; }

  void run_codes(const CodedTokens& codes, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    int64_t tokens = codes.tokens;
    if (tokens == 0 || weight_.rows == 0) return;
    // As many tokens together as leave their codes in the L2 cache beside the weights; each task takes some pairs of row groups.
    constexpr int64_t kCodesBytes = 512 << 10;
    int64_t block = std::max<int64_t>(kCodesBytes / codes.stride / kAmxBlockTokens, 4) * kAmxBlockTokens, blocks = (tokens + block - 1) / block;
    constexpr int64_t kPartsOfThread = 4;
    int64_t pairs = (weight_.row_groups() + 1) / 2, most = kPartsOfThread * thread_count(),
            parts = std::min<int64_t>(pairs, std::max<int64_t>(1, (most + blocks - 1) / blocks));
    // The last parts of a thread's share are small ones where that can be, so that nobody waits long for another.
    bool uneven = parts == most && pairs >= 2 * most;
    auto begin = [&](int64_t part) {
      constexpr double kBegin[kPartsOfThread] = {0, 0.4, 0.7, 0.88};
      if (!uneven) return part * pairs / parts;
      double shares = double(part / kPartsOfThread) + kBegin[part % kPartsOfThread];
      return int64_t(shares * double(pairs * kPartsOfThread) / double(parts) + 0.5);
    };
    parallel_for(parts * blocks, [&](int64_t i) {
      int64_t first = i % blocks * block, part = i / blocks;
      run_part(codes, begin(part), begin(part + 1), first, std::min(block, tokens - first), y, y_stride, epilogue);
    });
  }

 private:
  // Pairs [begin, end) of row groups by some tokens.
  void run_part(const CodedTokens& codes, int64_t begin, int64_t end, int64_t first_token, int64_t tokens, float* y, int64_t y_stride,
                const Epilogue& epilogue) const {
    int64_t chunks = weight_.units / 2, blocks = (tokens + kAmxBlockTokens - 1) / kAmxBlockTokens;
    // Of a bitmask the tiles of this pair and of the next, which are expanded meanwhile.
    uint8_t* tiles = bitmask_ ? thread_scratch_of<uint8_t>(ScratchSlot::kTile, 4 * chunks * kAmxTile) : nullptr;
    int32_t* sums = thread_scratch_of<int32_t>(ScratchSlot::kTileSecond, 2 * kAmxBlockSums);
    AmxOutputs outputs[2];  // in turn those of this block and of the one before
    int64_t turn = 0;
    const AmxOutputs* before = nullptr;
    struct Tiles {
      Tiles() { amx_int8::configure_tiles(); }
      ~Tiles() { amx_int8::release_tiles(); }
    } configured;
    AmxExpansion expansion = expansion_of(begin, tiles);
    if (bitmask_) amx_int8::expand(expansion, 2 * weight_.units);
    for (int64_t pair = begin; pair < end; pair++) {
      // Streams are fetched one pair before they are read, that of a bitmask is read one pair before it is multiplied.
      int64_t next = pair + (bitmask_ ? 2 : 1);
      const uint8_t *ahead = stream_of(2 * next), *ahead_end = next < end ? stream_of(2 * next + 2) : ahead;
      int64_t ahead_lines = (ahead_end - ahead + 64 * blocks - 1) / (64 * blocks);
      AmxBlock block = {.weights = {}, .chunks = chunks, .x = nullptr, .x_stride = codes.stride};
      for (int64_t i = 0; i < 2; i++) {
        bool present = 2 * pair + i < weight_.row_groups();  // an odd last row group stands for both
        block.weights[i] =
            bitmask_ ? tiles + ((pair - begin) % 2 * 2 + (present ? i : 0)) * chunks * kAmxTile : stream_of(2 * pair + (present ? i : 0));
      }
      if (bitmask_ && pair + 1 < end) {
        expansion = expansion_of(pair + 1, tiles + (pair + 1 - begin) % 2 * 2 * chunks * kAmxTile);
        block.expansion = &expansion;
        block.units = (2 * weight_.units + blocks * chunks - 1) / (blocks * chunks);
      }
      for (int64_t i = 0; i < blocks; i++, turn = 1 - turn) {
        int64_t first = first_token + i * kAmxBlockTokens, count = std::min(kAmxBlockTokens, tokens - i * kAmxBlockTokens);
        block.x = codes.codes + first * codes.stride;
        block.token_tiles = (count + 15) / 16;
        block.sums = sums + turn * kAmxBlockSums;
        block.ahead = ahead + i * ahead_lines * 64;
        block.ahead_lines = std::clamp<int64_t>((ahead_end - block.ahead + 63) / 64, 0, ahead_lines);
        bool together = !epilogue.rounds() && (pair + 1) * 2 * kLanes <= weight_.rows;
        if (together) outputs[turn] = outputs_of(block.sums, codes, pair, first, count, y, y_stride, epilogue);
        amx_int8::multiply_block(block, before, together ? &outputs[turn] : nullptr);
        before = together ? &outputs[turn] : nullptr;
        for (int64_t g = 2 * pair; !together && g < std::min(2 * pair + 2, weight_.row_groups()); g++)
          store_row_group(weight_, amx_layout(), g, block.sums + g % 2 * kAmxBlockTokens * kLanes, nullptr, codes.scales + first, first, count, y,
                          y_stride, epilogue);
      }
    }
    if (before) amx_int8::store_block(*before);
  }

  AmxOutputs outputs_of(const int32_t* sums, const CodedTokens& codes, int64_t pair, int64_t first, int64_t count, float* y, int64_t y_stride,
                        const Epilogue& epilogue) const {
    int64_t row = pair * 2 * kLanes;
    return {.sums = sums,
            .tokens = count,
            .excess = weight_.excess.empty() ? nullptr : weight_.excess.data() + row,
            .scales = weight_.scales.data() + row,
            .x_scales = codes.scales + first,
            .bias = epilogue.bias ? epilogue.bias + row : nullptr,
            .residual = epilogue.residual ? epilogue.residual + first * epilogue.residual_stride + row : nullptr,
            .residual_stride = epilogue.residual_stride,
            .activation = uint8_t(epilogue.activation),
            .alpha = epilogue.alpha,
            .beta = epilogue.beta,
            .y = y + first * y_stride + row,
            .y_stride = y_stride};
  }

  AmxExpansion expansion_of(int64_t pair, uint8_t* tiles) const {
    return {.streams = {stream_of(2 * pair), stream_of(2 * pair + 1)},
            .units = {weight_.units, 2 * pair + 1 < weight_.row_groups() ? weight_.units : 0},
            .tiles = tiles};
  }

  const uint8_t* stream_of(int64_t g) const {
    return reinterpret_cast<const uint8_t*>(weight_.stream.get()) + weight_.stream_begin[size_t(std::min(g, weight_.row_groups()))];
  }

  std::string_view kernel_;
  bool bitmask_;
  Rounding rounding_;
  Lane16Weight weight_;
};

std::optional<std::string> accepts(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu, bool bitmask) {
  if (auto reason = lacks(cpu, "amx_int8")) return reason;
  if (auto reason = refuses_lane16(problem, bitmask ? Lane16Format::kBitmask : Lane16Format::kDense, 8)) return reason;
  if (problem.group != 0) return cat("takes one scale per row, not one per ", problem.group);
  if (tokens < 2) return "is for more than one token";
  if (problem.cols == 0) return "takes one column at least";
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
