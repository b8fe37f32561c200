// Dense f32 convolution by oneDNN on activations in blocks of channels: tiles of one image times a chunk of output channels, one
// single-threaded primitive each. In the blocked layout a chunk of channels of one image is contiguous, so a tile is a convolution of
// its own. oneDNN may add in another order for other chunks: those of the fixed plan depend on the shape alone, so that its results do not depend on
// the thread count; the candidate with a chunk for each thread (MobileNet v2 1.13x as fast on two) is for measured plans.
#include "kernels/conv.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/onednn/engine.h"
#include "kernels/support.h"
#include "kernels/transformer.h"

namespace lacuna::kernels {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;
using Dims = dnnl::memory::dims;
using Desc = dnnl::memory::desc;

int64_t channel_block() { return cpu_features().avx512 ? 16 : 8; }
int64_t rounded(int64_t n, int64_t block) { return (n + block - 1) / block * block; }

// Channels of images that oneDNN reads plain (its "first convolution").
constexpr int64_t kFewChannels = 3;

enum class Kind { kPlain, kDepthwise, kGrouped };

Kind kind_of(const ConvProblem& p) {
  if (p.groups == 1) return Kind::kPlain;
  return p.groups == p.in_channels && p.groups == p.out_channels ? Kind::kDepthwise : Kind::kGrouped;
}

class OneDnnConv final : public PackedConv {
 public:
  // `bounds`: of chunks of output channels, in whole blocks, and the end. Grouped: those of the groups.
  OneDnnConv(std::string_view name, const ConvProblem& problem, const WeightMatrix& weight, std::vector<int64_t> bounds)
      : name_(name),
        problem_(problem),
        kind_(kind_of(problem)),
        block_(channel_block()),
        plain_input_(problem.in_channels <= kFewChannels && kind_ == Kind::kPlain),
        bounds_(std::move(bounds)) {
    OneDnnThreads one(1);
    for (size_t i = 0; i + 1 < bounds_.size(); i++) {
      int64_t first = bounds_[i], count = bounds_[i + 1] - first;
      Dims dims = kind_ == Kind::kDepthwise ? Dims{count, 1, 1, problem.kernel_h, problem.kernel_w}
                                            : Dims{count, problem.in_channels / problem.groups, problem.kernel_h, problem.kernel_w};
      Tag order = kind_ == Kind::kDepthwise ? Tag::goihw : Tag::ohwi;
      dnnl::memory source({dims, Type::f32, order}, onednn_engine(), const_cast<float*>(weight.values) + first * weight.cols);
      Tile tile = make_tile(count, kProbe + problem.dilation_h * problem.kernel_h, kProbe + problem.dilation_w * problem.kernel_w, {});
      dnnl::memory packed(tile.weights, onednn_engine());
      dnnl::reorder(source, packed).execute(onednn_stream(), source, packed);
      onednn_stream().wait();
      chunks_.push_back(packed);
    }
  }

  std::string_view kernel() const override { return name_; }
  int64_t size_bytes() const override {
    int64_t bytes = 0;
    for (const dnnl::memory& chunk : chunks_) bytes += int64_t(chunk.get_desc().get_size());
    return bytes;
  }
  int64_t input_block() const override { return plain_input_ ? 0 : block_; }
  int64_t output_block() const override { return block_; }

  void run(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    run_in_blocks(*this, problem_, x, batch, in_h, in_w, y, epilogue);
  }

  void run_blocked(const float* x, int64_t batch, int64_t in_h, int64_t in_w, float* y, const Epilogue& epilogue) const override {
    int64_t in_size = in_h * in_w, out_size = problem_.out_h(in_h) * problem_.out_w(in_w), chunks = int64_t(chunks_.size());
    int64_t in_padded = plain_input_ ? problem_.in_channels : rounded(problem_.in_channels, block_),
            out_padded = rounded(problem_.out_channels, block_);
    parallel_for(batch * chunks, [&](int64_t index) {
      int64_t image = index / chunks, chunk = index % chunks, first = bounds_[size_t(chunk)], count = bounds_[size_t(chunk) + 1] - first;
      int64_t first_in = kind_ == Kind::kPlain ? 0 : kind_ == Kind::kDepthwise ? first : chunk * (problem_.in_channels / problem_.groups);
      const float* source = x + (image * in_padded + first_in) * in_size;
      float* result = y + (image * out_padded + first) * out_size;
      Epilogue tile_epilogue = epilogue;
      if (epilogue.bias) tile_epilogue.bias = epilogue.bias + first;
      if (epilogue.residual) tile_epilogue.residual = epilogue.residual + (image * out_padded + first) * out_size;
      OneDnnThreads one(1);
      execute(*tile_for(count, in_h, in_w, tile_epilogue), chunk, source, result, tile_epilogue);
      // Not by oneDNN, whose ReLU makes 0 of a NaN.
      if (epilogue.activation != Activation::kNone)
        activate_array(result, rounded(count, block_) * out_size, epilogue.activation, epilogue.alpha, epilogue.beta, result);
    });
  }

 private:
  static constexpr int64_t kProbe = 56;  // a usual picture, to ask for the layout of weights

  struct Tile {
    dnnl::convolution_forward primitive;
    Desc source, weights, result, scratchpad;
  };

  Tile make_tile(int64_t out_channels, int64_t in_h, int64_t in_w, const Epilogue& e) const {
    const ConvProblem& p = problem_;
    int64_t in_channels = kind_ == Kind::kDepthwise ? out_channels : p.in_channels / p.groups;
    Tag blocked = block_ == 16 ? Tag::nChw16c : Tag::nChw8c;
    Desc source({1, in_channels, in_h, in_w}, Type::f32, plain_input_ ? Tag::nchw : blocked),
        result({1, out_channels, p.out_h(in_h), p.out_w(in_w)}, Type::f32, blocked);
    Dims weight_dims =
        kind_ == Kind::kDepthwise ? Dims{out_channels, 1, 1, p.kernel_h, p.kernel_w} : Dims{out_channels, in_channels, p.kernel_h, p.kernel_w};
    Desc weights(weight_dims, Type::f32, Tag::any), bias({out_channels}, Type::f32, Tag::x);
    Dims strides{p.stride_h, p.stride_w}, dilation{p.dilation_h - 1, p.dilation_w - 1}, before{p.pad_top, p.pad_left},
        after{p.pad_bottom, p.pad_right};
    auto desc = e.bias ? dnnl::convolution_forward::desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, source, weights,
                                                         bias, result, strides, dilation, before, after)
                       : dnnl::convolution_forward::desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, source, weights,
                                                         result, strides, dilation, before, after);
    dnnl::post_ops post;
    if (e.residual) post.append_binary(dnnl::algorithm::binary_add, result);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    attributes.set_post_ops(post);
    dnnl::convolution_forward::primitive_desc pd(desc, attributes, onednn_engine());
    return {dnnl::convolution_forward(pd), source, pd.weights_desc(), result, pd.scratchpad_desc()};
  }

  std::shared_ptr<const Tile> tile_for(int64_t out_channels, int64_t in_h, int64_t in_w, const Epilogue& e) const {
    std::lock_guard lock(mutex_);
    auto& tile = tiles_[{out_channels, in_h, in_w, e.bias != nullptr, e.residual != nullptr}];
    if (!tile) tile = std::make_shared<Tile>(make_tile(out_channels, in_h, in_w, e));
    return tile;
  }

  // The chunk's weights in the layout that a primitive wants: mostly the one they are in.
  dnnl::memory weights_for(int64_t chunk, const Desc& wanted) const {
    const dnnl::memory& packed = chunks_[size_t(chunk)];
    if (packed.get_desc() == wanted) return packed;
    std::lock_guard lock(mutex_);
    for (auto& [index, other] : others_)
      if (index == chunk && other.get_desc() == wanted) return other;
    dnnl::memory other(wanted, onednn_engine()), source = packed;
    dnnl::reorder(source, other).execute(onednn_stream(), source, other);
    onednn_stream().wait();
    others_.emplace_back(chunk, other);
    return other;
  }

  void execute(const Tile& tile, int64_t chunk, const float* x, float* y, const Epilogue& e) const {
    dnnl::engine& engine = onednn_engine();
    auto memory = [&](const Desc& desc, const float* data) { return dnnl::memory(desc, engine, const_cast<float*>(data)); };
    std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, memory(tile.source, x)},
        {DNNL_ARG_WEIGHTS, weights_for(chunk, tile.weights)},
        {DNNL_ARG_DST, memory(tile.result, y)},
        {DNNL_ARG_SCRATCHPAD, dnnl::memory(tile.scratchpad, engine, thread_scratch(ScratchSlot::kTile, tile.scratchpad.get_size()))}};
    if (e.bias) arguments.emplace(DNNL_ARG_BIAS, memory({{tile.result.dims()[1]}, Type::f32, Tag::x}, e.bias));
    if (e.residual) arguments.emplace(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, memory(tile.result, e.residual));
    tile.primitive.execute(onednn_stream(), arguments);
    onednn_stream().wait();
  }

  std::string_view name_;
  ConvProblem problem_;
  Kind kind_;
  int64_t block_;
  bool plain_input_;
  std::vector<int64_t> bounds_;  // of the chunks, in output channels, and the end
  std::vector<dnnl::memory> chunks_;
  mutable std::mutex mutex_;
  mutable std::map<std::tuple<int64_t, int64_t, int64_t, bool, bool>, std::shared_ptr<const Tile>> tiles_;
  mutable std::vector<std::pair<int64_t, dnnl::memory>> others_;
};

constexpr std::string_view kName = "onednn::conv_f32", kNamePerThread = "onednn::conv_f32_per_thread";

std::optional<std::string> refuses(const ConvProblem& problem, const CpuFeatures& cpu) {
  if (auto lacking = lacks(cpu, "avx2")) return lacking;
  if (problem.weights != DType::kF32 || problem.activations != DType::kF32) return "multiplies f32 only";
  int64_t block = channel_block();
  if (problem.in_channels == 0 || problem.out_channels == 0) return "there are no channels";
  // oneDNN itself would take its reference.
  if (problem.groups == 1 && problem.in_channels > kFewChannels && problem.in_channels < block)
    return cat("has no fast path for ", problem.in_channels, " input channels");
  if (problem.pad_top < 0 || problem.pad_left < 0 || problem.pad_bottom < 0 || problem.pad_right < 0) return "pads are negative";
  if (kind_of(problem) == Kind::kGrouped && (problem.in_channels / problem.groups % block != 0 || problem.out_channels / problem.groups % block != 0))
    return cat("the channels of a group are no multiple of ", block);
  return std::nullopt;
}

std::vector<int64_t> bounds_every(int64_t channels, int64_t chunk) {
  std::vector<int64_t> bounds;
  for (int64_t first = 0; first < channels; first += chunk) bounds.push_back(first);
  bounds.push_back(channels);
  return bounds;
}

// A grouped convolution is as many convolutions; else about four chunks.
std::vector<int64_t> bounds_of(const ConvProblem& problem) {
  int64_t out = problem.out_channels, block = channel_block();
  if (kind_of(problem) == Kind::kGrouped) return bounds_every(out, out / problem.groups);
  return bounds_every(out, std::clamp<int64_t>(rounded((out + 3) / 4, block), std::min<int64_t>(32, rounded(out, block)), 256));
}

std::vector<int64_t> bounds_per_thread(int64_t channels) {
  int64_t block = channel_block(), blocks = (channels + block - 1) / block, parts = std::min<int64_t>(blocks, thread_count());
  std::vector<int64_t> bounds;
  for (int64_t i = 0; i <= parts; i++) bounds.push_back(std::min(blocks * i / parts * block, channels));
  return bounds;
}

}  // namespace

extern const ConvKernel onednn_conv_f32 = {.name = kName,
                                           .help = "dense f32 by oneDNN, channels in blocks",
                                           .sparse = false,
                                           .break_even = 0,
                                           .accepts = refuses,
                                           .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
                                             return std::make_unique<OneDnnConv>(kName, problem, weight, bounds_of(problem));
                                           }};

// Behind the one above, so never in the fixed plan.
extern const ConvKernel onednn_conv_f32_per_thread = {
    .name = kNamePerThread,
    .help = "dense f32 by oneDNN, channels in blocks, a chunk of them for each thread",
    .sparse = false,
    .break_even = 0,
    .accepts = [](const ConvProblem& problem, const CpuFeatures& cpu) -> std::optional<std::string> {
      if (auto reason = refuses(problem, cpu)) return reason;
      if (kind_of(problem) == Kind::kGrouped || bounds_per_thread(problem.out_channels) == bounds_of(problem)) return cat("is the same as ", kName);
      return std::nullopt;
    },
    .pack = [](const ConvProblem& problem, const WeightMatrix& weight) -> std::unique_ptr<PackedConv> {
      return std::make_unique<OneDnnConv>(kNamePerThread, problem, weight, bounds_per_thread(problem.out_channels));
    }};

}  // namespace lacuna::kernels
