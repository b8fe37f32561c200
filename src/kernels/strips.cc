#include "kernels/strips.h"

#include <algorithm>

namespace lacuna::kernels {

bool StripTable::takes(const ConvProblem& p) {
  constexpr int64_t kMostCols = (80 << 10) / (kStripLanes * sizeof(float)), kMostOutputs = 256;  // all of which a task of strips has
  int64_t cols = p.in_channels * p.kernel_h * p.kernel_w;
  return p.groups == 1 && p.kernel_h > p.stride_h && p.dilation_h == 1 && p.stride_w <= 2 && cols > 0 && cols <= kMostCols &&
         p.out_channels <= kMostOutputs;
}

StripTable::StripTable(const ConvProblem& p, int64_t in_h, int64_t in_w, int64_t vector_lanes)
    : problem_(p), in_h_(in_h), in_w_(in_w), out_w_(p.out_w(in_w)), vector_lanes_(vector_lanes) {
  int64_t vectors = (out_w_ + vector_lanes - 1) / vector_lanes, count = (vectors * vector_lanes + kStripLanes - 1) / kStripLanes;
  // Panels of one or two vectors would leave the products little to do for each weight.
  fills_lanes_ = out_w_ > kStripLanes / 2 && vectors * vector_lanes * 8 <= out_w_ * 9;
  full_panels_ = vectors * vector_lanes * 8 >= count * kStripLanes * 7;
  for (int64_t i = 0; i < count; i++) {
    int64_t first = vectors * i / count * vector_lanes, end = std::min(vectors * (i + 1) / count * vector_lanes, out_w_);
    Panel panel = {first, end - first, {}};
    for (int64_t tap = 0; tap < p.kernel_w; tap++)
      for (int64_t v = first; v < end; v += vector_lanes) {
        uint64_t lanes = 0;
        for (int64_t lane = 0; lane < std::min(vector_lanes, end - v); lane++) {
          int64_t col = (v + lane) * p.stride_w + tap * p.dilation_w - p.pad_left;
          if (col >= 0 && col < in_w) lanes |= uint64_t(1) << (lane * p.stride_w);
        }
        panel.lanes.push_back({uint32_t(lanes & ((uint64_t(1) << vector_lanes) - 1)), uint32_t(lanes >> vector_lanes)});
      }
    panels_.push_back(std::move(panel));
  }
}

void StripTable::fill(void (*fill_strip)(const StripTask&) noexcept, const float* x, int64_t first_row, int64_t strip, const Panel& panel,
                      float* out) const {
  int64_t row = first_row * problem_.stride_h - problem_.pad_top + strip;
  if (row < 0 || row >= in_h_) {
    std::fill_n(out, strip_size(), 0.0f);
    return;
  }
  fill_strip({.x = x + row * in_w_ + panel.first * problem_.stride_w - problem_.pad_left,
              .channels = problem_.in_channels,
              .channel_pitch = in_h_ * in_w_,
              .taps = problem_.kernel_w,
              .tap_step = problem_.dilation_w,
              .stride = problem_.stride_w,
              .lanes = panel.lanes.data(),
              .vectors = (panel.pixels + vector_lanes_ - 1) / vector_lanes_,
              .out = out});
}

}  // namespace lacuna::kernels
