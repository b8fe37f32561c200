#include "kernels/integer/lane16_linear.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "base/cat.h"
#include "base/cpu.h"
#include "base/parallel.h"
#include "kernels/epilogue.h"
#include "kernels/integer/token_codes.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

class Lane16Linear : public PackedLinear {
 public:
  Lane16Linear(std::string_view kernel, const LinearProblem& problem, const WeightMatrix& weight, const Lane16Isa& isa, const Lane16Options& options)
      : kernel_(kernel), isa_(isa), weight_(pack_lane16(weight, isa, options)) {
    bool grouped = weight.group != 0 || weight.minima;
    int scaling = weight.minima ? 2 : grouped ? 1 : 0;
    switch (options.format) {
      case Lane16Format::kDense:
        run_ = isa.dense[options.bits == 4][scaling];
        if (options.bits == 8 && !grouped) run_pair_ = isa.dense_pair, pairs_many_ = true;
        break;
      case Lane16Format::kBitmask: run_ = isa.bitmask[options.bits == 4][scaling], run_pair_ = isa.bitmask_pair[options.bits == 4][scaling]; break;
      case Lane16Format::kN16: run_ = isa.n16[options.slots / 4], run_pair_ = isa.n16_pair[options.slots / 4], pairs_many_ = true; break;
      case Lane16Format::kWindow:
        run_ = isa.window[options.window == 64 ? 0 : options.window == 128 ? 1 : 2];
        if (options.window == 64 && options.balanced && isa.window_pair) run_pair_ = isa.window_pair, pairs_many_ = true, alike_ = alike_windows();
        break;
    }
    bool gathers = options.format == Lane16Format::kN16 || options.format == Lane16Format::kWindow;
    wanted_.flip = gathers && isa.unsigned_gather ? 0x80 : 0;
    wanted_.xored = options.format == Lane16Format::kWindow && isa.xor_windows;
    wanted_.planes = weight_.planes, wanted_.plane_stride = weight_.plane_stride;
    wanted_.sums = !gathers;
    wanted_.group = weight.group;
    wanted_.input_scale = problem.input_scale, wanted_.input_zero = problem.input_zero;
    group_units_ = weight.group ? weight.group / kUnitCols : std::max<int64_t>(weight_.units, 1);
    std::vector<int64_t> work;
    for (int64_t g = 0; g < weight_.row_groups(); g++) work.push_back(weight_.stream_begin[size_t(g) + 1] - weight_.stream_begin[size_t(g)] + 256);
    int64_t bytes = weight_.stream_begin.back();
    parts_ = balanced_cut(work, std::clamp<int64_t>(bytes / kPartBytes, 1, kMaxParts));
  }

  std::string_view kernel() const override { return kernel_; }
  int64_t size_bytes() const override { return weight_.size_bytes(); }
  Shape shape() const override { return {weight_.rows, weight_.cols}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    if (tokens == 0 || weight_.rows == 0) return;
    TokenCodes codes = quantize_tokens(x, x_stride, tokens, weight_.cols, wanted_, isa_);
    if (weight_.row_of.empty()) return multiply(codes, tokens, y, y_stride, epilogue);
    // Rows are sorted: sums go to y one by one, and the rest of the epilogue follows row by row. A residual may be y itself.
    std::vector<float> beside(epilogue.residual ? size_t(tokens * weight_.rows) : 0);
    float* sums = epilogue.residual ? beside.data() : y;
    int64_t sums_stride = epilogue.residual ? weight_.rows : y_stride;
    multiply(codes, tokens, sums, sums_stride, {});
    if (!epilogue.residual && !epilogue.bias && !epilogue.rounds() && epilogue.activation == Activation::kNone) return;
    parallel_for(tokens, [&](int64_t t) {
      store_token_major(
          {.sums = sums + t * sums_stride, .sums_stride = sums_stride, .first_row = 0, .rows = weight_.rows, .first_token = t, .tokens = 1}, y,
          y_stride, epilogue);
    });
  }

 private:
  static constexpr int64_t kPartBytes = 32 << 10, kMaxParts = 64;
  static constexpr int64_t kFewTokens = 4;  // more are padded to a multiple of 8

  // For each row group the first one whose windows begin alike.
  std::vector<int64_t> alike_windows() const {
    std::map<std::vector<int32_t>, int64_t> seen;
    std::vector<int64_t> first_alike;
    for (int64_t g = 0; g < weight_.row_groups(); g++) {
      auto begin = weight_.offsets.begin() + weight_.unit_begin[size_t(g)], end = weight_.offsets.begin() + weight_.unit_begin[size_t(g) + 1];
      first_alike.push_back(seen.try_emplace({begin, end}, g).first->second);
    }
    return first_alike;
  }

  void multiply(const TokenCodes& codes, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const {
    int64_t parts = int64_t(parts_.size()) - 1, blocks = (tokens + kTokenBlock - 1) / kTokenBlock;
    // Enough tiles for the threads: row parts first, because a part's stream then stays in cache for all its tokens.
    int64_t token_parts = std::clamp<int64_t>(kMaxParts / std::max<int64_t>(parts, 1), 1, blocks);
    parallel_for(parts * token_parts, [&](int64_t tile) {
      int64_t part = tile / token_parts, first = tile % token_parts * blocks / token_parts, last = (tile % token_parts + 1) * blocks / token_parts;
      for (int64_t block = first; block < last; block++)
        run_part(codes, parts_[size_t(part)], parts_[size_t(part) + 1], block * kTokenBlock, std::min(kTokenBlock, tokens - block * kTokenBlock), y,
                 y_stride, epilogue);
    });
  }

  // Row groups [begin, end): in pairs, one of each half, as long as there are any.
  void run_part(const TokenCodes& codes, int64_t begin, int64_t end, int64_t first_token, int64_t tokens, float* y, int64_t y_stride,
                const Epilogue& epilogue) const {
    Epilogue first = epilogue;
    bool later = activates_after(epilogue) && weight_.row_of.empty();
    if (later) first.activation = Activation::kNone;
    bool in_pairs = run_pair_ && (pairs_many_ ? tokens > kFewTokens : tokens <= kPairTokens);
    int64_t pairs = in_pairs ? (end - begin) / 2 : 0;
    for (int64_t i = 0; i < pairs; i++) {
      int64_t one = begin + i, other = begin + pairs + i;
      if (alike_.empty() || alike_[size_t(one)] == alike_[size_t(other)]) {
        run_tiles<2>(codes, {one, other}, first_token, tokens, y, y_stride, first);
      } else {
        run_tiles<1>(codes, {one}, first_token, tokens, y, y_stride, first);
        run_tiles<1>(codes, {other}, first_token, tokens, y, y_stride, first);
      }
    }
    for (int64_t g = begin + 2 * pairs; g < end; g++) run_tiles<1>(codes, {g}, first_token, tokens, y, y_stride, first);
    int64_t first_row = begin * kLanes, rows = std::min(end * kLanes, weight_.rows) - first_row;
    if (later) activate_rows(y + first_token * y_stride + first_row, tokens, rows, y_stride, epilogue);
  }

  template <size_t kCalls>
  void run_tiles(const TokenCodes& codes, const std::array<int64_t, kCalls>& row_groups, int64_t first_token, int64_t tokens, float* y,
                 int64_t y_stride, const Epilogue& epilogue) const {
    alignas(64) int32_t sums[kCalls][kTokenBlock * kLanes];
    alignas(64) float scaled[kCalls][kTokenBlock * kLanes];
    Lane16Call calls[kCalls];
    for (size_t i = 0; i < kCalls; i++) {
      calls[i] = call_of(codes, row_groups[i], first_token, tokens);
      calls[i].sums = sums[i], calls[i].scaled_sums = scaled[i];
      // Outputs lie on as many pages as there are tokens: their lines are fetched while the sums are made.
      if (tokens > 1 && weight_.row_of.empty())
        for (int64_t t = 0; t < tokens; t++) __builtin_prefetch(y + (first_token + t) * y_stride + row_groups[i] * kLanes, 1, 2);
    }
    if constexpr (kCalls == 2)
      run_pair_(calls);
    else
      run_(calls[0]);
    for (size_t i = 0; i < kCalls; i++)
      store_row_group(weight_, isa_, row_groups[i], weight_.scales.empty() ? nullptr : sums[i], scaled[i], codes.scales + first_token, first_token,
                      tokens, y, y_stride, epilogue);
  }

  Lane16Call call_of(const TokenCodes& codes, int64_t g, int64_t first_token, int64_t tokens) const {
    size_t i = size_t(g), units = size_t(weight_.unit_begin[i]);
    Lane16Call call = {};
    call.stream = reinterpret_cast<const uint8_t*>(weight_.stream.get()) + weight_.stream_begin[i];
    call.offsets = weight_.offsets.data() + units;
    call.units = weight_.units ? weight_.units : weight_.unit_begin[i + 1] - weight_.unit_begin[i];
    call.ahead = ahead_;
    call.x = codes.codes + first_token * codes.stride, call.x_stride = codes.stride;
    call.x_xor = codes.xored ? codes.xored + first_token * codes.stride : nullptr;
    call.tokens = tokens;
    call.x_sums = codes.sums ? codes.sums + first_token * codes.groups : nullptr, call.x_sums_stride = codes.groups;
    call.group_units = group_units_, call.half_scales = weight_.half_scales;
    return call;
  }

  std::string_view kernel_;
  const Lane16Isa& isa_;
  Lane16Weight weight_;
  Lane16Run run_ = nullptr;
  Lane16RunPair run_pair_ = nullptr;  // or nullptr
  std::vector<int64_t> alike_;        // pairs of row groups need the same here; empty: any two go together
  bool pairs_many_ = false;           // it is for more than kFewTokens tokens, not for kPairTokens at most
  TokenCodesWanted wanted_;
  int64_t group_units_ = 1;
  // Of a stream from memory, on one core, half of the weights kept: 4 KiB gives 35 GB/s on Zen 5, where 2 KiB give 30; on Sapphire Rapids it is
  // slower.
  int64_t ahead_ = cpu_vendor() == "AuthenticAMD" ? 4096 : 2048;
  std::vector<int64_t> parts_;
};

// How many of `cols` columns pattern "N:M" keeps, if M divides them; 0 for any other pattern.
int kept_of(int cols, std::string_view pattern) {
  int n = 0, m = 0;
  size_t colon = pattern.find(':');
  if (colon == std::string_view::npos) return 0;
  const char *end = pattern.data() + pattern.size(), *middle = pattern.data() + colon;
  if (std::from_chars(pattern.data(), middle, n).ptr != middle || std::from_chars(middle + 1, end, m).ptr != end) return 0;
  if (n < 1 || m < 1 || n > m || cols % m != 0) return 0;
  return n * cols / m;
}

}  // namespace

int n16_slots(std::string_view pattern) {
  int slots = kept_of(16, pattern);
  return slots == 0 ? 0 : slots <= 2 ? 2 : (slots + 3) / 4 * 4;
}

void store_row_group(const Lane16Weight& weight, const Lane16Isa& isa, int64_t g, const int32_t* sums, const float* scaled_sums,
                     const float* x_scales, int64_t first_token, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) {
  int64_t first_row = g * kLanes, rows = std::min(kLanes, weight.rows - first_row);
  Lane16Output out = {.sums = sums, .scaled_sums = scaled_sums, .x_scales = x_scales, .tokens = tokens};
  if (sums) out.scales = weight.scales.data() + first_row;
  if (!weight.excess.empty()) out.excess = weight.excess.data() + first_row;
  if (weight.row_of.empty() && rows == kLanes && !epilogue.rounds() &&
      (epilogue.activation == Activation::kNone || epilogue.activation == Activation::kRelu)) {
    out.y = y + first_token * y_stride + first_row, out.y_stride = y_stride;
    if (epilogue.bias) out.bias = epilogue.bias + first_row;
    if (epilogue.residual) out.residual = epilogue.residual + first_token * epilogue.residual_stride + first_row;
    out.residual_stride = epilogue.residual_stride;
    out.relu = epilogue.activation == Activation::kRelu;
    return isa.output(out);
  }
  float* finished = thread_scratch_of<float>(ScratchSlot::kTileThird, tokens * kLanes);
  out.y = finished, out.y_stride = kLanes;
  isa.output(out);
  if (!weight.row_of.empty()) {
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t lane = 0; lane < rows; lane++)
        y[(first_token + t) * y_stride + weight.row_of[size_t(first_row + lane)]] = finished[t * kLanes + lane];
    return;
  }
  store_token_major({.sums = finished, .sums_stride = kLanes, .first_row = first_row, .rows = rows, .first_token = first_token, .tokens = tokens}, y,
                    y_stride, epilogue);
}

std::optional<std::string> refuses_lane16(const LinearProblem& problem, Lane16Format format, int bits) {
  if (problem.weights != (bits == 4 ? DType::kS4 : DType::kS8)) return cat("takes s", bits, " weights, not ", name_of(problem.weights));
  if (problem.activations != DType::kS8) return cat("takes s8 activations, not ", name_of(problem.activations));
  bool gathers = format == Lane16Format::kN16 || format == Lane16Format::kWindow;
  if (gathers && problem.group != 0) return cat("takes one scale per row, not one per ", problem.group);
  if (problem.group % kUnitCols != 0) return cat("takes scale groups of a multiple of ", kUnitCols, " columns, not ", problem.group);
  if (problem.minima && bits == 8) return "takes no minima";
  if (problem.input_zero != 0 && (problem.group != 0 || problem.minima)) return "takes a zero point of the input with one scale per row only";
  if (format == Lane16Format::kN16 && n16_slots(problem.pattern) == 0) return cat("takes N:M with M dividing 16, not ", problem.pattern);
  if (format == Lane16Format::kDense && problem.minima && problem.pattern != "dense") return "would add minima where weights were removed";
  if (format != Lane16Format::kDense && problem.pattern == "dense") return "is for sparse weights";
  return std::nullopt;
}

std::unique_ptr<PackedLinear> pack_lane16_linear(std::string_view kernel, const LinearProblem& problem, const WeightMatrix& weight,
                                                 const Lane16Isa& isa, const Lane16Options& options) {
  Lane16Options chosen = options;
  if (options.format == Lane16Format::kN16) chosen.slots = n16_slots(problem.pattern);
  int kept = kept_of(64, problem.pattern);
  chosen.balanced = kept > 0 && kept % 4 == 0;
  chosen.input_zero = problem.input_zero;
  return std::make_unique<Lane16Linear>(kernel, problem, weight, isa, chosen);
}

}  // namespace lacuna::kernels
