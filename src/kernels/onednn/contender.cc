#include "kernels/contender.h"

#include <algorithm>
#include <cstring>

#include "base/cat.h"
#include "kernels/onednn/engine.h"

namespace lacuna::kernels {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;
using Desc = dnnl::memory::desc;

// Small numbers that are no denormals in any type.
dnnl::memory filled(const Desc& desc) {
  dnnl::memory memory(desc, onednn_engine());
  size_t bytes = desc.get_size();
  if (desc.data_type() == Type::f32) {
    float* values = static_cast<float*>(memory.get_data_handle());
    for (size_t i = 0; i < bytes / 4; i++) values[i] = 0.25f + float(i % 7) * 0.125f;
  } else if (desc.data_type() == Type::bf16) {
    uint16_t* values = static_cast<uint16_t*>(memory.get_data_handle());
    for (size_t i = 0; i < bytes / 2; i++) values[i] = uint16_t(0x3e80 + i % 7 * 16);
  } else {
    int8_t* values = static_cast<int8_t*>(memory.get_data_handle());
    for (size_t i = 0; i < bytes; i++) values[i] = int8_t(i % 61);
  }
  return memory;
}

template <class Primitive>
Contender contender(const std::string& what, const Primitive& primitive, const std::unordered_map<int, dnnl::memory>& arguments,
                    const char* implementation, int threads) {
  return {cat("oneDNN ", what, " (", implementation, ")"), [=] {
            OneDnnThreads limit(threads);
            primitive.execute(onednn_stream(), arguments);
            onednn_stream().wait();
          }};
}

// y^T [rows, tokens] = W x^T if `weights_left`, else y [tokens, rows] = x W^T.
void add_matmul(std::vector<Contender>& out, const LinearCase& c, Type type, bool weights_left, int threads) {
  int64_t rows = c.problem.rows, cols = c.problem.cols, m = weights_left ? rows : c.tokens, n = weights_left ? c.tokens : rows;
  bool integer = type == Type::s8;
  if (type != Type::f32) cols = (cols + 63) / 64 * 64;  // oneDNN 2.6.3 raises SIGILL in its AMX kernel at odd numbers of columns
  Type left = integer && !weights_left ? Type::u8 : type;
  try {
    OneDnnThreads limit(threads);
    Desc a({m, cols}, left, weights_left ? Tag::any : Tag::ab), b({cols, n}, type, weights_left ? Tag::ba : Tag::any);
    Desc y({m, n}, integer ? Type::s32 : Type::f32, Tag::ab);
    dnnl::matmul::primitive_desc desc({a, b, y}, onednn_engine());
    out.push_back(
        contender(cat(integer              ? "s8"
                      : type == Type::bf16 ? "bf16"
                                           : "f32",
                      " matmul, ", weights_left ? "weights left" : "weights right"),
                  dnnl::matmul(desc),
                  {{DNNL_ARG_SRC, filled(desc.src_desc())}, {DNNL_ARG_WEIGHTS, filled(desc.weights_desc())}, {DNNL_ARG_DST, filled(desc.dst_desc())}},
                  desc.impl_info_str(), threads));
  } catch (const dnnl::error&) {  // this order or type is not implemented on this CPU
  }
}

void add_convolution(std::vector<Contender>& out, const ConvCase& c, Type type, Tag layout, int threads) {
  const ConvProblem& p = c.problem;
  bool integer = type == Type::s8;
  try {
    OneDnnThreads limit(threads);
    Desc x({c.batch, p.in_channels, c.in_h, c.in_w}, integer ? Type::u8 : type, layout);
    Desc w = p.groups == 1 ? Desc({p.out_channels, p.in_channels, p.kernel_h, p.kernel_w}, type, Tag::any)
                           : Desc({p.groups, p.out_channels / p.groups, p.in_channels / p.groups, p.kernel_h, p.kernel_w}, type, Tag::any);
    Desc y({c.batch, p.out_channels, p.out_h(c.in_h), p.out_w(c.in_w)}, integer ? Type::u8 : Type::f32, layout);
    dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, x, w, y, {p.stride_h, p.stride_w},
                                         {p.dilation_h - 1, p.dilation_w - 1}, {p.pad_top, p.pad_left}, {p.pad_bottom, p.pad_right});
    dnnl::convolution_forward::primitive_desc primitive(desc, onednn_engine());
    out.push_back(contender(cat(integer ? "s8" : "f32", " convolution, ",
                                layout == Tag::any    ? "its layout"
                                : layout == Tag::nhwc ? "nhwc"
                                                      : "nchw"),
                            dnnl::convolution_forward(primitive),
                            {{DNNL_ARG_SRC, filled(primitive.src_desc())},
                             {DNNL_ARG_WEIGHTS, filled(primitive.weights_desc())},
                             {DNNL_ARG_DST, filled(primitive.dst_desc())}},
                            primitive.impl_info_str(), threads));
  } catch (const dnnl::error&) {  // not implemented on this CPU
  }
}

}  // namespace

std::vector<Contender> onednn_contenders(const LinearCase& c, int threads) {
  std::vector<Contender> out;
  if (c.problem.rows == 0 || c.problem.cols == 0 || c.tokens == 0) return out;
  bool integer = c.problem.activations == DType::kS8;
  bool half = c.problem.weights == DType::kBF16 || c.problem.activations == DType::kBF16;
  for (bool weights_left : {false, true}) add_matmul(out, c, integer ? Type::s8 : half ? Type::bf16 : Type::f32, weights_left, threads);
  if (half)
    for (bool weights_left : {false, true}) add_matmul(out, c, Type::f32, weights_left, threads);
  return out;
}

std::vector<Contender> onednn_contenders(const ConvCase& c, int threads) {
  std::vector<Contender> out;
  if (c.batch == 0) return out;
  for (Tag layout : {Tag::any, Tag::nhwc, Tag::nchw})
    add_convolution(out, c, c.problem.activations == DType::kS8 ? Type::s8 : Type::f32, layout, threads);
  return out;
}

}  // namespace lacuna::kernels
