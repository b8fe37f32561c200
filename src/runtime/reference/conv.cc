// Convolutions over [n, c, spatial...] in any number of spatial dimensions. Sums accumulate in double.
#include "base/parallel.h"
#include "runtime/reference/support.h"

namespace lacuna::reference {

// y[n, o, p] = sum over channels c of o's group and kernel positions k of x[n, c, p * stride + k * dilation - pad] w[o, c, k] + b[o]
void conv(const OpCall& call) {
  const Tensor &x = call.in(0), &weight = call.in(1);
  if (weight.rank() < 3 || x.rank() != weight.rank())
    call.fail(cat("input ", to_string(x.shape()), " does not fit weight ", to_string(weight.shape())));
  Windows w = windows_of(call, x.shape(), Shape(weight.shape().begin() + 2, weight.shape().end()));
  int64_t groups = call.integer("groups", 1), batch = x.dim(0), out_channels = weight.dim(0), per_group = weight.dim(1);
  if (groups < 1 || out_channels % groups || x.dim(1) != per_group * groups)
    call.fail(cat("input ", to_string(x.shape()), " does not fit weight ", to_string(weight.shape()), " in ", groups, " groups"));
  Shape shape = {batch, out_channels};
  shape.insert(shape.end(), w.output.begin(), w.output.end());
  Tensor& y = call.make(0, DType::kF32, shape);
  auto in_strides = strides_of(w.input);
  int64_t in_size = element_count(w.input), out_size = element_count(w.output), kernel_size = element_count(w.kernel);
  const float* bias = call.has(2) ? elements<float>(call.in(2)) : nullptr;
  parallel_for(batch * out_channels, [&](int64_t plane) {
    int64_t n = plane / out_channels, o = plane % out_channels;
    const float* image = elements<float>(x) + (n * x.dim(1) + o / (out_channels / groups) * per_group) * in_size;
    const float* filter = elements<float>(weight) + o * per_group * kernel_size;
    float* result = elements<float>(y) + (n * out_channels + o) * out_size;
    for_each_index(w.output, [&](std::span<const int64_t> p, int64_t at) {
      double sum = bias ? bias[o] : 0;
      for_each_index(w.kernel, [&](std::span<const int64_t> k, int64_t tap) {
        int64_t offset = 0;
        for (size_t d = 0; d < p.size(); d++) {
          int64_t position = p[d] * w.strides[d] + k[d] * w.dilations[d] - w.pad_begin[d];
          if (position < 0 || position >= w.input[d]) return;
          offset += position * in_strides[d];
        }
        for (int64_t c = 0; c < per_group; c++) sum += double(image[c * in_size + offset]) * filter[c * kernel_size + tap];
      });
      result[at] = float(sum);
    });
  });
}

Windows transposed_windows_of(const OpCall& call, const Shape& x, const Shape& weight) {
  Windows w = windows_of(call, x, Shape(weight.begin() + 2, weight.end()), true);
  size_t spatial = w.kernel.size();
  Shape extra = call.integers("output_padding", Shape(spatial, 0)), wanted = call.integers("output_shape");
  std::string auto_pad = call.text("auto_pad", "NOTSET");
  for (size_t d = 0; d < spatial; d++) {
    int64_t full = w.strides[d] * (w.input[d] - 1) + extra[d] + (w.kernel[d] - 1) * w.dilations[d] + 1, size;
    if (!wanted.empty() || auto_pad.starts_with("SAME")) {
      size = wanted.empty() ? w.input[d] * w.strides[d] : wanted[wanted.size() - spatial + d];
      int64_t total = std::max<int64_t>(0, full - size);
      w.pad_begin[d] = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
    } else {
      if (auto_pad == "VALID") w.pad_begin[d] = w.pad_end[d] = 0;
      size = full - w.pad_begin[d] - w.pad_end[d];
    }
    w.output.push_back(size);
  }
  return w;
}

// ONNX ConvTranspose: weight [c, out / groups, k...]; every input element adds its filter to the output.
void conv_transpose(const OpCall& call) {
  const Tensor &x = call.in(0), &weight = call.in(1);
  if (weight.rank() < 3 || x.rank() != weight.rank())
    call.fail(cat("input ", to_string(x.shape()), " does not fit weight ", to_string(weight.shape())));
  Windows w = transposed_windows_of(call, x.shape(), weight.shape());
  int64_t groups = call.integer("groups", 1), batch = x.dim(0), in_channels = x.dim(1), per_group = weight.dim(1);
  if (groups < 1 || in_channels % groups || weight.dim(0) != in_channels)
    call.fail(cat("input ", to_string(x.shape()), " does not fit weight ", to_string(weight.shape()), " in ", groups, " groups"));
  Shape shape = {batch, per_group * groups};
  shape.insert(shape.end(), w.output.begin(), w.output.end());
  Tensor& y = call.make(0, DType::kF32, shape);
  auto out_strides = strides_of(w.output);
  int64_t in_size = element_count(w.input), out_size = element_count(w.output), kernel_size = element_count(w.kernel),
          group_in = in_channels / groups;
  std::vector<double> sums(static_cast<size_t>(out_size));
  for (int64_t n = 0; n < batch; n++)
    for (int64_t o = 0; o < per_group * groups; o++) {
      std::fill(sums.begin(), sums.end(), call.has(2) ? elements<float>(call.in(2))[o] : 0);
      int64_t group = o / per_group;
      for (int64_t c = group * group_in; c < (group + 1) * group_in; c++) {
        const float* image = elements<float>(x) + (n * in_channels + c) * in_size;
        const float* filter = elements<float>(weight) + (c * per_group + o % per_group) * kernel_size;
        for_each_index(w.input, [&](std::span<const int64_t> p, int64_t at) {
          for_each_index(w.kernel, [&](std::span<const int64_t> k, int64_t tap) {
            int64_t offset = 0;
            for (size_t d = 0; d < w.kernel.size(); d++) {
              int64_t position = p[d] * w.strides[d] + k[d] * w.dilations[d] - w.pad_begin[d];
              if (position < 0 || position >= w.output[d]) return;
              offset += position * out_strides[d];
            }
            sums[size_t(offset)] += double(image[at]) * filter[tap];
          });
        });
      }
      float* result = elements<float>(y) + (n * per_group * groups + o) * out_size;
      for (int64_t i = 0; i < out_size; i++) result[i] = float(sums[size_t(i)]);
    }
}

}  // namespace lacuna::reference
