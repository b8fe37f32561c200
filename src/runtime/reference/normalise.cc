// Normalisation and softmax. Statistics accumulate in double.
#include <cmath>
#include <limits>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

// Scale or bias of a trailing-axes norm, broadcast to the shape [axis, rank) of the input; empty if absent.
std::vector<float> trailing_vector(const OpCall& call, size_t input, const Shape& trailing) {
  std::vector<float> out;
  if (!call.has(input)) return out;
  const Tensor& t = call.in(input);
  Shape shape = t.shape();
  while (shape.size() > trailing.size() && shape.front() == 1) shape.erase(shape.begin());
  if (broadcast_shapes(call, shape, trailing) != trailing)
    call.fail(cat("scale or bias ", to_string(t.shape()), " does not fit ", to_string(trailing)));
  for_each<1>(trailing, {broadcast_strides(shape, trailing)}, [&](int64_t, auto& at) { out.push_back(elements<float>(t)[at[0]]); });
  return out;
}

// Each row of trailing axes is normalised: (x - mean) * factor * scale + bias.
void trailing_norm(const OpCall& call, bool centre, double epsilon, double scale_offset) {
  const Tensor& x = call.in(0);
  int64_t axis = axis_of(call, call.integer("axis", -1), x.rank());
  Shape trailing(x.shape().begin() + axis, x.shape().end());
  int64_t size = element_count(trailing), rows = size ? x.size() / size : 0;
  auto scale = trailing_vector(call, 1, trailing), bias = trailing_vector(call, 2, trailing);
  Tensor& y = call.make(0, DType::kF32, x.shape());
  for (int64_t r = 0; r < rows; r++) {
    const float* in = elements<float>(x) + r * size;
    float* out = elements<float>(y) + r * size;
    double mean = 0, square = 0;
    for (int64_t i = 0; i < size && centre; i++) mean += in[i];
    mean /= double(size);
    for (int64_t i = 0; i < size; i++) square += (in[i] - mean) * (in[i] - mean);
    double factor = 1 / std::sqrt(square / double(size) + epsilon);
    for (int64_t i = 0; i < size; i++) {
      double v = (in[i] - mean) * factor;
      if (!scale.empty()) v *= scale[size_t(i)] + scale_offset;
      if (!bias.empty()) v += bias[size_t(i)];
      out[i] = float(v);
    }
  }
}

// Groups of channels of [n, c, ...] are normalised over channels and space, then scaled per channel.
void grouped_norm(const OpCall& call, int64_t groups) {
  const Tensor& x = call.in(0);
  if (x.rank() < 2 || groups < 1 || x.dim(1) % groups) call.fail(cat("input ", to_string(x.shape()), " does not fit ", groups, " groups"));
  double epsilon = call.number("epsilon", 1e-5);
  int64_t channels = x.dim(1), space = x.size() / std::max<int64_t>(1, x.dim(0) * channels), size = channels / groups * space;
  Tensor& y = call.make(0, DType::kF32, x.shape());
  const float *scale = elements<float>(call.in(1)), *bias = elements<float>(call.in(2));
  for (int64_t g = 0; g < x.dim(0) * groups; g++) {
    const float* in = elements<float>(x) + g * size;
    float* out = elements<float>(y) + g * size;
    double mean = 0, square = 0;
    for (int64_t i = 0; i < size; i++) mean += in[i];
    mean /= double(size);
    for (int64_t i = 0; i < size; i++) square += (in[i] - mean) * (in[i] - mean);
    double factor = 1 / std::sqrt(square / double(size) + epsilon);
    for (int64_t i = 0; i < size; i++) {
      int64_t c = g % groups * (channels / groups) + i / space;
      out[i] = float((in[i] - mean) * factor * scale[c] + bias[c]);
    }
  }
}

}  // namespace

void layer_norm(const OpCall& call) { trailing_norm(call, true, call.number("epsilon", 1e-5), 0); }
void rms_norm(const OpCall& call) { trailing_norm(call, false, call.number("epsilon", 1e-5), call.number("scale_offset", 0)); }
void instance_norm(const OpCall& call) { grouped_norm(call, call.in(0).dim(1)); }
void group_norm(const OpCall& call) { grouped_norm(call, call.integer("groups", 1)); }

void batch_norm(const OpCall& call) {
  const Tensor& x = call.in(0);
  double epsilon = call.number("epsilon", 1e-5);
  int64_t channels = x.dim(1), space = x.size() / std::max<int64_t>(1, x.dim(0) * channels);
  Tensor& y = call.make(0, DType::kF32, x.shape());
  const float *scale = elements<float>(call.in(1)), *bias = elements<float>(call.in(2)), *mean = elements<float>(call.in(3)),
              *variance = elements<float>(call.in(4));
  for (int64_t i = 0; i < x.size(); i++) {
    int64_t c = i / space % channels;
    elements<float>(y)[i] = float((double(elements<float>(x)[i]) - mean[c]) / std::sqrt(variance[c] + epsilon) * scale[c] + bias[c]);
  }
}

// x / max(||x||_p, epsilon) along one axis; p is 1 or 2.
void l2_norm(const OpCall& call) {
  const Tensor& x = call.in(0);
  AxisView v(x.shape(), axis_of(call, call.integer("axis", -1), x.rank()));
  int64_t p = call.integer("p", 2);
  double epsilon = call.number("epsilon", 1e-12);
  Tensor& y = call.make(0, DType::kF32, x.shape());
  for (int64_t o = 0; o < v.outer; o++)
    for (int64_t i = 0; i < v.inner; i++) {
      const float* in = elements<float>(x) + o * v.length * v.inner + i;
      float* out = elements<float>(y) + o * v.length * v.inner + i;
      double sum = 0;
      for (int64_t k = 0; k < v.length; k++) sum += p == 1 ? std::abs(double(in[k * v.inner])) : double(in[k * v.inner]) * in[k * v.inner];
      double norm = std::max(p == 1 ? sum : std::sqrt(sum), epsilon);
      for (int64_t k = 0; k < v.length; k++) out[k * v.inner] = norm > 0 ? float(in[k * v.inner] / norm) : 0;
    }
}

void lrn(const OpCall& call) {
  const Tensor& x = call.in(0);
  int64_t size = call.integer("size", 1), channels = x.dim(1), space = x.size() / std::max<int64_t>(1, x.dim(0) * channels);
  double alpha = call.number("alpha", 1e-4), beta = call.number("beta", 0.75), bias = call.number("bias", 1);
  Tensor& y = call.make(0, DType::kF32, x.shape());
  for (int64_t n = 0; n < x.dim(0); n++)
    for (int64_t c = 0; c < channels; c++)
      for (int64_t i = 0; i < space; i++) {
        double sum = 0;
        for (int64_t k = std::max<int64_t>(0, c - (size - 1) / 2); k <= std::min(channels - 1, c + size / 2); k++) {
          double value = elements<float>(x)[(n * channels + k) * space + i];
          sum += value * value;
        }
        int64_t at = (n * channels + c) * space + i;
        elements<float>(y)[at] = float(elements<float>(x)[at] / std::pow(bias + alpha / double(size) * sum, beta));
      }
}

namespace {
// Along one axis, or with flatten=1 over all axes from it on. A slice of only -inf gives zeros for softmax.
void softmax_along(const OpCall& call, bool logarithm) {
  const Tensor& x = call.in(0);
  bool flatten = call.integer("flatten", 0) != 0;
  int64_t axis = x.rank() ? axis_of(call, call.integer("axis", flatten ? 1 : -1), x.rank()) : 0;
  AxisView v(x.shape(), axis);
  if (flatten) v.length *= v.inner, v.inner = 1;
  Tensor& y = call.make(0, DType::kF32, x.shape());
  for (int64_t o = 0; o < v.outer; o++)
    for (int64_t i = 0; i < v.inner; i++) {
      const float* in = elements<float>(x) + o * v.length * v.inner + i;
      float* out = elements<float>(y) + o * v.length * v.inner + i;
      float largest = -std::numeric_limits<float>::infinity();
      double sum = 0;
      for (int64_t k = 0; k < v.length; k++)
        if (float value = in[k * v.inner]; value > largest || std::isnan(value)) largest = value;
      if (largest == -std::numeric_limits<float>::infinity() && !logarithm) {
        for (int64_t k = 0; k < v.length; k++) out[k * v.inner] = 0;
        continue;
      }
      for (int64_t k = 0; k < v.length; k++) sum += std::exp(double(in[k * v.inner]) - largest);
      for (int64_t k = 0; k < v.length; k++) {
        double shifted = double(in[k * v.inner]) - largest;
        out[k * v.inner] = float(logarithm ? shifted - std::log(sum) : std::exp(shifted) / sum);
      }
    }
}
}  // namespace

void softmax(const OpCall& call) { softmax_along(call, false); }
void log_softmax(const OpCall& call) { softmax_along(call, true); }

}  // namespace lacuna::reference
