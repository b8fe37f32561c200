// Dense convolution by oneDNN, f32 and s8: the input is transposed to nhwc once, then chunks of output channels are single-threaded
// primitives in our tiles, whose outputs are transposed back at the store. The tiles depend on the shape alone, so results do not
// depend on the thread count.
#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <utility>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/conv.h"
#include "kernels/dispatch.h"
#include "kernels/epilogue.h"
#include "kernels/onednn/engine.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

int64_t channels_per_chunk(int64_t out_channels) { return std::clamp<int64_t>((out_channels / 4 + 15) / 16 * 16, 32, 512); }

class OneDnnConv final : public PackedConv {
 public:
  OneDnnConv(std::string_view name, Type type, const ConvProblem& problem, const WeightMatrix& weight)
      : name_(name), type_(type), problem_(problem), chunk_(channels_per_chunk(problem.out_channels)), cols_(weight.cols) {
    const std::byte* values = type == Type::s8 ? reinterpret_cast<const std::byte*>(weight.codes) : reinterpret_cast<const std::byte*>(weight.values);
    values_.assign(values, values + weight.rows * weight.cols * type_size());
    if (type == Type::s8) scales_.assign(weight.scales, weight.scales + weight.rows);
  }

  std::string_view kernel() const override { return name_; }
  int64_t size_bytes() const override { return int64_t(values_.size()); }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    if (batch == 0) return;
    std::shared_ptr<const Plan> plan = plan_for(in_h, in_w);
    const ConvProblem& p = problem_;
    int64_t in_pixels = in_h * in_w, image_bytes = in_pixels * p.in_channels * type_size();
    std::byte* source = thread_scratch(ScratchSlot::kShared, size_t(batch * image_bytes));
    to_nhwc(x, batch, in_pixels, source);
    int64_t chunks = int64_t(plan->chunks.size()), pixels = p.out_h(in_h) * p.out_w(in_w);
    parallel_for(batch * chunks, [&](int64_t tile) {
      int64_t image = tile / chunks, first = tile % chunks * chunk_, channels = std::min(chunk_, p.out_channels - first);
      float* sums = thread_scratch_of<float>(ScratchSlot::kTile, pixels * channels);
      execute(plan->chunks[size_t(tile % chunks)], source + image * image_bytes, sums);
      float* rows = thread_scratch_of<float>(ScratchSlot::kTileThird, pixels * channels);
      if (type_ == Type::s8) scale_sums(sums, first, channels, pixels);
      transpose(sums, channels, pixels, channels, rows, pixels);
      Epilogue image_epilogue = epilogue;
      image_epilogue.residual_stride = pixels;
      if (epilogue.residual) image_epilogue.residual = epilogue.residual + image * p.out_channels * pixels;
      store_channel_major({.sums = rows, .sums_stride = pixels, .first_row = first, .rows = channels, .first_token = 0, .tokens = pixels},
                          y + image * p.out_channels * pixels, pixels, image_epilogue);
    });
  }

 private:
  // One chunk of output channels at one image size.
  struct Chunk {
    dnnl::convolution_forward convolution;
    dnnl::memory weights;
    dnnl::memory::desc source, sums, scratchpad;
  };
  struct Plan {
    std::vector<Chunk> chunks;
  };

  int64_t type_size() const { return type_ == Type::s8 ? 1 : 4; }

  std::shared_ptr<const Plan> plan_for(int64_t in_h, int64_t in_w) const {
    std::lock_guard lock(mutex_);
    std::shared_ptr<const Plan>& cached = plans_[{in_h, in_w}];
    if (!cached) {
      OneDnnThreads one(1);
      auto plan = std::make_shared<Plan>();
      for (int64_t first = 0; first < problem_.out_channels; first += chunk_)
        plan->chunks.push_back(chunk_for(in_h, in_w, first, std::min(chunk_, problem_.out_channels - first)));
      cached = plan;
    }
    return cached;
  }

  Chunk chunk_for(int64_t in_h, int64_t in_w, int64_t first, int64_t channels) const {
    const ConvProblem& p = problem_;
    dnnl::memory::desc source({1, p.in_channels, in_h, in_w}, type_, Tag::nhwc);
    dnnl::memory::desc weights({channels, p.in_channels, p.kernel_h, p.kernel_w}, type_, Tag::any);
    dnnl::memory::desc sums({1, channels, p.out_h(in_h), p.out_w(in_w)}, type_ == Type::s8 ? Type::s32 : Type::f32, Tag::nhwc);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    dnnl::convolution_forward::primitive_desc desc({dnnl::prop_kind::forward_inference,
                                                    dnnl::algorithm::convolution_direct,
                                                    source,
                                                    weights,
                                                    sums,
                                                    {p.stride_h, p.stride_w},
                                                    {p.dilation_h - 1, p.dilation_w - 1},
                                                    {p.pad_top, p.pad_left},
                                                    {p.pad_bottom, p.pad_right}},
                                                   attributes, onednn_engine());
    dnnl::memory plain({{channels, p.in_channels, p.kernel_h, p.kernel_w}, type_, Tag::ohwi}, onednn_engine(),
                       const_cast<std::byte*>(values_.data() + first * cols_ * type_size()));
    dnnl::memory packed(desc.weights_desc(), onednn_engine());
    dnnl::reorder(plain, packed).execute(onednn_stream(), plain, packed);
    onednn_stream().wait();
    return {dnnl::convolution_forward(desc), packed, source, sums, desc.scratchpad_desc()};
  }

  void execute(const Chunk& chunk, std::byte* source, float* sums) const {
    OneDnnThreads one(1);
    dnnl::engine& engine = onednn_engine();
    dnnl::memory scratchpad(chunk.scratchpad, engine, thread_scratch(ScratchSlot::kTileSecond, chunk.scratchpad.get_size()));
    chunk.convolution.execute(onednn_stream(), {{DNNL_ARG_SRC, dnnl::memory(chunk.source, engine, source)},
                                                {DNNL_ARG_WEIGHTS, chunk.weights},
                                                {DNNL_ARG_DST, dnnl::memory(chunk.sums, engine, sums)},
                                                {DNNL_ARG_SCRATCHPAD, scratchpad}});
    onednn_stream().wait();
  }

  // x [batch, channels, pixels] to [batch, pixels, channels], as codes for s8.
  void to_nhwc(const float* x, int64_t batch, int64_t pixels, std::byte* out) const {
    constexpr int64_t kPixels = 256;
    int64_t channels = problem_.in_channels, blocks = (pixels + kPixels - 1) / kPixels;
    parallel_for(batch * blocks, [&](int64_t task) {
      int64_t image = task / blocks, first = task % blocks * kPixels, count = std::min(kPixels, pixels - first);
      const float* from = x + image * channels * pixels + first;
      std::byte* to = out + (image * pixels + first) * channels * type_size();
      if (type_ == Type::f32) return transpose(from, pixels, channels, count, reinterpret_cast<float*>(to), channels);
      float* rows = thread_scratch_of<float>(ScratchSlot::kTile, count * channels);
      transpose(from, pixels, channels, count, rows, channels);
      quantize_static_s8(rows, count * channels, problem_.input_scale, 0, reinterpret_cast<int8_t*>(to));
    });
  }

  // Integers to floats in their place.
  void scale_sums(float* sums, int64_t first, int64_t channels, int64_t pixels) const {
    for (int64_t pixel = 0; pixel < pixels; pixel++)
      for (int64_t c = 0; c < channels; c++) {
        float& sum = sums[pixel * channels + c];
        sum = float(std::bit_cast<int32_t>(sum)) * scales_[size_t(first + c)] * problem_.input_scale;
      }
  }

  std::string_view name_;
  Type type_;
  ConvProblem problem_;
  int64_t chunk_, cols_;
  std::vector<std::byte> values_;  // in matrix order
  std::vector<float> scales_;      // s8: per output channel
  mutable std::mutex mutex_;
  mutable std::map<std::pair<int64_t, int64_t>, std::shared_ptr<const Plan>> plans_;
};

constexpr std::string_view kF32 = "onednn::conv_dense_f32", kS8 = "onednn::conv_dense_s8";

std::optional<std::string> accepts(DType type, const ConvProblem& problem, const CpuFeatures& cpu) {
  // Without VNNI oneDNN's int8 saturates; without AVX-512 its nhwc kernels are slow.
  if (auto lacking = lacks(cpu, type == DType::kS8 ? "avx512_vnni" : "avx512")) return lacking;
  if (problem.weights != type || problem.activations != type) return cat("multiplies ", name_of(type), " only");
  if (problem.groups != 1) return "wants a single group";
  if (problem.input_zero) return "takes no zero point of the input";
  if (problem.in_channels == 0 || problem.out_channels == 0) return "there are no channels";
  return std::nullopt;
}

}  // namespace

extern const ConvKernel onednn_conv_dense_f32 = {
    .name = kF32,
    .help = "dense f32 by oneDNN, through nhwc",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts(DType::kF32, problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<OneDnnConv>(kF32, Type::f32, problem, weight);
    }};

extern const ConvKernel onednn_conv_dense_s8 = {
    .name = kS8,
    .help = "dense s8 by oneDNN, through nhwc",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) { return accepts(DType::kS8, problem, cpu); },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<OneDnnConv>(kS8, Type::s8, problem, weight);
    }};

}  // namespace lacuna::kernels
