#include "kernels/planes.h"

#include <algorithm>

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

}  // namespace lacuna::kernels
