// Dense linear by oneDNN's matmul, f32, bf16 and s8: row chunks of the weight, each reordered once into oneDNN's own layout, times tiles of
// tokens, one single-threaded primitive per tile. The tiles depend on the shape alone, so results do not depend on the thread count.
#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <tuple>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/onednn/engine.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;
using Dims = dnnl::memory::dims;

constexpr int64_t kTokenTile = 128;
// bf16 and s8 columns are padded with zeros: oneDNN 2.6.3 raises SIGILL in its AMX kernel at 63 columns.
constexpr int64_t kPad = 64;

int64_t rows_per_chunk(int64_t rows) { return std::clamp<int64_t>((rows / 4 + 63) / 64 * 64, 64, 512); }

class OneDnnLinear final : public PackedLinear {
 public:
  OneDnnLinear(std::string_view name, Type type, const LinearProblem& problem, const WeightMatrix& weight)
      : name_(name),
        type_(type),
        input_scale_(problem.input_scale),
        rows_(weight.rows),
        cols_(weight.cols),
        padded_cols_(0),
        chunk_(rows_per_chunk(weight.rows)) {
    padded_cols_ = type == Type::f32 ? cols_ : (cols_ + kPad - 1) / kPad * kPad;
    OneDnnThreads one(1);
    for (int64_t first = 0; first < rows_ && cols_ > 0; first += chunk_) {
      int64_t rows = std::min(chunk_, rows_ - first);
      chunks_.push_back(type == Type::s8 ? packed(weight.codes + first * cols_, rows) : packed(weight.values + first * cols_, rows));
    }
    if (type == Type::s8) scales_.assign(weight.scales, weight.scales + rows_);
  }

  std::string_view kernel() const override { return name_; }
  int64_t size_bytes() const override {
    int64_t bytes = 0;
    for (const dnnl::memory& chunk : chunks_) bytes += int64_t(chunk.get_desc().get_size());
    return bytes;
  }
  Shape shape() const override { return {rows_, cols_}; }

  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override {
    int64_t token_tiles = tokens <= kTokenTile * 3 / 2 ? 1 : (tokens + kTokenTile - 1) / kTokenTile,
            tile_tokens = token_tiles == 1 ? tokens : kTokenTile;
    int64_t row_chunks = (rows_ + chunk_ - 1) / chunk_;
    const std::byte* source = reinterpret_cast<const std::byte*>(x);
    if (type_ == Type::bf16) source = to_bf16(x, x_stride, tokens);
    if (type_ == Type::s8) source = to_s8(x, x_stride, tokens);
    int64_t source_stride = type_ == Type::f32 ? x_stride : padded_cols_;
    const float* token_scales = thread_scratch_of<float>(ScratchSlot::kSharedSecond, tokens);
    parallel_for(tokens > 0 ? token_tiles * row_chunks : 0, [&](int64_t tile) {
      int64_t first_row = tile / token_tiles * chunk_, rows = std::min(chunk_, rows_ - first_row);
      int64_t first_token = tile % token_tiles * tile_tokens, count = std::min(tile_tokens, tokens - first_token);
      float* sums = thread_scratch_of<float>(ScratchSlot::kTile, count * rows);
      if (cols_ > 0)
        multiply(source + first_token * source_stride * int64_t(dnnl::memory::data_type_size(type_)), source_stride, count, tile / token_tiles, rows,
                 sums);
      else
        std::fill_n(sums, count * rows, 0.0f);
      if (type_ == Type::s8) scale_sums(sums, first_row, rows, token_scales + first_token, count);
      store_token_major({.sums = sums, .sums_stride = rows, .first_row = first_row, .rows = rows, .first_token = first_token, .tokens = count}, y,
                        y_stride, epilogue);
    });
  }

 private:
  struct Primitive {
    dnnl::matmul matmul;
    dnnl::memory::desc source, weights, sums, scratchpad;
  };

  Type sum_type() const { return type_ == Type::s8 ? Type::s32 : Type::f32; }

  dnnl::memory::desc weights_desc(int64_t rows) const {
    dnnl::matmul::desc desc({{kTokenTile, padded_cols_}, type_, Tag::ab}, {{padded_cols_, rows}, type_, Tag::any},
                            {{kTokenTile, rows}, sum_type(), Tag::ab});
    return dnnl::matmul::primitive_desc(desc, onednn_engine()).weights_desc();
  }

  template <class T>
  dnnl::memory packed(const T* values, int64_t rows) const {
    std::vector<T> padded(size_t(rows * padded_cols_));
    for (int64_t r = 0; r < rows; r++) std::copy_n(values + r * cols_, cols_, padded.begin() + r * padded_cols_);
    dnnl::memory plain({{padded_cols_, rows}, sizeof(T) == 1 ? Type::s8 : Type::f32, Tag::ba}, onednn_engine(), padded.data()),
        out(weights_desc(rows), onednn_engine());
    dnnl::reorder(plain, out).execute(onednn_stream(), plain, out);
    onednn_stream().wait();
    return out;
  }

  std::shared_ptr<const Primitive> primitive(int64_t tokens, int64_t rows, int64_t source_stride, const dnnl::memory::desc& weights) const {
    std::lock_guard lock(mutex_);
    std::shared_ptr<const Primitive>& cached = primitives_[{tokens, rows, source_stride}];
    if (!cached) {
      dnnl::primitive_attr attributes;
      attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
      dnnl::memory::desc source({tokens, padded_cols_}, type_, Dims{source_stride, 1}), sums({tokens, rows}, sum_type(), Tag::ab);
      dnnl::matmul::primitive_desc desc({source, weights, sums}, attributes, onednn_engine());
      cached = std::make_shared<Primitive>(Primitive{dnnl::matmul(desc), source, weights, sums, desc.scratchpad_desc()});
    }
    return cached;
  }

  void multiply(const std::byte* source, int64_t source_stride, int64_t tokens, int64_t chunk, int64_t rows, float* sums) const {
    OneDnnThreads one(1);
    const dnnl::memory& weights = chunks_[size_t(chunk)];
    std::shared_ptr<const Primitive> p = primitive(tokens, rows, source_stride, weights.get_desc());
    dnnl::engine& engine = onednn_engine();
    dnnl::memory scratchpad(p->scratchpad, engine, thread_scratch(ScratchSlot::kTileSecond, p->scratchpad.get_size()));
    p->matmul.execute(onednn_stream(), {{DNNL_ARG_SRC, dnnl::memory(p->source, engine, const_cast<std::byte*>(source))},
                                        {DNNL_ARG_WEIGHTS, weights},
                                        {DNNL_ARG_DST, dnnl::memory(p->sums, engine, sums)},
                                        {DNNL_ARG_SCRATCHPAD, scratchpad}});
    onednn_stream().wait();
  }

  const std::byte* to_bf16(const float* x, int64_t x_stride, int64_t tokens) const {
    uint16_t* out = thread_scratch_of<uint16_t>(ScratchSlot::kShared, tokens * padded_cols_);
    parallel_for(tokens, [&](int64_t t) {
      for (int64_t c = 0; c < cols_; c++) out[t * padded_cols_ + c] = f32_to_bf16(x[t * x_stride + c]);
      std::fill(out + t * padded_cols_ + cols_, out + (t + 1) * padded_cols_, uint16_t(0));
    });
    return reinterpret_cast<const std::byte*>(out);
  }

  // Codes into scratch, scales of the tokens into the second slot.
  const std::byte* to_s8(const float* x, int64_t x_stride, int64_t tokens) const {
    int8_t* out = thread_scratch_of<int8_t>(ScratchSlot::kShared, tokens * padded_cols_);
    float* scales = thread_scratch_of<float>(ScratchSlot::kSharedSecond, tokens);
    parallel_for(tokens, [&](int64_t t) {
      int8_t* codes = out + t * padded_cols_;
      if (input_scale_ > 0)
        quantize_static_s8(x + t * x_stride, cols_, scales[t] = input_scale_, 0, codes);
      else
        scales[t] = quantize_token_s8(x + t * x_stride, cols_, codes);
      std::fill(codes + cols_, codes + padded_cols_, int8_t(0));
    });
    return reinterpret_cast<const std::byte*>(out);
  }

  // Integers to floats in their place.
  void scale_sums(float* sums, int64_t first_row, int64_t rows, const float* token_scales, int64_t tokens) const {
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t r = 0; r < rows; r++) {
        float& sum = sums[t * rows + r];
        sum = float(std::bit_cast<int32_t>(sum)) * scales_[size_t(first_row + r)] * token_scales[t];
      }
  }

  std::string_view name_;
  Type type_;
  float input_scale_;
  std::vector<float> scales_;  // s8: per row
  int64_t rows_, cols_, padded_cols_, chunk_;
  std::vector<dnnl::memory> chunks_;
  mutable std::mutex mutex_;
  mutable std::map<std::tuple<int64_t, int64_t, int64_t>, std::shared_ptr<const Primitive>> primitives_;
};

constexpr std::string_view kF32 = "onednn::dense_f32", kBf16 = "onednn::dense_bf16", kS8 = "onednn::dense_s8";

std::optional<std::string> accepts_f32(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, "avx2")) return lacking;
  if (problem.weights != DType::kF32 || problem.activations != DType::kF32) return "multiplies f32 only";
  if (tokens < 2) return "meant for more than one token";
  return std::nullopt;
}

std::optional<std::string> accepts_bf16(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, "avx512_bf16")) return lacking;
  if (problem.weights != DType::kBF16 || problem.activations != DType::kBF16) return "multiplies bf16 only";
  if (tokens <= 8) return "meant for more than 8 tokens";
  return std::nullopt;
}

// Without VNNI oneDNN's int8 saturates: it is left to VNNI and AMX.
std::optional<std::string> accepts_s8(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, "avx512_vnni")) return lacking;
  if (problem.weights != DType::kS8 || problem.activations != DType::kS8) return "multiplies s8 only";
  if (problem.group || problem.minima) return "wants one scale per row";
  if (problem.input_zero) return "takes no zero point of the input";
  if (tokens < 2) return "meant for more than one token";
  return std::nullopt;
}

}  // namespace

extern const LinearKernel onednn_dense_s8 = {.name = kS8,
                                             .help = "dense s8 by oneDNN's matmul",
                                             .sparse = false,
                                             .break_even = 0,
                                             .accepts = accepts_s8,
                                             .pack = [](const LinearProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedLinear> {
                                               return std::make_unique<OneDnnLinear>(kS8, Type::s8, problem, weight);
                                             }};

extern const LinearKernel onednn_dense_f32 = {.name = kF32,
                                              .help = "dense f32 by oneDNN's matmul",
                                              .sparse = false,
                                              .break_even = 0,
                                              .accepts = accepts_f32,
                                              .pack = [](const LinearProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedLinear> {
                                                return std::make_unique<OneDnnLinear>(kF32, Type::f32, problem, weight);
                                              }};

extern const LinearKernel onednn_dense_bf16 = {.name = kBf16,
                                               .help = "dense bf16 by oneDNN's matmul",
                                               .sparse = false,
                                               .break_even = 0,
                                               .accepts = accepts_bf16,
                                               .pack = [](const LinearProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedLinear> {
                                                 return std::make_unique<OneDnnLinear>(kBf16, Type::bf16, problem, weight);
                                               }};

}  // namespace lacuna::kernels
