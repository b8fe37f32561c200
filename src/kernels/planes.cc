#include "kernels/planes.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"

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

template <class T>
void fill_planes(const ConvProblem& p, const PlaneLayout& layout, const T* x, int64_t batch, T* planes) {
  auto fill_plane = [&](const T* channel, const PlaneLayout::Phase& phase, T* out) {
    for (int64_t h = 0; h < layout.height; h++, out += layout.width) {
      int64_t row = h * p.stride_h + phase.row - p.pad_top;
      if (row < 0 || row >= layout.in_h) {
        std::fill_n(out, layout.width, T(0));
        continue;
      }
      // Columns [first, last) of the plane lie inside the input.
      int64_t shift = phase.col - p.pad_left;
      int64_t first = std::clamp<int64_t>((-shift + p.stride_w - 1) / p.stride_w, 0, layout.width);
      int64_t last = std::clamp<int64_t>((layout.in_w - shift + p.stride_w - 1) / p.stride_w, first, layout.width);
      std::fill_n(out, first, T(0));
      const T* from = channel + row * layout.in_w + shift;
      if (p.stride_w == 1)
        std::copy(from + first, from + last, out + first);
      else
        for (int64_t w = first; w < last; w++) out[w] = from[w * p.stride_w];
      std::fill(out + last, out + layout.width, T(0));
    }
  };
  constexpr int64_t kChannelsPerTask = 8;
  int64_t chunks = (layout.channels + kChannelsPerTask - 1) / kChannelsPerTask;
  parallel_for(batch * chunks, [&](int64_t task) {
    int64_t image = task / chunks, first = task % chunks * kChannelsPerTask;
    for (int64_t c = first; c < std::min(first + kChannelsPerTask, layout.channels); c++)
      for (size_t phase = 0; phase < layout.phases.size(); phase++)
        fill_plane(x + (image * layout.channels + c) * layout.in_h * layout.in_w, layout.phases[phase],
                   planes + image * layout.image_pitch + int64_t(phase) * layout.phase_pitch + c * layout.channel_pitch);
  });
}

template void fill_planes(const ConvProblem&, const PlaneLayout&, const float*, int64_t, float*);
template void fill_planes(const ConvProblem&, const PlaneLayout&, const int8_t*, int64_t, int8_t*);

}  // namespace lacuna::kernels
