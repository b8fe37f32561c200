// Transposes, slices, splits, repeats and pixel shuffles: strided copies with merged axes; pads, joins of channel blocks, resizing.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/parallel.h"
#include "kernels/support.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/vector_ops.h"
#include "runtime/reference/support.h"

namespace lacuna {
namespace {

// y[i] = x[offset + sum of index * strides], axes merged where the source goes on contiguously.
struct StridedCopy {
  Shape shape;
  std::vector<int64_t> strides;
  int64_t offset = 0;
  size_t width = 4;  // bytes of an element
};

StridedCopy merged(const Shape& shape, const std::vector<int64_t>& strides, int64_t offset, DType type) {
  StridedCopy copy{.offset = offset, .width = size_t(bits_of(type) / 8)};
  for (size_t i = 0; i < shape.size(); i++) {
    if (shape[i] == 1) continue;
    if (!copy.shape.empty() && copy.strides.back() == strides[i] * shape[i]) {
      copy.shape.back() *= shape[i];
      copy.strides.back() = strides[i];
    } else {
      copy.shape.push_back(shape[i]);
      copy.strides.push_back(strides[i]);
    }
  }
  return copy;
}

template <class T>
void copy_row(const T* from, int64_t stride, int64_t n, T* to) {
  for (int64_t i = 0; i < n; i++) to[i] = from[i * stride];
}

void run_copy(const StridedCopy& copy, const std::byte* x, std::byte* y) {
  x += size_t(copy.offset) * copy.width;
  if (copy.shape.empty()) {
    std::memcpy(y, x, copy.width);
    return;
  }
  size_t rank = copy.shape.size();
  int64_t inner = copy.shape.back(), rows = 1, stride = copy.strides.back();
  // A matrix transposed as a whole, in f32: the vectorised transposition.
  bool matrix = rank >= 2 && copy.width == 4 && copy.strides[rank - 2] == 1 && stride > 1;
  size_t outer_rank = matrix ? rank - 2 : rank - 1;
  for (size_t i = 0; i < outer_rank; i++) rows *= copy.shape[i];
  int64_t block = matrix ? copy.shape[rank - 2] * inner : inner;
  constexpr int64_t kElementTile = 16384;
  int64_t rows_per_tile = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, block));
  parallel_for((rows + rows_per_tile - 1) / rows_per_tile, [&](int64_t tile) {
    for (int64_t r = tile * rows_per_tile; r < std::min(rows, (tile + 1) * rows_per_tile); r++) {
      int64_t rest = r, from = 0;
      for (size_t i = outer_rank; i-- > 0; rest /= copy.shape[i]) from += rest % copy.shape[i] * copy.strides[i];
      const std::byte* source = x + size_t(from) * copy.width;
      std::byte* to = y + size_t(r * block) * copy.width;
      if (matrix) {
        kernels::transpose(reinterpret_cast<const float*>(source), stride, inner, copy.shape[rank - 2], reinterpret_cast<float*>(to), inner);
      } else if (stride == 1) {
        std::memcpy(to, source, size_t(inner) * copy.width);
      } else {
        reference::with_width(copy.width == 8   ? DType::kU64
                              : copy.width == 4 ? DType::kU32
                              : copy.width == 2 ? DType::kU16
                                                : DType::kU8,
                              [&](auto type) {
                                using T = decltype(type);
                                copy_row(reinterpret_cast<const T*>(source), stride, inner, reinterpret_cast<T*>(to));
                              });
      }
    }
  });
}

StepFn step_of(StridedCopy copy, size_t output = 0) {
  return [=](const StepCall& call) {
    if (call.outputs[output] && call.out(output).size() > 0) run_copy(copy, call.in(0).raw(), call.out(output).mutable_raw());
  };
}

}  // namespace

CompiledStep compile_transpose(const OpContext& context) {
  Shape x = context.shape(0), perm = context.attributes().integers("perm");
  if (!context.attributes().has("perm"))
    for (int64_t i = int64_t(x.size()); i-- > 0;) perm.push_back(i);
  auto own = reference::strides_of(x);
  std::vector<int64_t> strides;
  for (int64_t axis : perm) strides.push_back(own[size_t(axis)]);
  return {.kernel = "strided copy", .run = step_of(merged(context.out_shape(), strides, 0, storage_type(context.type(0))))};
}

// Result [n, depth, h, b, w, b]: a block of b x b numbers from channels that lie `depth` apart (DCR) or together (CRD).
CompiledStep compile_depth_to_space(const OpContext& context) {
  Shape x = context.shape(0);
  int64_t b = context.attributes().integer("blocksize", 1), depth = x[1] / (b * b), plane = x[2] * x[3];
  bool together = context.attributes().text("mode", "DCR") == "CRD";
  int64_t next = together ? plane : depth * plane;
  return {.kernel = "strided copy",
          .run = step_of(merged({x[0], depth, x[2], b, x[3], b}, {x[1] * plane, together ? b * b * plane : plane, x[3], b * next, 1, next}, 0,
                                storage_type(context.type(0))))};
}

CompiledStep compile_space_to_depth(const OpContext& context) {
  Shape x = context.shape(0);
  int64_t b = context.attributes().integer("blocksize", 1), plane = x[2] * x[3];
  return {
      .kernel = "strided copy",
      .run = step_of(merged({x[0], b, b, x[1], x[2] / b, x[3] / b}, {x[1] * plane, x[3], 1, plane, b * x[3], b}, 0, storage_type(context.type(0))))};
}

CompiledStep compile_expand(const OpContext& context) {
  if (!context.integers(1)) return {};  // the reference looks whether x can become what the run asks for
  Shape out = context.out_shape();
  return {.kernel = "strided copy",
          .run = step_of(merged(out, reference::broadcast_strides(context.shape(0), out), 0, storage_type(context.type(0)))),
          .unread = {1}};
}

CompiledStep compile_tile(const OpContext& context) {
  Shape x = context.shape(0), out = context.out_shape(), shape;
  auto own = reference::strides_of(x);
  std::vector<int64_t> strides;
  for (size_t i = 0; i < x.size(); i++) {
    if (x[i] == 0) return {};
    shape.insert(shape.end(), {out[i] / x[i], x[i]}), strides.insert(strides.end(), {0, own[i]});
  }
  return {.kernel = "strided copy", .run = step_of(merged(shape, strides, 0, storage_type(context.type(0)))), .unread = {1}};
}

CompiledStep compile_slice(const OpContext& context) {
  auto starts = context.integers(1), ends = context.integers(2), axes = context.integers(3), steps = context.integers(4);
  if (!starts || !ends || (context.has(3) && !axes) || (context.has(4) && !steps)) return {};
  reference::SliceView view = reference::slice_view(OpCall{context.node(), {}, {}, {}}, context.shape(0), *starts, *ends, axes, steps);
  return {
      .kernel = "strided copy", .run = step_of(merged(view.shape, view.strides, view.offset, storage_type(context.type(0)))), .unread = {1, 2, 3, 4}};
}

// With a constant: rows along the last axis that is padded, those outside of the input filled, the others copied between what is filled. Negative
// pads crop. Other modes are left to the reference.
CompiledStep compile_pad(const OpContext& context) {
  auto pads = context.integers(1), wanted_axes = context.has(3) ? context.integers(3) : std::vector<int64_t>();
  const Tensor* value = context.has(2) ? context.constant(2) : nullptr;
  if (!pads || !wanted_axes || (context.has(2) && !value) || context.attributes().text("mode", "constant") != "constant") return {};
  Shape x = context.shape(0), y = context.out_shape(), before(x.size(), 0);
  int64_t rank = int64_t(x.size());
  for (int64_t i = 0, count = int64_t(pads->size()) / 2; i < count; i++) {
    int64_t axis = context.has(3) ? (*wanted_axes)[size_t(i)] : i;
    before[size_t(axis < 0 ? axis + rank : axis)] = (*pads)[size_t(i)];
  }
  int64_t last = rank - 1;
  while (last > 0 && x[size_t(last)] == y[size_t(last)] && before[size_t(last)] == 0) last--;
  if (last < 0 || element_count(y) == 0) return {};
  DType type = storage_type(context.type(0));
  size_t width = size_t(bits_of(type) / 8);
  std::vector<std::byte> fill(width);
  if (value && value->size() > 0 && value->dtype() == type) std::memcpy(fill.data(), value->raw(), width);
  bool zero = std::all_of(fill.begin(), fill.end(), [](std::byte b) { return b == std::byte(0); });
  int64_t inner = element_count(std::span(x).subspan(size_t(last) + 1)), row = y[size_t(last)] * inner, rows = element_count(y) / row;
  // What of a row comes from the input.
  int64_t first = std::clamp<int64_t>(before[size_t(last)], 0, y[size_t(last)]);
  int64_t end = std::clamp<int64_t>(before[size_t(last)] + x[size_t(last)], first, y[size_t(last)]);
  constexpr int64_t kElementTile = 16384;
  int64_t rows_per_tile = std::max<int64_t>(1, kElementTile / row), pieces = (row + kElementTile - 1) / kElementTile;
  return {.kernel = "rows",
          .run =
              [=](const StepCall& call) {
                auto fill_in = [&](std::byte* to, int64_t count) {
                  if (zero && count > 0) return void(std::memset(to, 0, size_t(count) * width));
                  for (int64_t i = 0; i < count; i++) std::memcpy(to + size_t(i) * width, fill.data(), width);
                };
                // Elements [begin, stop) of a row; where the row lies in the input, its elements [low, high) come from there.
                auto write_row = [&](int64_t r, int64_t begin, int64_t stop) {
                  std::byte* to = call.out(0).mutable_raw() + size_t(r * row) * width;
                  int64_t rest = r, from = 0, stride = 1, low = first * inner, high = end * inner;
                  for (int64_t d = last; d-- > 0; rest /= y[size_t(d)], stride *= x[size_t(d)]) {
                    int64_t at = rest % y[size_t(d)] - before[size_t(d)];
                    if (at < 0 || at >= x[size_t(d)]) low = high = row;
                    from += at * stride;
                  }
                  low = std::clamp(low, begin, stop), high = std::clamp(high, low, stop);
                  fill_in(to + size_t(begin) * width, low - begin);
                  int64_t source = (from * x[size_t(last)] - before[size_t(last)]) * inner + low;
                  if (high > low) std::memcpy(to + size_t(low) * width, call.in(0).raw() + size_t(source) * width, size_t(high - low) * width);
                  fill_in(to + size_t(high) * width, stop - high);
                };
                parallel_for((rows + rows_per_tile - 1) / rows_per_tile * pieces, [&](int64_t task) {
                  int64_t tile = task / pieces, piece = task % pieces;
                  for (int64_t r = tile * rows_per_tile; r < std::min(rows, (tile + 1) * rows_per_tile); r++)
                    write_row(r, row * piece / pieces, row * (piece + 1) / pieces);
                });
              },
          .unread = {1, 2, 3}};
}

namespace {

// Channels that come in whole blocks: blocks follow blocks.
CompiledStep compile_blocked_concat(const OpContext& context, int64_t axis, int64_t block) {
  size_t inputs = context.node().inputs.size();
  Shape out = context.out_shape();
  if (out.size() < 3 || axis != 1) return {};
  int64_t pixels = element_count(std::span(out).subspan(2)), batch = out[0], whole = 0;
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < inputs; i++) {
    int64_t channels = context.shape(i)[1];
    if (!context.is_float(i) || (channels % block && i + 1 < inputs)) return {};
    sizes.push_back((channels + block - 1) / block * block * pixels);
    whole += sizes.back();
  }
  return {.kernel = "channel blocks",
          .run =
              [=](const StepCall& call) {
                for (int64_t n = 0; n < batch; n++) {
                  float* to = call.out_floats() + n * whole;
                  for (size_t i = 0; i < inputs; to += sizes[i], i++)
                    std::memcpy(to, call.floats(i) + n * sizes[i], size_t(sizes[i]) * sizeof(float));
                }
              },
          .input_blocks = std::vector<int64_t>(inputs, block),
          .output_block = block};
}

}  // namespace

// Values of one type. Pictures joined by channels are copied by bands of pixels.
CompiledStep compile_concat(const OpContext& context) {
  Shape out = context.out_shape();
  int64_t block = 0, axis = context.attributes().integer("axis", 0), rank = int64_t(out.size());
  if (axis < 0) axis += rank;
  size_t inputs = context.node().inputs.size();
  for (size_t i = 0; i < inputs; i++) block = std::max(block, context.block(i));
  if (block)
    if (CompiledStep step = compile_blocked_concat(context, axis, block); step.run) return step;
  std::vector<int64_t> ends;  // of the inputs, along the axis
  for (size_t i = 0; i < inputs; i++) {
    if (context.type(i) != context.type(0)) return {};
    ends.push_back((ends.empty() ? 0 : ends.back()) + context.shape(i)[size_t(axis)]);
  }
  DType type = storage_type(context.type(0));
  int64_t outer = element_count(std::span(out).subspan(0, size_t(axis))), inner = element_count(std::span(out).subspan(size_t(axis) + 1));
  int64_t length = out[size_t(axis)], width = bits_of(type) / 8;
  if (width == 0 || element_count(out) == 0) return {};
  constexpr int64_t kBytes = 64 << 10;
  bool pictures = axis == 1 && rank > 2;
  return {.kernel = "rows", .run = [=](const StepCall& call) {
            int64_t bands = pictures ? image_bands(outer, inner / 64, 64) : 1, band_bytes = inner * width / bands;
            int64_t entries = std::max<int64_t>(1, kBytes / std::max<int64_t>(1, band_bytes)), chunks = (length + entries - 1) / entries;
            int64_t together = bands * chunks == 1 ? std::max<int64_t>(1, kBytes / (length * inner * width)) : 1;  // of `outer`
            parallel_for((outer + together - 1) / together * bands * chunks, [&](int64_t task) {
              int64_t band = task / chunks % bands, first = band * inner / bands * width, size = (band + 1) * inner / bands * width - first;
              int64_t begin = task % chunks * entries, stop = std::min(begin + entries, length), o = task / chunks / bands * together;
              for (int64_t last = std::min(o + together, outer); o < last; o++) {
                size_t input = 0;
                for (int64_t at = begin; at < stop;) {
                  while (ends[input] <= at) input++;
                  int64_t start = input ? ends[input - 1] : 0, count = std::min(ends[input], stop) - at;
                  const std::byte* from = call.in(input).raw() + ((ends[input] - start) * o + at - start) * inner * width + first;
                  std::byte* to = call.out(0).mutable_raw() + (length * o + at) * inner * width + first;
                  at += count;
                  if (bands == 1)
                    std::memcpy(to, from, size_t(count * size));
                  else
                    for (; count > 0; count--, from += inner * width, to += inner * width) std::memcpy(to, from, size_t(size));
                }
              }
            });
          }};
}

CompiledStep compile_split(const OpContext& context) {
  Shape x = context.shape(0);
  int64_t axis = context.attributes().integer("axis", 0);
  if (axis < 0) axis += int64_t(x.size());
  auto strides = reference::strides_of(x);
  std::vector<StepFn> parts;
  int64_t begin = 0;
  for (size_t i = 0; i < context.node().outputs.size(); i++) {
    if (context.node().outputs[i] == kNoValue) return {};
    Shape shape = context.out_shape(i);
    parts.push_back(step_of(merged(shape, strides, begin * strides[size_t(axis)], storage_type(context.type(0))), i));
    begin += shape[size_t(axis)];
  }
  return {.kernel = "strided copy",
          .run =
              [=](const StepCall& call) {
                for (auto& part : parts) part(call);
              },
          .unread = {1}};
}

// Resizing of the two last axes with one or two taps each (nearest and linear): rows are blended first, then columns.
CompiledStep compile_resize(const OpContext& context) {
  if (!context.is_float(0) || context.shape(0).size() < 2) return {};
  auto floats = [&](size_t i) -> std::optional<std::vector<float>> {
    if (!context.has(i)) return std::vector<float>();
    if (auto known = context.integers(i)) return std::vector<float>(known->begin(), known->end());
    const Tensor* t = context.constant(i);
    if (!t) return std::nullopt;
    Tensor f = t->to(DType::kF32);
    return std::vector<float>(f.data<float>().begin(), f.data<float>().end());
  };
  auto roi = floats(1), scales = floats(2);
  auto sizes = context.has(3) ? context.integers(3) : std::vector<int64_t>();
  if (!roi || !scales || !sizes || context.attributes().text("coordinate_transformation_mode", "") == "tf_crop_and_resize") return {};
  Shape x = context.shape(0);
  reference::ResizePlan plan = reference::resize_plan(OpCall{context.node(), {}, {}, {}}, x, *roi, *scales, *sizes);
  size_t rank = x.size();
  for (size_t d = 0; d < rank; d++)
    for (size_t i = 0; i < plan.taps[d].size(); i++) {
      auto& taps = plan.taps[d][i];
      if (d + 2 < rank ? taps.size() != 1 || taps[0].index != int64_t(i) : taps.empty() || taps.size() > 2) return {};
    }
  // Two taps per index, the second perhaps of weight 0.
  struct Pair {
    int64_t a, b;
    float wa, wb;
  };
  auto pairs = [&](size_t axis) {
    std::vector<Pair> out;
    for (auto& t : plan.taps[axis]) out.push_back({t[0].index, t.back().index, float(t[0].weight), t.size() > 1 ? float(t[1].weight) : 0});
    return out;
  };
  int64_t in_h = x[rank - 2], in_w = x[rank - 1], out_h = plan.shape[rank - 2], out_w = plan.shape[rank - 1],
          planes = in_h > 0 && in_w > 0 ? element_count(x) / (in_h * in_w) : 0;
  return {.kernel = "planes",
          .run =
              [=, rows = pairs(rank - 2), columns = pairs(rank - 1)](const StepCall& call) {
                parallel_for(planes, [&](int64_t p) {
                  std::vector<float> blended(static_cast<size_t>(in_w));
                  const float* image = call.floats(0) + p * in_h * in_w;
                  for (int64_t oy = 0; oy < out_h; oy++) {
                    const Pair& r = rows[size_t(oy)];
                    const float *a = image + r.a * in_w, *b = image + r.b * in_w;
                    if (r.wb != 0) {
                      for (int64_t i = 0; i < in_w; i++) blended[size_t(i)] = r.wa * a[i] + r.wb * b[i];
                      a = blended.data();
                    }
                    float* y = call.out_floats() + (p * out_h + oy) * out_w;
                    for (int64_t ox = 0; ox < out_w; ox++) {
                      const Pair& c = columns[size_t(ox)];
                      y[ox] = c.wb != 0 ? c.wa * a[c.a] + c.wb * a[c.b] : a[c.a];
                    }
                  }
                });
              },
          .unread = {1, 2, 3}};
}

}  // namespace lacuna
