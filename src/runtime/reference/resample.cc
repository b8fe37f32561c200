// Resizing, sampling on grids, and exchanging depth for space.
#include <algorithm>
#include <cmath>
#include <functional>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

// In f32, as ONNX Runtime computes it: rounding decides ties.
double source_position(const OpCall& call, const std::string& mode, int64_t index, float scale, int64_t in, int64_t out, float output_size,
                       float roi_start, float roi_end) {
  float x = float(index), last = float(in - 1);
  if (mode == "half_pixel") return (x + 0.5f) / scale - 0.5f;
  if (mode == "half_pixel_symmetric") {
    float adjustment = float(out) / output_size, center = float(in) / 2, offset = center * (1 - adjustment);
    return offset + (x + 0.5f) / scale - 0.5f;
  }
  if (mode == "pytorch_half_pixel") return out > 1 ? (x + 0.5f) / scale - 0.5f : 0;
  if (mode == "align_corners") return out == 1 ? 0 : x * last / float(out - 1);
  if (mode == "asymmetric") return x / scale;
  if (mode == "tf_half_pixel_for_nn") return (x + 0.5f) / scale;
  if (mode == "tf_crop_and_resize")
    return out > 1 ? roi_start * last + x * (roi_end - roi_start) * last / float(out - 1) : 0.5f * (roi_start + roi_end) * last;
  call.fail(cat("coordinate_transformation_mode '", mode, "' is not known"));
}

int64_t nearest(const OpCall& call, const std::string& mode, double x) {
  if (mode == "round_prefer_floor") return int64_t(std::ceil(x - 0.5));
  if (mode == "round_prefer_ceil") return int64_t(std::floor(x + 0.5));
  if (mode == "floor") return int64_t(std::floor(x));
  if (mode == "ceil") return int64_t(std::ceil(x));
  call.fail(cat("nearest_mode '", mode, "' is not known"));
}

double cubic(double distance, double a) {
  double d = std::abs(distance);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return 0;
}

double triangle(double distance) { return std::max(0.0, 1 - std::abs(distance)); }

// Weights of the input elements around `position`. `stretch` > 1 widens the filter (antialias when shrinking).
std::vector<Tap> filter_taps(double position, int64_t in, double radius, double stretch, bool exclude_outside,
                             const std::function<double(double)>& filter) {
  std::vector<Tap> taps;
  double total = 0;
  int64_t first = int64_t(std::floor(position - radius * stretch)) + 1, last = int64_t(std::ceil(position + radius * stretch)) - 1;
  if (stretch == 1) first = int64_t(std::floor(position)) - int64_t(radius) + 1, last = int64_t(std::floor(position)) + int64_t(radius);
  for (int64_t i = first; i <= last; i++) {
    double weight = filter((position - double(i)) / stretch);
    if (exclude_outside && (i < 0 || i >= in)) weight = 0;
    taps.push_back({std::clamp<int64_t>(i, 0, in - 1), weight});
    total += weight;
  }
  if ((exclude_outside || stretch != 1) && total != 0)
    for (Tap& tap : taps) tap.weight /= total;
  return taps;
}

}  // namespace

ResizePlan resize_plan(const OpCall& call, const Shape& x, const std::vector<float>& region, const std::vector<float>& given,
                       const std::vector<int64_t>& wanted) {
  size_t rank = x.size();
  auto axes = call.integers("axes");
  if (axes.empty())
    for (size_t i = 0; i < rank; i++) axes.push_back(int64_t(i));
  for (int64_t& axis : axes) axis = axis_of(call, axis, int64_t(rank));
  std::string mode = call.text("mode", "nearest"), transform = call.text("coordinate_transformation_mode", "half_pixel"),
              policy = call.text("keep_aspect_ratio_policy", "stretch"), nearest_mode = call.text("nearest_mode", "round_prefer_floor");
  double cubic_a = call.number("cubic_coeff_a", -0.75);
  bool exclude = call.integer("exclude_outside", 0) != 0, antialias = call.integer("antialias", 0) != 0;
  ResizePlan plan{.shape = x};
  Shape& shape = plan.shape;
  std::vector<double> scales(rank, 1), output_sizes(shape.begin(), shape.end());
  bool sized = !wanted.empty();
  if (!sized && given.empty()) call.fail("neither scales nor sizes are given");
  if ((sized ? wanted.size() : given.size()) != axes.size()) call.fail(cat("scales or sizes do not fit ", axes.size(), " axes"));
  if (sized && policy != "stretch") {  // one scale for all axes: the smallest (not_larger) or the largest
    float scale = float(wanted[0]) / float(x[size_t(axes[0])]);
    for (size_t i = 1; i < axes.size(); i++) {
      float s = float(wanted[i]) / float(x[size_t(axes[i])]);
      scale = policy == "not_larger" ? std::min(scale, s) : std::max(scale, s);
    }
    for (size_t i = 0; i < axes.size(); i++) {
      size_t axis = size_t(axes[i]);
      scales[axis] = scale;
      shape[axis] = int64_t(std::floor(scale * float(x[axis]) + 0.5f));
      output_sizes[axis] = scale * double(x[axis]);
    }
  } else {
    for (size_t i = 0; i < axes.size(); i++) {
      size_t axis = size_t(axes[i]);
      if (sized) {
        shape[axis] = wanted[i];
        scales[axis] = double(wanted[i]) / double(x[axis]);
        output_sizes[axis] = double(wanted[i]);
      } else {
        scales[axis] = given[i];
        shape[axis] = int64_t(std::floor(float(x[axis]) * given[i]));
        output_sizes[axis] = scales[axis] * double(x[axis]);
      }
    }
  }
  std::vector<double> roi(2 * rank, 0);
  std::fill(roi.begin() + int64_t(rank), roi.end(), 1);
  if (transform == "tf_crop_and_resize") {
    if (region.size() != 2 * axes.size()) call.fail(cat("roi has ", region.size(), " entries, wanted ", 2 * axes.size()));
    for (size_t i = 0; i < axes.size(); i++) {
      roi[size_t(axes[i])] = region[i];
      roi[rank + size_t(axes[i])] = region[axes.size() + i];
    }
  }

  plan.taps.resize(rank);
  for (size_t d = 0; d < rank; d++) {
    int64_t in = x[d], out = shape[d];
    if (out > 0 && in == 0) call.fail("resizes an empty axis");
    for (int64_t o = 0; o < out; o++) {
      double position = source_position(call, transform, o, float(scales[d]), in, out, float(output_sizes[d]), float(roi[d]), float(roi[rank + d]));
      bool unchanged = in == out && scales[d] == 1 && transform != "tf_crop_and_resize";
      std::vector<Tap> taps;
      double stretch = antialias && scales[d] < 1 ? 1 / scales[d] : 1;
      if (unchanged)
        taps = {{o, 1}};
      else if (transform == "tf_crop_and_resize" && (position < 0 || position > double(in - 1)))
        taps = {};
      else if (mode == "nearest")
        taps = {{std::clamp<int64_t>(nearest(call, nearest_mode, position), 0, in - 1), 1}};
      else if (mode == "linear")
        taps = filter_taps(position, in, 1, stretch, exclude, triangle);
      else if (mode == "cubic")
        taps = filter_taps(position, in, 2, stretch, exclude, [&](double t) { return cubic(t, cubic_a); });
      else
        call.fail(cat("mode is '", mode, "', known are nearest, linear, cubic"));
      plan.taps[d].push_back(taps);
    }
  }
  return plan;
}

// ONNX Resize: separable.
void resize(const OpCall& call) {
  const Tensor& x = call.in(0);
  Tensor input = as_f32(x);
  auto floats = [&](size_t i) {
    if (!call.has(i)) return std::vector<float>();
    Tensor t = as_f32(call.in(i));
    return std::vector<float>(elements<float>(t), elements<float>(t) + t.size());
  };
  ResizePlan plan = resize_plan(call, x.shape(), floats(1), floats(2), call.has(3) ? integers_of(call.in(3)) : std::vector<int64_t>());
  const Shape& shape = plan.shape;
  size_t rank = shape.size();

  // One axis after the other, in double.
  std::vector<double> values(elements<float>(input), elements<float>(input) + input.size());
  Shape current = x.shape();
  for (size_t d = 0; d < rank; d++) {
    AxisView v(current, int64_t(d));
    std::vector<double> next(size_t(v.outer * shape[d] * v.inner), 0);
    for (int64_t o = 0; o < v.outer; o++)
      for (int64_t k = 0; k < shape[d]; k++)
        for (const Tap& tap : plan.taps[d][size_t(k)])
          for (int64_t i = 0; i < v.inner; i++)
            next[size_t((o * shape[d] + k) * v.inner + i)] += tap.weight * values[size_t((o * v.length + tap.index) * v.inner + i)];
    values = std::move(next);
    current[d] = shape[d];
  }
  if (call.text("coordinate_transformation_mode", "") == "tf_crop_and_resize")
    for_each_index(shape, [&](std::span<const int64_t> index, int64_t i) {
      for (size_t d = 0; d < rank; d++)
        if (plan.taps[d][size_t(index[d])].empty()) values[size_t(i)] = call.number("extrapolation_value", 0);
    });
  Tensor& y = call.make(0, x.dtype(), shape);
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for (size_t i = 0; i < values.size(); i++) elements<T>(y)[i] = std::is_integral_v<T> ? T(std::nearbyint(values[i])) : T(values[i]);
  });
}

namespace {
template <class F>
void rearrange(const OpCall& call, const Shape& shape, F&& source) {
  const Tensor& x = call.in(0);
  Tensor& y = call.make(0, x.dtype(), shape);
  with_width(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for_each_index(shape, [&](std::span<const int64_t> i, int64_t at) { elements<T>(y)[at] = elements<T>(x)[source(i)]; });
  });
}
}  // namespace

void depth_to_space(const OpCall& call) {
  const Shape& s = call.in(0).shape();
  int64_t b = call.integer("blocksize", 1);
  if (s.size() != 4 || b < 1 || s[1] % (b * b)) call.fail(cat("input ", to_string(s), " does not fit blocksize ", b));
  bool crd = call.text("mode", "DCR") == "CRD";
  int64_t depth = s[1] / (b * b);
  rearrange(call, {s[0], depth, s[2] * b, s[3] * b}, [&](std::span<const int64_t> i) {
    int64_t corner = i[2] % b * b + i[3] % b;
    int64_t channel = crd ? i[1] * b * b + corner : corner * depth + i[1];
    return ((i[0] * s[1] + channel) * s[2] + i[2] / b) * s[3] + i[3] / b;
  });
}

void space_to_depth(const OpCall& call) {
  const Shape& s = call.in(0).shape();
  int64_t b = call.integer("blocksize", 1);
  if (s.size() != 4 || b < 1 || s[2] % b || s[3] % b) call.fail(cat("input ", to_string(s), " does not fit blocksize ", b));
  rearrange(call, {s[0], s[1] * b * b, s[2] / b, s[3] / b}, [&](std::span<const int64_t> i) {
    int64_t corner = i[1] / s[1];
    return ((i[0] * s[1] + i[1] % s[1]) * s[2] + i[2] * b + corner / b) * s[3] + i[3] * b + corner % b;
  });
}

// x [n, c, in...], grid [n, out..., spatial] in [-1, 1], last spatial axis first -> [n, c, out...]
void grid_sample(const OpCall& call) {
  const Tensor &x = call.in(0), &grid = call.in(1);
  size_t spatial = x.shape().size() - 2;
  if (x.rank() < 3 || grid.rank() != x.rank() || grid.dim(-1) != int64_t(spatial) || grid.dim(0) != x.dim(0))
    call.fail(cat("grid ", to_string(grid.shape()), " does not fit ", to_string(x.shape())));
  std::string mode = call.text("mode", "linear"), padding = call.text("padding_mode", "zeros");
  bool align = call.integer("align_corners", 0) != 0, near = mode == "nearest", cubic_mode = mode == "cubic" || mode == "bicubic";
  if (!near && !cubic_mode && mode != "linear" && mode != "bilinear") call.fail(cat("mode is '", mode, "', known are linear, nearest, cubic"));
  Shape in(x.shape().begin() + 2, x.shape().end()), out(grid.shape().begin() + 1, grid.shape().end() - 1), shape = {x.dim(0), x.dim(1)};
  shape.insert(shape.end(), out.begin(), out.end());
  auto strides = strides_of(in);
  int64_t in_size = element_count(in), out_size = element_count(out);
  Tensor& y = call.make(0, DType::kF32, shape);
  // Index of an element that may lie outside; -1: a zero.
  auto resolve = [&](int64_t i, int64_t size) -> int64_t {
    if (i >= 0 && i < size) return i;
    if (padding == "zeros") return -1;
    if (padding == "border") return std::clamp<int64_t>(i, 0, size - 1);
    if (padding != "reflection") call.fail(cat("padding_mode is '", padding, "', known are zeros, border, reflection"));
    double low = align ? 0 : -0.5, range = align ? double(size - 1) : double(size), p = double(i);
    if (range <= 0) return 0;
    p = std::fmod(std::abs(p - low), 2 * range);
    p = (p > range ? 2 * range - p : p) + low;
    return std::clamp<int64_t>(int64_t(std::nearbyint(p)), 0, size - 1);
  };
  for (int64_t n = 0; n < x.dim(0); n++)
    for (int64_t o = 0; o < out_size; o++) {
      const float* where = elements<float>(grid) + (n * out_size + o) * int64_t(spatial);
      std::vector<std::vector<Tap>> taps(spatial);
      for (size_t d = 0; d < spatial; d++) {
        double size = double(in[d]), g = where[spatial - 1 - d];
        double position = align ? (g + 1) / 2 * (size - 1) : ((g + 1) * size - 1) / 2;
        if (padding == "border" && !cubic_mode) position = std::clamp(position, 0.0, size - 1);
        if (padding == "reflection" && !cubic_mode) {
          double low = align ? 0 : -0.5, range = align ? size - 1 : size;
          if (range > 0) {
            double p = std::fmod(std::abs(position - low), 2 * range);
            position = std::clamp((p > range ? 2 * range - p : p) + low, 0.0, size - 1);
          } else {
            position = 0;
          }
        }
        int64_t base = int64_t(std::floor(position));
        if (near)
          taps[d] = {{int64_t(std::nearbyint(position)), 1}};
        else if (!cubic_mode)
          taps[d] = {{base, 1 - (position - double(base))}, {base + 1, position - double(base)}};
        else
          for (int64_t k = -1; k <= 2; k++) taps[d].push_back({base + k, cubic(position - double(base + k), -0.75)});
      }
      Shape counts;
      for (auto& t : taps) counts.push_back(int64_t(t.size()));
      for (int64_t c = 0; c < x.dim(1); c++) {
        double sum = 0;
        for_each_index(counts, [&](std::span<const int64_t> index, int64_t) {
          double weight = 1;
          int64_t offset = 0;
          for (size_t d = 0; d < spatial; d++) {
            const Tap& tap = taps[d][size_t(index[d])];
            int64_t i = resolve(tap.index, in[d]);
            weight *= i < 0 ? 0 : tap.weight;
            offset += std::max<int64_t>(0, i) * strides[d];
          }
          if (weight != 0) sum += weight * elements<float>(x)[(n * x.dim(1) + c) * in_size + offset];
        });
        elements<float>(y)[(n * x.dim(1) + c) * out_size + o] = float(sum);
      }
    }
}

}  // namespace lacuna::reference
