// Linear, embedding, conv and matmul.
#include <cstring>
#include <numeric>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/coded_tokens.h"
#include "kernels/support.h"
#include "lacuna/error.h"
#include "runtime/ops/codes.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/vector_ops.h"
#include "runtime/reference/support.h"

namespace lacuna {

namespace {

// Activations rounded by a scale and a zero point of the whole tensor, which only the run tells: the product is that of codes less 128, as if their
// scale were 1; the scale and what the zero point adds follow. As exact as floats: sums beyond 2^24 are rounded before.
CompiledStep compile_dynamic_linear(const OpContext& context) {
  Shape x = context.shape(0);
  int64_t cols = x.back(), tokens = element_count(std::span(x).subspan(0, x.size() - 1)), rows = context.out_shape().back();
  LACUNA_ASSERT(!context.has(2) && !context.has(3));
  auto pack = context.packs().linear(context.node(), tokens, {.kind = InputRounding::Kind::kStatic, .scale = 1, .zero_point = 0, .type = DType::kS8});
  auto sums = std::make_shared<std::vector<float>>(size_t(pack.rounds ? rows : 0));  // of the weights of each row
  if (pack.rounds) {
    const Weight& weight = context.weight(1);
    WeightData data = weight.load();
    parallel_for(rows, [&](int64_t r) {
      std::vector<float> row(static_cast<size_t>(cols));
      decode_rows(weight, data, r, 1, row.data());
      (*sums)[size_t(r)] = float(std::accumulate(row.begin(), row.end(), 0.0));
    });
  }
  return {.kernel = std::string(pack.packed->kernel()),
          .run =
              [=](const StepCall& call) {
                InputRounding r = rounding_of_range(call.floats(0), tokens * cols);
                std::vector<float> values(size_t(tokens * cols));
                parallel_for(tokens, [&](int64_t t) {
                  std::vector<int8_t> codes(static_cast<size_t>(cols));
                  float* to = values.data() + t * cols;
                  kernels::quantize_static_s8(call.floats(0) + t * cols, cols, r.scale, r.signed_zero(), codes.data());
                  for (int64_t i = 0; i < cols; i++) to[i] = float(codes[size_t(i)]);
                  if (!pack.rounds)
                    for (int64_t i = 0; i < cols; i++) to[i] = (to[i] - float(r.signed_zero())) * r.scale;
                });
                pack.packed->run(values.data(), cols, tokens, call.out_floats(), rows, {});
                if (!pack.rounds) return;
                std::vector<float> shift(static_cast<size_t>(rows));
                for (int64_t i = 0; i < rows; i++) shift[size_t(i)] = -float(r.signed_zero()) * (*sums)[size_t(i)];
                parallel_for(tokens, [&](int64_t t) {
                  float* y = call.out_floats() + t * rows;
                  combine(BinaryOp::kAdd, y, false, shift.data(), false, rows, y);
                  combine(BinaryOp::kMul, y, false, &r.scale, true, rows, y);
                });
              },
          .unread = {1},
          .problem = pack.problem,
          .plan_line = pack.line};
}

}  // namespace

CompiledStep compile_linear(const OpContext& context) {
  if (!context.is_weight(1) || !context.is_float(0)) return {};
  if (context.plan().rounding.kind == InputRounding::Kind::kPerTensor) return compile_dynamic_linear(context);
  Shape x = context.shape(0);
  int64_t cols = x.back(), tokens = element_count(std::span(x).subspan(0, x.size() - 1)), rows = context.out_shape().back();
  InputRounding rounding = context.plan().rounding ? context.plan().rounding : rounding_of(context.node());
  auto pack = context.packs().linear(context.node(), tokens, rounding);
  kernels::Epilogue epilogue = context.epilogue();
  epilogue.residual_stride = rows;
  bool rounded = rounding && !pack.rounds;
  if (pack.rounds && context.may_block() && pack.packed->reads_codes())
    return {.kernel = std::string(pack.packed->kernel()),
            .run =
                [=](const StepCall& call) {
                  kernels::Epilogue e = epilogue;
                  e.bias = call.floats(2), e.residual = call.floats(3);
                  pack.packed->run_codes(kernels::coded_tokens(call.inputs[0]->mutable_raw(), tokens, cols), call.out_floats(), rows, e);
                },
            .in_place = {3},
            .unread = {1},
            .input_blocks = {context.codes_layout(rounding.of_values())},
            .problem = pack.problem,
            .plan_line = pack.line};
  return {.kernel = std::string(pack.packed->kernel()),
          .run =
              [=](const StepCall& call) {
                kernels::Epilogue e = epilogue;
                e.bias = call.floats(2), e.residual = call.floats(3);
                const float* input = call.floats(0);
                std::vector<float> values(rounded ? size_t(tokens * cols) : 0);
                if (rounded) round_tokens(rounding, input, tokens, cols, values.data());
                pack.packed->run(rounded ? values.data() : input, cols, tokens, call.out_floats(), rows, e);
              },
          .in_place = {3},
          .unread = {1},
          .problem = pack.problem,
          .plan_line = pack.line};
}

// Rows are decoded as they are asked for, so that the table stays in its encoding.
CompiledStep compile_embedding(const OpContext& context) {
  if (!context.is_weight(1) || context.is_float(0) || context.weight(1).layout != MatrixLayout::kOutIn) return {};
  auto weight = std::make_shared<Weight>(context.weight(1));
  auto data = std::make_shared<WeightData>(weight->load());
  int64_t vocab = weight->shape[0], width = weight->shape[1], least = context.attributes().integer("from_end", 0) ? -vocab : 0;
  std::string name = context.node().name;
  return {.kernel = "rows",
          .run =
              [=](const StepCall& call) {
                auto ids = reference::integers_of(call.in(0));
                for (int64_t id : ids)
                  if (id < least || id >= vocab)
                    throw InvalidData(cat("node '", name, "' (embedding): id ", id, " is outside of a table with ", vocab, " rows"));
                // Rows lie anywhere in memory: a thread mostly waits for them.
                constexpr int64_t kRows = 16;
                int64_t count = int64_t(ids.size());
                parallel_for((count + kRows - 1) / kRows, [&](int64_t task) {
                  for (int64_t i = task * kRows; i < std::min(count, (task + 1) * kRows); i++) {
                    int64_t id = ids[size_t(i)];
                    decode_rows(*weight, *data, id < 0 ? id + vocab : id, 1, call.out_floats() + i * width);
                  }
                });
              },
          .unread = {1}};
}

namespace {

reference::Windows windows_of(const OpContext& context) {
  Shape w = context.shape(1);
  return reference::windows_of(OpCall{context.node(), {}, {}, {}}, context.shape(0), Shape(w.begin() + 2, w.end()));
}

// Of two spatial dimensions.
kernels::ConvProblem flat_problem(const OpContext& context, const reference::Windows& w, int64_t in_channels) {
  return {.in_channels = in_channels,
          .out_channels = context.shape(1)[0],
          .groups = context.attributes().integer("groups", 1),
          .kernel_h = w.kernel[0],
          .kernel_w = w.kernel[1],
          .stride_h = w.strides[0],
          .stride_w = w.strides[1],
          .dilation_h = w.dilations[0],
          .dilation_w = w.dilations[1],
          .pad_top = w.pad_begin[0],
          .pad_left = w.pad_begin[1],
          .pad_bottom = w.pad_end[0],
          .pad_right = w.pad_end[1]};
}

}  // namespace

std::optional<ConvShape> conv_shape(const OpContext& context) {
  Shape x = context.shape(0), w = context.shape(1);
  if (!context.is_weight(1) || x.size() < 3 || x.size() > 5) return std::nullopt;
  reference::Windows windows = windows_of(context);
  if (x.size() == 3) windows.add_axis();
  if (x.size() == 5) {
    for (size_t i : {1, 2})
      if (windows.kernel[i] != 1 || windows.strides[i] != 1 || windows.pad_begin[i] != 0 || windows.pad_end[i] != 0) return std::nullopt;
    windows.input = {windows.input[0], windows.input[1] * windows.input[2]};
  }
  return ConvShape{flat_problem(context, windows, x[1]), x[0], windows.input[0], windows.input[1]};
}

namespace {

// Slices of a volume that a kernel reads together are channels of one picture, [depth, in] of each group: a slice of the output is its convolution.
// Some slices at a time.
CompiledStep compile_volume_conv(const OpContext& context) {
  const Shape x = context.shape(0);
  const InputRounding rounding = context.plan().rounding;
  const reference::Windows w = windows_of(context);
  auto third = [](const Shape& v) { return v[0]; };
  const int64_t channels = x[1], depth = third(w.input), taps = third(w.kernel), out_depth = third(w.output), slices = x[0] * out_depth;
  const reference::Windows flat = w.without_axis();
  const int64_t in_h = flat.input[0], in_w = flat.input[1], plane = in_h * in_w, out_plane = element_count(flat.output);
  if (slices * plane * channels * taps == 0) return {};
  const kernels::ConvProblem problem = flat_problem(context, flat, channels * taps);
  const int64_t out_channels = problem.out_channels, in = channels / problem.groups;
  constexpr int64_t kMostFloats = 1 << 20;  // of slices put together
  const int64_t in_slice = channels * taps * plane, out_slice = out_channels * out_plane;
  const int64_t together = std::clamp<int64_t>(kMostFloats / std::max(in_slice, out_slice), 1, slices);
  auto pack = context.packs().conv(context.node(), problem, together, in_h, in_w, rounding, true);
  const bool rounded = rounding && !pack.rounds;
  CompiledStep step{.kernel = std::string(pack.packed->kernel()), .unread = {1}, .problem = pack.problem, .plan_line = pack.line};
  step.run = [=, packed = pack.packed, stride = third(w.strides), dilation = third(w.dilations), pad = third(w.pad_begin)](const StepCall& call) {
    thread_local std::vector<float> pictures, products;
    std::vector<float> values;
    const float *from = call.floats(0), *bias = call.floats(2);
    if (rounded) {
      values.resize(size_t(element_count(x)));
      round_tokens(rounding, from, x[0], element_count(x) / x[0], values.data());
      from = values.data();
    }
    pictures.resize(std::max(pictures.size(), size_t(together * in_slice))), products.resize(std::max(products.size(), size_t(together * out_slice)));
    for (int64_t first = 0; first < slices; first += together) {
      const int64_t count = std::min(together, slices - first);
      parallel_for(count * channels, [&, to = pictures.data()](int64_t i) {
        const int64_t slice = first + i / channels, volume = slice / out_depth * channels + i % channels;
        for (int64_t t = 0; t < taps; t++) {
          const int64_t d = slice % out_depth * stride + t * dilation - pad;
          float* picture = to + (((i / in) * taps + t) * in + i % in) * plane;
          if (d < 0 || d >= depth)
            std::fill_n(picture, plane, 0.0f);
          else
            std::copy_n(from + (volume * depth + d) * plane, plane, picture);
        }
      });
      kernels::Epilogue epilogue;
      epilogue.bias = bias;
      packed->run(pictures.data(), count, in_h, in_w, products.data(), epilogue);
      parallel_for(count * out_channels, [&, made = products.data()](int64_t i) {
        const int64_t slice = first + i / out_channels, volume = slice / out_depth * out_channels + i % out_channels;
        std::copy_n(made + i * out_plane, out_plane, call.out_floats() + (volume * out_depth + slice % out_depth) * out_plane);
      });
    }
  };
  return step;
}

}  // namespace

CompiledStep compile_conv(const OpContext& context) {
  if (context.plan().codes) return compile_codes_conv(context);
  Shape x = context.shape(0);
  auto shape = conv_shape(context);
  if (!shape) return context.is_weight(1) && x.size() == 5 ? compile_volume_conv(context) : CompiledStep{};
  auto [problem, batch, in_h, in_w] = *shape;
  InputRounding rounding = context.plan().rounding;
  constexpr int64_t kColours = 3;  // which every kernel reads in planes
  bool in_planes = problem.in_channels > kColours && context.block(0) == 0;
  auto pack = context.packs().conv(context.node(), problem, batch, in_h, in_w, rounding, in_planes);
  const auto& packed = pack.packed;
  kernels::Epilogue epilogue = context.epilogue();
  CompiledStep step{.kernel = std::string(packed->kernel()), .unread = {1}, .problem = pack.problem, .plan_line = pack.line};
  if (packed->residual_in_place()) step.in_place = {3};
  bool blocked = context.may_block() && x.size() <= 4 && packed->output_block() > 0;
  if (blocked) step.input_blocks = {packed->input_block(), 0, 0, packed->output_block()}, step.output_block = packed->output_block();
  bool rounded = rounding && !pack.rounds;
  if (!blocked && !rounded)
    step.conv = {packed, batch, in_h, in_w, problem.in_channels * in_h * in_w, batch * problem.out_h(in_h) * problem.out_w(in_w), epilogue};
  int64_t count = blocked_count(x, blocked ? packed->input_block() : 0);
  step.run = [=, packed = packed, batch = batch, in_h = in_h, in_w = in_w](const StepCall& call) {
    kernels::Epilogue e = epilogue;
    e.bias = call.floats(2), e.residual = call.floats(3);
    std::vector<float> values(rounded ? size_t(count) : 0);
    if (rounded) round_tokens(rounding, call.floats(0), batch, count / std::max<int64_t>(1, batch), values.data());
    const float* input = rounded ? values.data() : call.floats(0);
    if (blocked)
      packed->run_blocked(input, batch, in_h, in_w, call.out_floats(), e);
    else
      packed->run(input, batch, in_h, in_w, call.out_floats(), e);
  };
  return step;
}

namespace {

// [in, out / groups, taps] to [out, taps, in / groups].
void turn_filters(const float* from, int64_t groups, int64_t in, int64_t out, int64_t taps, float* to) {
  parallel_for(groups * out, [&](int64_t channel) {
    for (int64_t t = 0; t < taps; t++)
      for (int64_t c = 0; c < in; c++) to[(channel * taps + t) * in + c] = from[((channel / out * in + c) * out + channel % out) * taps + t];
  });
}

// Where the products of each tap go: pixel (h, i) under tap (kh, kw) to (h * strides[0] + kh * dilations[0] - pad_begin[0], i * strides[1] + ...).
class TapPlaces {
 public:
  explicit TapPlaces(reference::Windows windows)
      : w(std::move(windows)),
        taps(w.kernel[0] * w.kernel[1]),
        plane(w.output[0] * w.output[1]),
        one_each_(w.kernel == w.strides && w.dilations == Shape{1, 1} && w.pad_begin == Shape{0, 0} &&
                  w.output == Shape{w.input[0] * w.kernel[0], w.input[1] * w.kernel[1]}) {}

  const reference::Windows w;
  const int64_t taps, plane;  // of the kernel, of the output

  // A band of the input, of which products [taps, rows, cols] are given; those from `fresh` on are to go to their places.
  struct Along {
    int64_t first, last, fresh;
    int64_t size() const { return last - first; }
  };
  struct Band {
    Along rows, cols;
    int64_t pixels() const { return rows.size() * cols.size(); }
  };

  // To an output plane that is filled already.
  void add(const float* products, const Band& band, float* y) const {
    for (int64_t t = 0; t < taps; t++)
      for (int64_t h = band.rows.fresh; h < band.rows.last; h++) {
        int64_t to_h = h * w.strides[0] + t / w.kernel[1] * w.dilations[0] - w.pad_begin[0];
        if (to_h < 0 || to_h >= w.output[0]) continue;
        const float* row = products + t * band.pixels() + (h - band.rows.first) * band.cols.size() - band.cols.first;
        int64_t to = band.cols.fresh * w.strides[1] + t % w.kernel[1] * w.dilations[1] - w.pad_begin[1];
        for (int64_t i = band.cols.fresh; i < band.cols.last; i++, to += w.strides[1])
          if (to >= 0 && to < w.output[1]) y[to_h * w.output[1] + to] += row[i];
      }
  }

  // Whether each output has one product: then place() is enough.
  bool one_each() const { return one_each_; }
  void place(const float* products, const Band& band, float value, float* y) const {
    int64_t across = w.kernel[1], pixels = band.pixels(), cols = band.cols.size();
    for (int64_t h = band.rows.first; h < band.rows.last; h++)
      for (int64_t kh = 0; kh < w.kernel[0]; kh++) {
        const float* row = products + kh * across * pixels + (h - band.rows.first) * cols;
        float* to = y + (h * w.kernel[0] + kh) * w.output[1] + band.cols.first * across;
        if (across == 2) {
          for (int64_t i = 0; i < cols; i++) to[2 * i] = row[i] + value, to[2 * i + 1] = row[pixels + i] + value;
        } else {
          for (int64_t t = 0; t < across; t++)
            for (int64_t i = 0; i < cols; i++) to[i * across + t] = row[t * pixels + i] + value;
        }
      }
  }

 private:
  bool one_each_;
};

}  // namespace

// All taps of all channels are the output channels of a 1x1 convolution, dense or sparse, whose planes are then added to where the taps put them.
// Groups, and filters that are made in the run: each output channel by itself, [taps, in] [in, pixels], dense.
CompiledStep compile_conv_transpose(const OpContext& context) {
  const Tensor* weight = context.constant(1);
  Shape x = context.shape(0), filter = context.shape(1);
  int64_t groups = context.attributes().integer("groups", 1);
  bool fits = x.size() == filter.size() && (x.size() == 3 || x.size() == 4) && groups >= 1 && x[1] % groups == 0 && filter[0] == x[1];
  if (!fits || !context.is_float(0) || !context.is_float(1)) return {};
  reference::Windows w = reference::transposed_windows_of(OpCall{context.node(), {}, {}, {}}, x, filter);
  if (x.size() == 3) w.add_axis();
  int64_t in = x[1] / groups, out = filter[1], height = w.input[0], width = w.input[1];
  auto places = std::make_shared<const TapPlaces>(w);
  int64_t taps = places->taps, plane = places->plane;
  MatrixLayout layout = context.is_weight(1) ? context.weight(1).layout : MatrixLayout::kConv;
  bool coded = weight && layout != MatrixLayout::kNone && layout != MatrixLayout::kInOut;  // made of codes and scales, or a convolution's too
  auto turned = std::make_shared<std::vector<float>>(coded || (weight && groups > 1) ? size_t(groups * out * taps * in) : 0);
  if (!turned->empty()) turn_filters(weight->data<float>().data(), groups, in, out, taps, turned->data());
  CompiledStep step{.kernel = "taps"};
  if (weight) step.unread = {1};
  if (weight && groups == 1 && element_count(filter) * height * width > 0) {
    // A band at a time, whose products stay in the cache: of rows, or of columns where there is one row.
    constexpr int64_t kMostProducts = 1 << 17;
    bool by_rows = height > 1;
    int64_t units = by_rows ? height : width, pixels = by_rows ? width : 1;  // of a unit
    int64_t size = std::clamp<int64_t>(kMostProducts / (out * taps * pixels), 1, units);
    if (!by_rows) size = std::min(std::max<int64_t>(size, 64), units);
    int64_t rows = by_rows ? size : 1, cols = by_rows ? width : size;
    kernels::ConvProblem problem{.in_channels = in, .out_channels = out * taps};
    std::shared_ptr<const kernels::PackedConv> packed;
    if (coded) {  // by the fixed plan
      packed = kernels::first_accepting(problem).pack(problem, {.rows = out * taps, .cols = in, .values = turned->data()});
      turned->clear();
    } else {
      auto pack = context.packs().conv(context.node(), problem, 1, rows, cols, {}, true);
      packed = pack.packed, step.problem = pack.problem, step.plan_line = pack.line;
    }
    step.kernel = std::string(packed->kernel());
    step.run = [=](const StepCall& call) {
      thread_local std::vector<float> products, band;
      products.resize(size_t(out * taps * rows * cols));
      const float* bias = call.floats(2);
      for (int64_t image = 0; image < x[0]; image++) {
        const float* source = call.floats(0) + image * in * height * width;
        float* y = call.out_floats() + image * out * plane;
        if (!places->one_each()) parallel_for(out, [&](int64_t c) { std::fill_n(y + c * plane, plane, bias ? bias[c] : 0.0f); });
        for (int64_t done = 0; done < units; done += size) {
          int64_t first = std::min(done, units - size);  // bands are alike, so that the kernel sees one size
          const float* from = source;
          if (size < units) {
            band.resize(size_t(in * rows * cols));
            for (int64_t c = 0; c < in; c++) std::copy_n(source + (c * units + first) * pixels, size * pixels, band.data() + c * size * pixels);
            from = band.data();
          }
          packed->run(from, 1, rows, cols, products.data(), {});
          TapPlaces::Along along = {first, first + size, done}, whole = {0, by_rows ? width : 1, 0};
          TapPlaces::Band given = by_rows ? TapPlaces::Band{along, whole} : TapPlaces::Band{whole, along};
          parallel_for(out, [&, made = products.data()](int64_t c) {
            const float* of_channel = made + c * taps * rows * cols;
            if (places->one_each())
              places->place(of_channel, given, bias ? bias[c] : 0.0f, y + c * plane);
            else
              places->add(of_channel, given, y + c * plane);
          });
        }
      }
    };
    return step;
  }
  step.run = [=](const StepCall& call) {
    std::vector<float> made;
    const float* filters = turned->data();
    if (turned->empty()) {  // made in the run
      made.resize(size_t(groups * out * taps * in));
      turn_filters(call.floats(1), groups, in, out, taps, made.data());
      filters = made.data();
    }
    parallel_for(x[0] * groups * out, [&](int64_t index) {
      int64_t image = index / (groups * out), channel = index % (groups * out);
      thread_local std::vector<float> products;
      products.resize(size_t(taps * height * width));
      multiply_rows({.a = filters + channel * taps * in,
                     .b = call.floats(0) + (image * groups + channel / out) * in * height * width,
                     .rows = taps,
                     .inner = in,
                     .cols = height * width,
                     .b_transposed = false,
                     .scale = 1,
                     .out = products.data()});
      float* y = call.out_floats() + index * plane;
      std::fill_n(y, plane, call.floats(2) ? call.floats(2)[channel] : 0.0f);
      places->add(products.data(), {{0, height, 0}, {0, width, 0}}, y);
    });
  };
  return step;
}

// Batches of plain products: a tile is some rows of one product.
CompiledStep compile_matmul(const OpContext& context) {
  Shape a = context.shape(0), b = context.shape(1);
  if (!context.is_float(0) || !context.is_float(1) || a.size() < 2 || b.size() < 2 || context.attributes().integer("transpose_a", 0)) return {};
  bool tb = context.attributes().integer("transpose_b", 0) != 0;
  float scale = float(context.attributes().number("scale", 1));
  int64_t m = a[a.size() - 2], k = a.back(), n = b[b.size() - (tb ? 2 : 1)];
  Shape batch_a(a.begin(), a.end() - 2), batch_b(b.begin(), b.end() - 2), batch = context.out_shape();
  batch.resize(batch.size() - 2);
  std::vector<std::array<int64_t, 2>> products;  // positions of the operands
  reference::for_each<2>(batch, {reference::broadcast_strides(batch_a, batch), reference::broadcast_strides(batch_b, batch)},
                         [&](int64_t, auto& at) { products.push_back(at); });
  constexpr int64_t kRowTile = 32;
  int64_t row_tiles = (m + kRowTile - 1) / kRowTile;
  return {.kernel = "gemm", .run = [=](const StepCall& call) {
            parallel_for(int64_t(products.size()) * row_tiles, [&](int64_t tile) {
              int64_t p = tile / row_tiles, first = tile % row_tiles * kRowTile, rows = std::min(kRowTile, m - first);
              const float *x = call.floats(0) + products[size_t(p)][0] * m * k + first * k, *y = call.floats(1) + products[size_t(p)][1] * k * n;
              multiply_rows({.a = x,
                             .b = y,
                             .rows = rows,
                             .inner = k,
                             .cols = n,
                             .b_transposed = tb,
                             .scale = scale,
                             .out = call.out_floats() + (p * m + first) * n});
            });
          }};
}

}  // namespace lacuna
