// Linear candidates for one to eight tokens with f32, bf16 or f16 weights of which few are kept: windows, described in inner/window_float.h.
#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "base/buffer.h"
#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/inner/window_float.h"
#include "kernels/support.h"
#include "sparse/bits.h"

namespace lacuna::kernels {
namespace {

constexpr std::string_view kName64 = "avx512::window64_float", kName128 = "avx512::window128_float";
constexpr int64_t kMostCols = int64_t(65536) * kWindowAlign;

WindowFloat loop_of(DType type, int64_t window) {
  const WindowFloatLoops& loops = avx512::kWindowFloat;
  return (type == DType::kF32 ? loops.f32 : type == DType::kBF16 ? loops.bf16 : loops.f16)[window == 64 ? 0 : 1];
}
int64_t step_bytes(DType type) { return kWindowIndexBytes + 2 * kWindowRows * bits_of(type) / 8; }

struct Group {
  std::vector<std::byte> stream;
  std::vector<uint16_t> bases;
};

// The steps of sixteen rows; a row is -1 beyond the last.
Group pack_group(const WeightMatrix& weight, DType type, int64_t window, std::span<const int32_t> rows) {
  std::vector<int32_t> columns[kWindowRows];
  for (int64_t lane = 0; lane < kWindowRows; lane++)
    for (int64_t c = 0; rows[size_t(lane)] >= 0 && c < weight.cols; c += 64)
      for (uint64_t bits = nonzero_bits(weight.values + rows[size_t(lane)] * weight.cols + c, std::min<int64_t>(64, weight.cols - c)); bits;
           bits &= bits - 1)
        columns[lane].push_back(int32_t(c + std::countr_zero(bits)));
  Group out;
  size_t next[kWindowRows] = {};
  for (;;) {
    int32_t slowest = INT32_MAX;
    for (int64_t lane = 0; lane < kWindowRows; lane++)
      if (next[lane] < columns[lane].size()) slowest = std::min(slowest, columns[lane][next[lane]]);
    if (slowest == INT32_MAX) return out;
    int32_t base = slowest / int32_t(kWindowAlign) * int32_t(kWindowAlign);
    uint8_t index[2][kWindowRows] = {};
    float values[2][kWindowRows] = {};
    for (int64_t lane = 0; lane < kWindowRows; lane++)
      for (int64_t slot = 0; slot < 2 && next[lane] < columns[lane].size() && columns[lane][next[lane]] < base + window; slot++) {
        int32_t col = columns[lane][next[lane]++];
        index[slot][lane] = uint8_t(col - base);
        values[slot][lane] = weight.values[rows[size_t(lane)] * weight.cols + col];
      }
    size_t at = out.stream.size();
    out.stream.resize(at + size_t(step_bytes(type)));
    std::memcpy(out.stream.data() + at, index, sizeof index);
    float ordered[2 * kWindowRows];
    for (int64_t i = 0; i < 2 * kWindowRows; i++) ordered[i] = type == DType::kBF16 ? values[i % 2][i / 2] : values[i / kWindowRows][i % kWindowRows];
    convert_from_f32(ordered, 2 * kWindowRows, type, out.stream.data() + at + kWindowIndexBytes);
    out.bases.push_back(uint16_t(base / kWindowAlign));
  }
}

class WindowLinear final : public PackedLinear {
 public:
  WindowLinear(const LinearProblem& problem, const WeightMatrix& weight, int64_t window)
      : type_(problem.weights), window_(window), rows_(weight.rows), cols_(weight.cols), loop_(loop_of(type_, window)) {
    // Rows of like weight move through the columns at one pace. They are sorted within blocks, whose outputs stay together.
    block_groups_ = std::clamp<int64_t>(rows_ / (8 * kWindowRows), 4, 16);
    int64_t groups = (rows_ + kWindowRows - 1) / kWindowRows;
    row_of_.assign(size_t(groups * kWindowRows), -1);
    std::iota(row_of_.begin(), row_of_.begin() + rows_, 0);
    std::vector<int64_t> kept(static_cast<size_t>(rows_));
    parallel_for(rows_, [&](int64_t r) {
      for (int64_t c = 0; c < cols_; c += 64)
        kept[size_t(r)] += count_ones(nonzero_bits(weight.values + r * cols_ + c, std::min<int64_t>(64, cols_ - c)));
    });
    for (int64_t first = 0; first < rows_; first += block_rows())
      std::stable_sort(row_of_.begin() + first, row_of_.begin() + std::min(first + block_rows(), rows_),
                       [&](int32_t a, int32_t b) { return kept[size_t(a)] > kept[size_t(b)]; });
    std::vector<Group> packed(static_cast<size_t>(groups));
    parallel_for(groups, [&](int64_t g) {
      packed[size_t(g)] = pack_group(weight, type_, window_, std::span(row_of_).subspan(size_t(g * kWindowRows), kWindowRows));
    });
    starts_ = {0};
    for (const Group& group : packed) starts_.push_back(starts_.back() + int64_t(group.bases.size()));
    // Blocks are shared out by their steps.
    constexpr int64_t kPartSteps = 128, kMostParts = 64;
    std::vector<int64_t> steps;
    for (int64_t g = 0; g < groups; g += block_groups_) steps.push_back(starts_[size_t(std::min(g + block_groups_, groups))] - starts_[size_t(g)]);
    parts_ = balanced_cut(steps, std::clamp<int64_t>(starts_.back() / kPartSteps, 1, kMostParts));
    bases_.resize(size_t(starts_.back()));
    stream_ = allocate(size_t(starts_.back() * step_bytes(type_)), false);
    parallel_for(groups, [&](int64_t g) {
      Group group = std::move(packed[size_t(g)]);
      std::copy(group.bases.begin(), group.bases.end(), bases_.begin() + starts_[size_t(g)]);
      std::copy(group.stream.begin(), group.stream.end(), stream_.get() + starts_[size_t(g)] * step_bytes(type_));
    });
  }

  std::string_view kernel() const override { return window_ == 64 ? kName64 : kName128; }
  int64_t size_bytes() const override {
    return starts_.back() * (step_bytes(type_) + int64_t(sizeof(uint16_t))) +
           int64_t(starts_.size() * sizeof(int64_t) + row_of_.size() * sizeof(int32_t));
  }
  Shape shape() const override { return {rows_, cols_}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    for (int64_t first = 0; first < tokens && rows_ > 0; first += kWindowTokens)
      run_some(x, x_stride, first, std::min(kWindowTokens, tokens - first), y, y_stride, epilogue);
  }

 private:
  int64_t block_rows() const { return block_groups_ * kWindowRows; }

  void run_some(const float* x, int64_t x_stride, int64_t first, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const {
    int64_t lanes = tokens <= 2 ? tokens : tokens <= 4 ? 4 : 8, stride = (cols_ + kWindowAlign - 1) / kWindowAlign * kWindowAlign + window_;
    float* activations = thread_scratch_of<float>(ScratchSlot::kShared, lanes * stride);
    for (int64_t t = 0; t < lanes; t++) {
      float* to = activations + t * stride;
      if (t < tokens) std::copy_n(x + (first + t) * x_stride, cols_, to);
      std::fill(to + (t < tokens ? cols_ : 0), to + stride, 0.0f);
    }
    parallel_for(int64_t(parts_.size()) - 1, [&](int64_t part) {
      for (int64_t block = parts_[size_t(part)]; block < parts_[size_t(part) + 1]; block++)
        run_block(block, first, tokens, lanes, activations, stride, y, y_stride, epilogue);
    });
  }

  void run_block(int64_t block, int64_t first, int64_t tokens, int64_t lanes, const float* activations, int64_t stride, float* y, int64_t y_stride,
                 const Epilogue& epilogue) const {
    int64_t groups = int64_t(starts_.size()) - 1, first_row = block * block_rows();
    float* sums = thread_scratch_of<float>(ScratchSlot::kTile, lanes * block_rows());
    for (int64_t g = block * block_groups_; g < std::min((block + 1) * block_groups_, groups); g++) {
      float own[kWindowTokens * kWindowRows];
      loop_({.stream = stream_.get() + starts_[size_t(g)] * step_bytes(type_),
             .bases = bases_.data() + starts_[size_t(g)],
             .steps = starts_[size_t(g + 1)] - starts_[size_t(g)],
             .x = activations,
             .x_stride = stride,
             .tokens = lanes,
             .sums = own});
      for (int64_t lane = 0; lane < kWindowRows; lane++)
        if (int32_t row = row_of_[size_t(g * kWindowRows + lane)]; row >= 0)
          for (int64_t t = 0; t < tokens; t++) sums[t * block_rows() + row - first_row] = own[t * kWindowRows + lane];
    }
    store_token_major({.sums = sums,
                       .sums_stride = block_rows(),
                       .first_row = first_row,
                       .rows = std::min(block_rows(), rows_ - first_row),
                       .first_token = first,
                       .tokens = tokens},
                      y, y_stride, epilogue);
  }

  DType type_;
  int64_t window_, rows_, cols_, block_groups_ = 0;
  WindowFloat loop_;
  std::vector<int32_t> row_of_;  // [group][16], -1 beyond the last row
  std::vector<int64_t> starts_;  // first step of each group, and the end
  std::vector<uint16_t> bases_;  // [step]
  std::vector<int64_t> parts_;   // first block of each, and the end
  std::shared_ptr<std::byte[]> stream_;
};

std::optional<std::string> accepts(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, "avx512")) return lacking;
  if (!is_float(problem.weights) || problem.activations != DType::kF32) return "multiplies f32 activations with float weights";
  if (problem.pattern == "dense") return "the weight is dense";
  if (tokens > kWindowTokens) return "meant for at most 8 tokens";
  if (problem.cols > kMostCols) return cat("reaches ", kMostCols, " columns");
  return std::nullopt;
}

template <int64_t window>
std::unique_ptr<PackedLinear> pack(const LinearProblem& problem, const WeightMatrix& weight) {
  return std::make_unique<WindowLinear>(problem, weight, window);
}

}  // namespace

extern const LinearKernel avx512_window64_float = {.name = kName64,
                                                   .help = "1-8 tokens, few float weights kept, gathered from windows of 64 columns",
                                                   .sparse = true,
                                                   .break_even = 0.8,
                                                   .accepts = accepts,
                                                   .pack = pack<64>};
extern const LinearKernel avx512_window128_float = {.name = kName128,
                                                    .help = "1-8 tokens, few float weights kept, gathered from windows of 128 columns",
                                                    .sparse = true,
                                                    .break_even = 0.8,
                                                    .accepts = accepts,
                                                    .pack = pack<128>};

}  // namespace lacuna::kernels
