// Activations as codes: quantize and dequantize of a whole tensor with one constant scale, and what reads and writes codes between.
#include "runtime/ops/codes.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "kernels/epilogue.h"
#include "kernels/support.h"
#include "runtime/ops/ops.h"
#include "runtime/passes/fuse_rounding.h"
#include "runtime/reference/support.h"

namespace lacuna {
namespace {

constexpr int64_t kPerTask = 16384;

void in_parts(int64_t count, const std::function<void(int64_t first, int64_t last)>& run) {
  parallel_for((count + kPerTask - 1) / kPerTask, [&](int64_t part) { run(part * kPerTask, std::min(count, (part + 1) * kPerTask)); });
}

template <class T>
void dequantize_part(const InputRounding& r, const T* x, int64_t first, int64_t last, float* y) {
  for (int64_t i = first; i < last; i++) y[i] = float(int32_t(x[i]) - r.zero_point) * r.scale;
}

// [batch, channels, pixels], a piece of some pixels of an image at a time: run(plane offset of the piece, pixel-major offset, pixels).
struct Picture {
  explicit Picture(const Shape& shape) : batch(shape[0]), channels(shape[1]), pixels(element_count(std::span(shape).subspan(2))) {}
  int64_t batch, channels, pixels;
  static constexpr int64_t kPixels = 128;
  template <class F>
  void for_each_piece(F&& run) const {
    int64_t pieces = (pixels + kPixels - 1) / kPixels, per_task = std::max<int64_t>(1, kPerTask / (kPixels * std::max<int64_t>(channels, 1)));
    parallel_for((batch * pieces + per_task - 1) / per_task, [&](int64_t task) {
      for (int64_t i = task * per_task; i < std::min(batch * pieces, (task + 1) * per_task); i++) {
        int64_t image = i / pieces, first = i % pieces * kPixels;
        run(image * channels * pixels + first, (image * pixels + first) * channels, std::min(kPixels, pixels - first));
      }
    });
  }
};

// Up to four rows of codes, side by side from y on, `stride` bytes from one pixel to the next.
void interleave(const int8_t* codes, int64_t channels, int64_t pixels, int8_t* y, int64_t stride) {
  if (channels == 3 && stride == 3) return kernels::interleave_three({codes, codes + Picture::kPixels, codes + 2 * Picture::kPixels}, pixels, y);
  for (int64_t i = 0; i < pixels; i++, y += stride)
    for (int64_t c = 0; c < channels; c++) y[c] = codes[c * Picture::kPixels + i];
}

// x in planes to signed codes, pixel by pixel.
void quantize_pixels(const InputRounding& r, const Picture& p, const float* x, int8_t* y) {
  if (p.pixels == 1) return kernels::quantize_static_s8(x, p.batch * p.channels, r.scale, r.signed_zero(), y);
  p.for_each_piece([&](int64_t from, int64_t to, int64_t count) {
    int8_t codes[4][Picture::kPixels];
    for (int64_t first = 0; first < p.channels; first += 4) {
      int64_t channels = std::min<int64_t>(4, p.channels - first);
      // The hardware asks for lines ahead to the end of a page only.
      constexpr int64_t kAhead = 1024, kLine = 16;
      for (int64_t c = 0; c < channels; c++) {
        for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(x + from + (first + c) * p.pixels + kAhead + i);
        kernels::quantize_static_s8(x + from + (first + c) * p.pixels, count, r.scale, r.signed_zero(), codes[c]);
      }
      interleave(codes[0], channels, count, y + to + first, p.channels);
    }
  });
}

void dequantize_pixels(const InputRounding& r, const Picture& p, const int8_t* x, float* y) {
  constexpr int64_t kChannels = 64;
  if (p.pixels == 1) return kernels::values_of_codes({x, 0, r.scale, r.signed_zero()}, 1, p.batch * p.channels, y);
  p.for_each_piece([&](int64_t to, int64_t from, int64_t count) {
    float values[Picture::kPixels * kChannels];
    for (int64_t first = 0; first < p.channels; first += kChannels) {
      int64_t channels = std::min(kChannels, p.channels - first);
      kernels::values_of_codes({x + from + first, p.channels, r.scale, r.signed_zero()}, count, channels, values);
      kernels::transpose(values, channels, count, channels, y + to + first * p.pixels, p.pixels);
    }
  });
}

// A function of its own, so that the compiler sees that stores of bytes change none of the sizes.
void add_codes(const int8_t* x, int64_t count, int32_t* sums) {
  for (int64_t i = 0; i < count; i++) sums[i] += x[i];
}
void flip_signs(uint8_t* y, int64_t count) {
  for (int64_t i = 0; i < count; i++) y[i] = uint8_t(y[i] ^ 0x80);
}

// Pixels without others between are one.
void recode_pixels(const kernels::CodedPixels& x, const kernels::CodedPixels& other, bool product, int64_t pixels, int64_t channels,
                   const kernels::CodeRule& rule, int8_t* y, int64_t y_pitch) {
  bool dense = x.pitch == channels && y_pitch == channels && (!other.codes || other.pitch == channels);
  kernels::recode(x, other, product, dense ? 1 : pixels, dense ? pixels * channels : channels, rule, y, y_pitch);
}
void copy_pixels(const kernels::CodedPixels& x, int64_t pixels, int64_t channels, int8_t* y, int64_t y_pitch) {
  constexpr int64_t kStep = 16;
  for (int64_t p = 0; p < pixels; p++) {
    const int8_t* from = x.codes + p * x.pitch;
    int8_t* to = y + p * y_pitch;
    int64_t i = 0;
    for (; i + kStep <= channels; i += kStep) std::memcpy(to + i, from + i, kStep);
    for (; i < channels; i++) to[i] = from[i];
  }
}

}  // namespace

void codes_to_pixels(const Shape& shape, DType type, const std::byte* x, std::byte* y) {
  Picture p(shape);
  std::byte flip = std::byte(type == DType::kU8 ? 0x80 : 0);
  p.for_each_piece([&](int64_t from, int64_t to, int64_t count) {
    for (int64_t c = 0; c < p.channels; c++)
      for (int64_t i = 0; i < count; i++) y[to + i * p.channels + c] = x[from + c * p.pixels + i] ^ flip;
  });
}

void codes_from_pixels(const Shape& shape, DType type, const std::byte* x, std::byte* y) {
  Picture p(shape);
  std::byte flip = std::byte(type == DType::kU8 ? 0x80 : 0);
  p.for_each_piece([&](int64_t to, int64_t from, int64_t count) {
    for (int64_t c = 0; c < p.channels; c++)
      for (int64_t i = 0; i < count; i++) y[to + c * p.pixels + i] = x[from + i * p.channels + c] ^ flip;
  });
}

CompiledStep compile_codes_conv(const OpContext& context) {
  const PlanNode& plan = context.plan();
  ConvShape shape = *conv_shape(context);
  auto pack = context.packs().conv_of_codes(context.node(), shape.problem, shape.batch, shape.in_h, shape.in_w, plan.rounding);
  LACUNA_ASSERT(pack.packed);
  kernels::CodesConv conv;
  if (plan.output) {
    conv.y_scale = plan.output.scale, conv.y_zero = plan.output.signed_zero();
    conv.residual_scale = plan.residual_codes.scale, conv.residual_zero = plan.residual_codes.signed_zero();
    conv.product = plan.product.of_values(), conv.sum = plan.sum.of_values();
    conv.activation = plan.activation, conv.alpha = plan.alpha, conv.beta = plan.beta;
  }
  CompiledStep step{.kernel = std::string(pack.packed->kernel()), .unread = {1}, .problem = pack.problem, .plan_line = pack.line};
  step.input_blocks = {kChannelsLast, 0, 0, plan.output ? kChannelsLast : 0};
  step.output_block = plan.output ? kChannelsLast : 0;
  kernels::Epilogue epilogue = context.epilogue();
  step.run = [=, packed = pack.packed, next = context.link(pack.packed), table = plan.table, codes_out = bool(plan.output)](const StepCall& call) {
    kernels::CodesConv c = conv;
    c.next = next->packed.get();
    c.x = reinterpret_cast<const int8_t*>(call.in(0).raw());
    if (codes_out) {
      c.table = table ? table->data() : nullptr;
      c.bias = call.floats(2);
      c.y = reinterpret_cast<int8_t*>(call.out(0).mutable_raw());
      if (call.inputs.size() > 3 && call.inputs[3]) c.residual = reinterpret_cast<const int8_t*>(call.in(3).raw());
    } else {
      c.y_floats = call.out_floats();
      c.epilogue = epilogue;
      c.epilogue.bias = call.floats(2), c.epilogue.residual = call.floats(3);
    }
    packed->run_codes(c, shape.batch, shape.in_h, shape.in_w);
  };
  return step;
}

// The largest code of each window: codes are in the order of what they stand for. First of each column under a row of windows, then along it.
CompiledStep compile_codes_pool(const OpContext& context) {
  Shape x = context.shape(0);
  reference::Windows w = reference::windows_of(OpCall{context.node(), {}, {}, {}}, x, context.attributes().integers("kernel_shape"));
  int64_t images = x[0], channels = x[1], row = w.input[1] * channels;
  constexpr int64_t kRowsPerTask = 4;
  return {.kernel = "codes",
          .run =
              [=, tasks = (images * w.output[0] + kRowsPerTask - 1) / kRowsPerTask](const StepCall& call) {
                auto* in = reinterpret_cast<const int8_t*>(call.in(0).raw());
                auto* out = reinterpret_cast<int8_t*>(call.out(0).mutable_raw());
                parallel_for(tasks, [&](int64_t task) {
                  int8_t* tall = kernels::thread_scratch_of<int8_t>(kernels::ScratchSlot::kTile, row);
                  std::vector<const int8_t*> taps;
                  for (int64_t i = task * kRowsPerTask; i < std::min(images * w.output[0], (task + 1) * kRowsPerTask); i++) {
                    taps.clear();
                    for (int64_t kh = 0; kh < w.kernel[0]; kh++) {
                      int64_t h = i % w.output[0] * w.strides[0] + kh * w.dilations[0] - w.pad_begin[0];
                      if (h >= 0 && h < w.input[0]) taps.push_back(in + (i / w.output[0] * w.input[0] + h) * row);
                    }
                    kernels::largest_codes(taps, row, tall);
                    for (int64_t ow = 0; ow < w.output[1]; ow++) {
                      taps.clear();
                      for (int64_t kw = 0; kw < w.kernel[1]; kw++) {
                        int64_t v = ow * w.strides[1] + kw * w.dilations[1] - w.pad_begin[1];
                        if (v >= 0 && v < w.input[1]) taps.push_back(tall + v * channels);
                      }
                      kernels::largest_codes(taps, channels, out + (i * w.output[1] + ow) * channels);
                    }
                  }
                });
              },
          .input_blocks = {kChannelsLast},
          .output_block = kChannelsLast};
}

// Means of the pixels of each channel, out of sums that are exact.
CompiledStep compile_codes_mean(const OpContext& context) {
  constexpr int64_t kChannels = 64;
  Picture p(context.shape(0));
  InputRounding r = context.plan().rounding;
  int64_t parts = (p.channels + kChannels - 1) / kChannels;
  return {.kernel = "codes",
          .run =
              [=](const StepCall& call) {
                auto* x = reinterpret_cast<const int8_t*>(call.in(0).raw());
                parallel_for(p.batch * parts, [&](int64_t task) {
                  int64_t image = task / parts, first = task % parts * kChannels, count = std::min(kChannels, p.channels - first);
                  int32_t sums[kChannels] = {};
                  for (int64_t i = 0; i < p.pixels; i++) add_codes(x + (image * p.pixels + i) * p.channels + first, count, sums);
                  for (int64_t c = 0; c < count; c++)
                    call.out_floats()[image * p.channels + first + c] =
                        float(sums[c] - int32_t(p.pixels) * r.signed_zero()) * r.scale / float(p.pixels);
                });
              },
          .input_blocks = {kChannelsLast}};
}

namespace {

// Each pixel becomes a block of equal ones.
CompiledStep compile_coded_resize(const OpContext& context) {
  Shape in = context.shape(0), out = context.out_shape();
  int64_t channels = in[1], down = out[2] / in[2], across = out[3] / in[3], in_row = in[3] * channels, out_row = out[3] * channels;
  return {.kernel = "codes",
          .run =
              [=, rows = in[0] * in[2], in_w = in[3]](const StepCall& call) {
                int64_t per_task = std::max<int64_t>(1, kPerTask / std::max<int64_t>(down * out_row, 1));
                parallel_for((rows + per_task - 1) / per_task, [&](int64_t task) {
                  for (int64_t row = task * per_task; row < std::min(rows, (task + 1) * per_task); row++) {
                    auto* x = reinterpret_cast<const int8_t*>(call.in(0).raw()) + row * in_row;
                    auto* y = reinterpret_cast<int8_t*>(call.out(0).mutable_raw()) + row * down * out_row;
                    for (int64_t i = 0; i < across; i++)
                      copy_pixels({.codes = x, .pitch = channels}, in_w, channels, y + i * channels, across * channels);
                    for (int64_t i = 1; i < down; i++) std::memcpy(y + i * out_row, y, size_t(out_row));
                  }
                });
              },
          .input_blocks = {kChannelsLast},
          .output_block = kChannelsLast};
}

// What of an input a step on codes reads: `channels` from `first` of pixels of `pitch` channels.
struct CodedPart {
  size_t input;
  int64_t pitch, first, channels;
  InputRounding rounding;
  kernels::CodedPixels at(const StepCall& call, int64_t pixel) const {
    auto* x = reinterpret_cast<const int8_t*>(call.in(input).raw()) + pixel * pitch + first;
    return {x, pitch, rounding.scale, rounding.signed_zero()};
  }
};

// In tasks of whole pixels of one image: work(call, image, first pixel of all, count, where its result goes).
template <typename Work>
CompiledStep coded_step(const OpContext& context, const Work& work) {
  CompiledStep step = {.kernel = "codes", .output_block = kChannelsLast};
  step.input_blocks.assign(context.plan().coded->inputs.size(), kChannelsLast);
  step.run = [=, out = Picture(context.out_shape())](const StepCall& call) {
    int64_t most = std::max<int64_t>(1, kPerTask / std::max<int64_t>(out.channels, 1)), tasks = (out.pixels + most - 1) / most;
    parallel_for(out.batch * tasks, [&](int64_t task) {
      int64_t image = task / tasks, first = image * out.pixels + task % tasks * most, count = std::min(most, (image + 1) * out.pixels - first);
      work(call, image, first, count, reinterpret_cast<int8_t*>(call.out(0).mutable_raw()) + first * out.channels);
    });
  };
  return step;
}

kernels::CodeRule output_rule(const OpContext& context) {
  const InputRounding& output = context.plan().output;
  return kernels::static_rule(output.scale, output.signed_zero());
}

// A sum or product of two pictures, or of one and a pixel for all of an image.
CompiledStep compile_coded_pair(const OpContext& context) {
  const int64_t channels = context.out_shape()[1];
  const CodedStep& coded = *context.plan().coded;
  CodedPart a{0, channels, 0, channels, coded.inputs[0]}, b{1, channels, 0, channels, coded.inputs[1]};
  bool product = context.node().op == Op::mul, gate = context.shape(1) != context.out_shape();
  kernels::CodeRule rule = output_rule(context);
  return coded_step(context, [=](const StepCall& call, int64_t image, int64_t first, int64_t count, int8_t* y) {
    kernels::CodedPixels second = b.at(call, gate ? image : first);
    if (gate) second.pitch = 0;
    recode_pixels(a.at(call, first), second, product, count, channels, rule, y, channels);
  });
}

// Channels of inputs next to each other: all of a concat's, some of a split's.
CompiledStep compile_coded_parts(const OpContext& context) {
  const int64_t channels = context.out_shape()[1];
  const CodedStep& coded = *context.plan().coded;
  std::vector<CodedPart> parts;
  for (size_t i = 0; i < coded.inputs.size(); i++) {
    int64_t pitch = context.shape(i)[1];
    parts.push_back({i, pitch, coded.first, context.node().op == Op::split ? channels : pitch, coded.inputs[i]});
  }
  kernels::CodeRule rule = output_rule(context);
  return coded_step(context, [=, values = context.plan().output.of_values()](const StepCall& call, int64_t, int64_t first, int64_t count, int8_t* y) {
    for (const CodedPart& part : parts) {
      if (part.rounding.of_values() == values)
        copy_pixels(part.at(call, first), count, part.channels, y, channels);
      else
        recode_pixels(part.at(call, first), {}, false, count, part.channels, rule, y, channels);
      y += part.channels;
    }
  });
}

}  // namespace

CompiledStep compile_coded_step(const OpContext& context) {
  switch (context.node().op) {
    case Op::resize: return compile_coded_resize(context);
    case Op::add:
    case Op::mul: return compile_coded_pair(context);
    default: return compile_coded_parts(context);
  }
}

CompiledStep compile_quantize(const OpContext& context) {
  auto rounding = static_rounding(context.graph(), context.node());
  if (!rounding || !context.is_float(0)) return {};
  int64_t count = element_count(context.shape(0));
  if (context.plan().codes)
    return {.kernel = "round",
            .run = [r = *rounding, p = Picture(context.shape(0))](
                       const StepCall& call) { quantize_pixels(r, p, call.floats(0), reinterpret_cast<int8_t*>(call.out(0).mutable_raw())); },
            .output_block = kChannelsLast};
  return {.kernel = "round", .run = [r = *rounding, count](const StepCall& call) {
            auto* out = reinterpret_cast<int8_t*>(call.out(0).mutable_raw());
            in_parts(count, [&](int64_t first, int64_t last) {
              kernels::quantize_static_s8(call.floats(0) + first, last - first, r.scale, r.signed_zero(), out + first);
              if (r.type == DType::kU8) flip_signs(reinterpret_cast<uint8_t*>(out + first), last - first);
            });
          }};
}

CompiledStep compile_dequantize(const OpContext& context) {
  int64_t count = element_count(context.shape(0));
  if (context.plan().rounding)
    return {.kernel = "round",
            .run =
                [r = context.plan().rounding.of_values(), count](const StepCall& call) {
                  in_parts(count, [&](int64_t first, int64_t last) {
                    kernels::store_token_major(
                        {.sums = call.floats(0) + first, .sums_stride = 0, .first_row = 0, .rows = last - first, .first_token = 0, .tokens = 1},
                        call.out_floats() + first, 0, {.rounding = r});
                  });
                },
            .in_place = {0}};
  auto rounding = static_rounding(context.graph(), context.node());
  if (!rounding) return {};
  if (context.block(0) == kChannelsLast)
    return {.kernel = "round",
            .run = [r = *rounding, p = Picture(context.shape(0))](
                       const StepCall& call) { dequantize_pixels(r, p, reinterpret_cast<const int8_t*>(call.in(0).raw()), call.out_floats()); },
            .input_blocks = {kChannelsLast}};
  return {.kernel = "round", .run = [r = *rounding, count](const StepCall& call) {
            const std::byte* x = call.in(0).raw();
            in_parts(count, [&](int64_t first, int64_t last) {
              if (r.type == DType::kU8)
                dequantize_part(r, reinterpret_cast<const uint8_t*>(x), first, last, call.out_floats());
              else
                dequantize_part(r, reinterpret_cast<const int8_t*>(x), first, last, call.out_floats());
            });
          }};
}

}  // namespace lacuna
