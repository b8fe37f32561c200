// Pooling over windows of [n, c, spatial...].
#include <cmath>
#include <limits>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

// Calls start(), then take(value, offset in the channel, padded = false) for each element of a window, then result = finish(window).
struct Window {
  int64_t inside = 0;  // elements inside the input
  int64_t padded = 0;  // elements inside the input or its padding
};

template <class T, class Take, class Finish>
void pool_windows(const OpCall& call, const Windows& w, DType type, Take&& take, Finish&& finish) {
  const Tensor& x = call.in(0);
  Shape shape = {x.dim(0), x.dim(1)};
  shape.insert(shape.end(), w.output.begin(), w.output.end());
  Tensor& y = call.make(0, type, shape);
  auto strides = strides_of(w.input);
  int64_t in_size = element_count(w.input), out_size = element_count(w.output);
  for (int64_t c = 0; c < x.dim(0) * x.dim(1); c++) {
    const T* image = elements<T>(x) + c * in_size;
    for_each_index(w.output, [&](std::span<const int64_t> p, int64_t at) {
      Window window;
      for_each_index(w.kernel, [&](std::span<const int64_t> k, int64_t) {
        int64_t offset = 0;
        bool inside = true;
        for (size_t d = 0; d < p.size(); d++) {
          int64_t position = p[d] * w.strides[d] + k[d] * w.dilations[d] - w.pad_begin[d];
          if (position >= w.input[d] + w.pad_end[d]) return;  // beyond the padding: a window rounded up
          inside = inside && position >= 0 && position < w.input[d];
          offset += position * strides[d];
        }
        window.padded++;
        if (!inside) return;
        take(window, image[offset], offset);
        window.inside++;
      });
      elements<T>(y)[c * out_size + at] = finish(window, c, at);
    });
  }
}

Windows pool_windows_of(const OpCall& call) { return windows_of(call, call.in(0).shape(), call.integers("kernel_shape")); }

}  // namespace

// Output 1, if asked for: positions of the maxima in the whole input, rows last (storage_order 1: columns last).
void max_pool(const OpCall& call) {
  const Tensor& x = call.in(0);
  Windows w = pool_windows_of(call);
  int64_t in_size = element_count(w.input), out_size = element_count(w.output);
  bool indices = call.outputs.size() > 1 && call.node.outputs[1] != kNoValue, column_major = call.integer("storage_order", 0) != 0;
  Shape shape = {x.dim(0), x.dim(1)};
  shape.insert(shape.end(), w.output.begin(), w.output.end());
  Tensor unused;
  Tensor& positions = indices ? call.make(1, DType::kS64, shape) : unused;
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    T best = T(0);
    int64_t best_offset = 0;
    pool_windows<T>(
        call, w, x.dtype(),
        [&](const Window& window, T value, int64_t offset) {
          if (window.inside == 0 || value > best || value != value) best = value, best_offset = offset;
        },
        [&](const Window& window, int64_t c, int64_t at) {
          if (indices) {
            int64_t offset = best_offset;
            if (column_major) {
              int64_t rest = best_offset, step = 1;
              std::vector<int64_t> index(w.input.size());
              for (size_t d = w.input.size(); d-- > 0; rest /= w.input[d]) index[d] = rest % w.input[d];
              offset = 0;
              for (size_t d = 0; d < w.input.size(); step *= w.input[d++]) offset += index[d] * step;
            }
            elements<int64_t>(positions)[c * out_size + at] = c * in_size + offset;
          }
          return window.inside ? best : std::numeric_limits<T>::lowest();
        });
  });
}

void average_pool(const OpCall& call) {
  bool count_padding = call.integer("count_include_pad", 0) != 0;
  double sum = 0;
  pool_windows<float>(
      call, pool_windows_of(call), DType::kF32, [&](const Window& window, float value, int64_t) { sum = (window.inside ? sum : 0) + value; },
      [&](const Window& window, int64_t, int64_t) {
        int64_t count = count_padding ? window.padded : window.inside;
        return window.inside && count ? float(sum / double(count)) : 0.0f;
      });
}

void lp_pool(const OpCall& call) {
  double p = double(call.integer("p", 2)), sum = 0;
  pool_windows<float>(
      call, pool_windows_of(call), DType::kF32,
      [&](const Window& window, float value, int64_t) { sum = (window.inside ? sum : 0) + std::pow(std::abs(double(value)), p); },
      [&](const Window& window, int64_t, int64_t) { return window.inside ? float(std::pow(sum, 1 / p)) : 0.0f; });
}

namespace {
template <class F>
void global_pool(const OpCall& call, F&& f) {
  const Tensor& x = call.in(0);
  if (x.rank() < 2) call.fail(cat("input has shape ", to_string(x.shape()), ", wanted [n, c, spatial...]"));
  Shape shape(x.shape().size(), 1);
  shape[0] = x.dim(0), shape[1] = x.dim(1);
  Tensor& y = call.make(0, DType::kF32, shape);
  int64_t channels = x.dim(0) * x.dim(1), space = channels ? x.size() / channels : 0;
  for (int64_t c = 0; c < channels; c++) elements<float>(y)[c] = f(std::span(elements<float>(x) + c * space, size_t(space)));
}
}  // namespace

void global_average_pool(const OpCall& call) {
  global_pool(call, [](std::span<const float> values) {
    double sum = 0;
    for (float v : values) sum += v;
    return float(sum / double(values.size()));
  });
}
void global_max_pool(const OpCall& call) {
  global_pool(call, [](std::span<const float> values) {
    float best = -std::numeric_limits<float>::infinity();
    for (float v : values) best = v > best || v != v ? v : best;
    return best;
  });
}

}  // namespace lacuna::reference
