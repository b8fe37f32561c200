#include "kernels/planes.h"

#include <algorithm>
#include <type_traits>

#include "base/parallel.h"
#include "kernels/inner/conv_f32.h"

namespace lacuna::kernels {

PlaneLayout::PlaneLayout(const ConvProblem& p, int64_t in_h_in, int64_t in_w_in)
    : channels(p.in_channels), in_h(in_h_in), in_w(in_w_in), out_h(p.out_h(in_h_in)), out_w(p.out_w(in_w_in)) {
  height = out_h + (p.kernel_h - 1) * p.dilation_h / p.stride_h;
  width = out_w + (p.kernel_w - 1) * p.dilation_w / p.stride_w;
  channel_pitch = height * width;
  phase_pitch = channels * channel_pitch;
  for (int64_t kh = 0; kh < p.kernel_h; kh++)
    for (int64_t kw = 0; kw < p.kernel_w; kw++) {
      Phase phase = {kh * p.dilation_h % p.stride_h, kw * p.dilation_w % p.stride_w};
      auto same = std::find_if(phases.begin(), phases.end(), [&](const Phase& other) { return other.row == phase.row && other.col == phase.col; });
      int64_t index = same - phases.begin();
      if (same == phases.end()) phases.push_back(phase);
      tap_offsets.push_back(index * phase_pitch + kh * p.dilation_h / p.stride_h * width + kw * p.dilation_w / p.stride_w);
    }
  image_pitch = int64_t(phases.size()) * phase_pitch;
  identity = p.stride_h == 1 && p.stride_w == 1 && p.pad_top == 0 && p.pad_left == 0 && p.pad_bottom == 0 && p.pad_right == 0;
}

namespace {

template <class T>
void pad_rows(const T* in, int64_t in_pitch, int64_t rows, int64_t cols, int64_t left, int64_t right, T* out) {
  if constexpr (std::is_same_v<T, float>) {
    if (cpu_features().avx512) return avx512::pad_rows(in, in_pitch, rows, cols, left, right, out);
    if (cpu_features().avx2) return avx2::pad_rows(in, in_pitch, rows, cols, left, right, out);
  }
  for (int64_t row = 0; row < rows; row++, in += in_pitch) {
    out = std::fill_n(out, left, T(0));
    out = std::copy_n(in, cols, out);
    out = std::fill_n(out, right, T(0));
  }
}

// One phase of one channel.
template <class T>
void fill_plane(const ConvProblem& p, const PlaneLayout& layout, const T* channel, const PlaneLayout::Phase& phase, T* out) {
  // Rows [top, bottom) and columns [first, last) of the plane lie inside the input.
  int64_t shift_h = phase.row - p.pad_top, shift_w = phase.col - p.pad_left;
  int64_t top = std::clamp<int64_t>((-shift_h + p.stride_h - 1) / p.stride_h, 0, layout.height);
  int64_t bottom = std::clamp<int64_t>((layout.in_h - shift_h + p.stride_h - 1) / p.stride_h, top, layout.height);
  int64_t first = std::clamp<int64_t>((-shift_w + p.stride_w - 1) / p.stride_w, 0, layout.width);
  int64_t last = std::clamp<int64_t>((layout.in_w - shift_w + p.stride_w - 1) / p.stride_w, first, layout.width);
  out = std::fill_n(out, top * layout.width, T(0));
  const T* in = channel + (top * p.stride_h + shift_h) * layout.in_w + first * p.stride_w + shift_w;
  if (p.stride_w == 1) {
    pad_rows(in, p.stride_h * layout.in_w, bottom - top, last - first, first, layout.width - last, out);
    out += (bottom - top) * layout.width;
  } else {
    for (int64_t row = top; row < bottom; row++, in += p.stride_h * layout.in_w) {
      out = std::fill_n(out, first, T(0));
      for (int64_t w = 0; w < last - first; w++) *out++ = in[w * p.stride_w];
      out = std::fill_n(out, layout.width - last, T(0));
    }
  }
  std::fill_n(out, (layout.height - bottom) * layout.width, T(0));
}

}  // namespace

template <class T>
void fill_planes(const ConvProblem& p, const PlaneLayout& layout, const T* x, int64_t batch, T* planes) {
  constexpr int64_t kChannelsPerTask = 8;
  int64_t chunks = (layout.channels + kChannelsPerTask - 1) / kChannelsPerTask;
  parallel_for(batch * chunks, [&](int64_t task) {
    int64_t image = task / chunks, first = task % chunks * kChannelsPerTask;
    for (int64_t c = first; c < std::min(first + kChannelsPerTask, layout.channels); c++)
      for (size_t phase = 0; phase < layout.phases.size(); phase++)
        fill_plane(p, layout, x + (image * layout.channels + c) * layout.in_h * layout.in_w, layout.phases[phase],
                   planes + image * layout.image_pitch + int64_t(phase) * layout.phase_pitch + c * layout.channel_pitch);
  });
}

template void fill_planes(const ConvProblem&, const PlaneLayout&, const float*, int64_t, float*);
template void fill_planes(const ConvProblem&, const PlaneLayout&, const int8_t*, int64_t, int8_t*);

}  // namespace lacuna::kernels
