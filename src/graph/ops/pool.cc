// Pooling and resampling of [n, c, spatial...].
#include <cmath>

#include "base/cat.h"
#include "graph/ops/rules.h"

namespace lacuna::ops {
namespace {

void pool(InferContext& context) {
  const Fact& x = context.input(0);
  expect_rank(context, 0, 3, true);
  auto kernel = context.attributes().integers("kernel_shape");
  if (kernel.empty()) context.fail("attribute 'kernel_shape' is missing");
  expect_rank(context, 0, kernel.size() + 2);
  Windows windows = windows_of(context, kernel.size());
  for (int64_t k : kernel)
    if (k < 1 || k > INT32_MAX) context.fail(cat("kernel_shape holds ", k));
  std::optional<SymShape> shape;
  if (x.shape) {
    shape = SymShape{(*x.shape)[0], (*x.shape)[1]};
    for (size_t i = 0; i < kernel.size(); i++) shape->push_back(windows_along(context, windows, i, (*x.shape)[i + 2], Dim(kernel[i])));
  }
  context.set(0, x.dtype, shape);
  context.set(1, DType::kS64, shape);
}

void global_pool(InferContext& context) {
  const Fact& x = context.input(0);
  expect_rank(context, 0, 2, true);
  std::optional<SymShape> shape = x.shape;
  if (shape)
    for (size_t i = 2; i < shape->size(); i++) (*shape)[i] = Dim(1);
  context.set(0, x.dtype, shape);
}

// A size computed in floats; nullopt if it is none.
std::optional<Dim> size_of(double value) {
  if (!(value >= 0) || !(value < 0x1p53)) return std::nullopt;
  return Dim(int64_t(std::floor(value)));
}

// floor(size * scale) as ONNX computes it, in f32; of a symbolic size where the scale is a ratio of small numbers.
std::optional<Dim> scaled(const Dim& size, double scale) {
  if (!(scale > 0) || !(scale < 1e6)) return std::nullopt;
  if (size.is_constant()) return size_of(float(size.value()) * float(scale));
  for (int64_t q = 1; q <= 64; q++)
    if (double p = scale * double(q); p == std::floor(p)) return floor_div(size * Dim(int64_t(p)), Dim(q));
  return std::nullopt;
}

// x, roi?, scales?, sizes?
void resize(InferContext& context) {
  const Fact& x = context.input(0);
  if (!x.shape) return context.set(0, x.dtype, std::nullopt);
  int64_t rank = int64_t(x.shape->size());
  std::vector<int64_t> axes = context.attributes().integers("axes");
  if (axes.empty())
    for (int64_t i = 0; i < rank; i++) axes.push_back(i);
  for (int64_t& axis : axes) axis = normalise_axis(axis, rank, context);
  auto count_is = [&](size_t n) {
    if (n != axes.size()) context.fail(cat("scales or sizes have ", n, " entries, wanted ", axes.size()));
  };
  SymShape shape = *x.shape;
  std::string policy = context.attributes().text("keep_aspect_ratio_policy", "stretch");
  auto* sizes = context.elements(3);
  auto scales = context.numbers(2);
  for (size_t i = 0; i < axes.size(); i++) shape[size_t(axes[i])] = context.unknown(0, size_t(axes[i]));
  if (context.has_input(3)) {
    if (sizes) count_is(sizes->size());
    if (sizes && policy == "stretch") {
      for (size_t i = 0; i < axes.size(); i++) shape[size_t(axes[i])] = (*sizes)[i];
    } else if (auto wanted = context.constants(3)) {
      std::optional<float> scale;  // the same for all axes: the smallest (not_larger) or largest
      for (size_t i = 0; i < axes.size(); i++) {
        const Dim& d = (*x.shape)[size_t(axes[i])];
        if (!d.is_constant() || d.value() == 0) return context.set(0, x.dtype, shape);
        float s = float((*wanted)[i]) / float(d.value());
        scale = !scale ? s : policy == "not_larger" ? std::min(*scale, s) : std::max(*scale, s);
      }
      for (int64_t axis : axes)
        if (auto size = size_of(*scale * float((*x.shape)[size_t(axis)].value()) + 0.5f)) shape[size_t(axis)] = *size;
    }
  } else if (scales && !scales->empty()) {
    count_is(scales->size());
    for (size_t i = 0; i < axes.size(); i++)
      if (auto d = scaled((*x.shape)[size_t(axes[i])], (*scales)[i])) shape[size_t(axes[i])] = *d;
  } else if (!context.has_input(2)) {
    context.fail("neither scales nor sizes are given");
  }
  context.set(0, x.dtype, shape);
}

int64_t block_size(const InferContext& context) {
  int64_t b = context.attributes().integer("blocksize", 0);
  if (b < 1 || b > 65536) context.fail(cat("attribute 'blocksize' is ", b, ", wanted at least 1"));
  return b;
}

void expect_divides(const InferContext& context, int64_t b, const Dim& d, std::string_view what) {
  if (d.is_constant() && d.value() % b != 0) context.fail(cat(b, " does not divide the ", what, " ", d.value()));
}

void depth_to_space(InferContext& context) {
  const Fact& x = context.input(0);
  expect_rank(context, 0, 4);
  int64_t b = block_size(context);
  if (!x.shape) return context.set(0, x.dtype, std::nullopt);
  auto& s = *x.shape;
  expect_divides(context, b * b, s[1], "channels");
  context.set(0, x.dtype, SymShape{s[0], floor_div(s[1], Dim(b * b)), s[2] * Dim(b), s[3] * Dim(b)});
}

void space_to_depth(InferContext& context) {
  const Fact& x = context.input(0);
  expect_rank(context, 0, 4);
  int64_t b = block_size(context);
  if (!x.shape) return context.set(0, x.dtype, std::nullopt);
  auto& s = *x.shape;
  expect_divides(context, b, s[2], "height");
  expect_divides(context, b, s[3], "width");
  context.set(0, x.dtype, SymShape{s[0], s[1] * Dim(b * b), floor_div(s[2], Dim(b)), floor_div(s[3], Dim(b))});
}

// x [n, c, in...], grid [n, out..., spatial] -> [n, c, out...]
void grid_sample(InferContext& context) {
  const Fact& x = context.input(0);
  expect_rank(context, 0, 3, true);
  if (!x.shape || !context.shape(1)) return context.set(0, x.dtype, std::nullopt);
  const SymShape& grid = *context.shape(1);
  expect_rank(context, 1, x.shape->size());
  expect_equal(context, grid.back(), Dim(int64_t(x.shape->size()) - 2), "the last dimension of the grid and the spatial dimensions");
  SymShape shape = {(*x.shape)[0], (*x.shape)[1]};
  shape.insert(shape.end(), grid.begin() + 1, grid.end() - 1);
  context.set(0, x.dtype, shape);
}

const OpSchema kSchemas[] = {
    {Op::max_pool, 1, 1, 1, 2, {"kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad", "storage_order"}, pool},
    {Op::average_pool, 1, 1, 1, 1, {"kernel_shape", "strides", "pads", "dilations", "ceil_mode", "count_include_pad", "auto_pad"}, pool},
    {Op::lp_pool, 1, 1, 1, 1, {"kernel_shape", "strides", "pads", "dilations", "ceil_mode", "p", "auto_pad"}, pool},
    {Op::global_average_pool, 1, 1, 1, 1, {}, global_pool},
    {Op::global_max_pool, 1, 1, 1, 1, {}, global_pool},
    {Op::resize,
     1,
     4,
     1,
     1,
     {"mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value", "antialias", "axes",
      "keep_aspect_ratio_policy"},
     resize},
    {Op::depth_to_space, 1, 1, 1, 1, {"blocksize", "mode"}, depth_to_space},
    {Op::space_to_depth, 1, 1, 1, 1, {"blocksize"}, space_to_depth},
    {Op::grid_sample, 2, 2, 1, 1, {"mode", "padding_mode", "align_corners"}, grid_sample},
};

}  // namespace

std::span<const OpSchema> pool_schemas() { return kSchemas; }

}  // namespace lacuna::ops
