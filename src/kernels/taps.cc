#include "kernels/taps.h"

#include <algorithm>

#include "base/cpu.h"
#include "base/parallel.h"

namespace lacuna::kernels {
namespace {

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Of `rows` rows, in[0], in[step], ... to out, `count` of them.
void copy_every(int64_t step, const float* in, int64_t in_pitch, int64_t rows, int64_t count, float* out, int64_t out_pitch) {
  if (count <= 0) return;
  if (step == 2 && cpu_features().avx512) return avx512::copy_every_second(in, in_pitch, rows, count, out, out_pitch);
  if (step == 2 && cpu_features().avx2) return avx2::copy_every_second(in, in_pitch, rows, count, out, out_pitch);
  for (int64_t row = 0; row < rows; row++, in += in_pitch, out += out_pitch)
    for (int64_t i = 0; i < count; i++) out[i] = in[i * step];
}

}  // namespace

TapTable::TapTable(const ConvProblem& p, int64_t batch, int64_t in_h, int64_t in_w, int64_t vector_lanes)
    : batch_(batch),
      channels_(p.in_channels),
      in_h_(in_h),
      in_w_(in_w),
      stride_h_(p.stride_h),
      stride_w_(p.stride_w),
      pixels_(p.out_h(in_h) * p.out_w(in_w)),
      taps_(p.kernel_h * p.kernel_w),
      height_((in_h + p.stride_h - 1) / p.stride_h),
      width_((in_w + p.stride_w - 1) / p.stride_w),
      plane_pitch_(splits() ? (height_ * width_ + 15) / 16 * 16 : height_ * width_) {
  struct Tap {
    int64_t phase, first_row, first_col;  // of the phase, under output (0, 0)
    int64_t top, left;                    // of the input, under output (0, 0)
  };
  std::vector<Tap> taps;
  for (int64_t kh = 0; kh < p.kernel_h; kh++)
    for (int64_t kw = 0; kw < p.kernel_w; kw++) {
      int64_t top = kh * p.dilation_h - p.pad_top, left = kw * p.dilation_w - p.pad_left;
      int64_t row = floor_div(top, p.stride_h), col = floor_div(left, p.stride_w);
      Phase phase = {top - row * p.stride_h, left - col * p.stride_w};
      auto same = std::find_if(phases_.begin(), phases_.end(), [&](const Phase& other) { return other.row == phase.row && other.col == phase.col; });
      taps.push_back({same - phases_.begin(), row, col, top, left});
      if (same == phases_.end()) phases_.push_back(phase);
    }
  int64_t out_h = p.out_h(in_h), out_w = p.out_w(in_w), tokens = batch * pixels_;
  plain_ = taps_ == 1 && taps[0].first_row == 0 && taps[0].first_col == 0 && phases_[0].row == 0 && phases_[0].col == 0 && height_ == out_h &&
           width_ == out_w;

  starts_.push_back(0);
  for (int64_t first = 0; first < tokens; first += vector_lanes)
    for (const Tap& tap : taps) {
      size_t own = pieces_.size();
      int64_t end = std::min(first + vector_lanes, tokens);
      for (int64_t token = first; token < end;) {  // the part of one output row
        int64_t image = token / pixels_, oh = token % pixels_ / out_w, ow = token % out_w, count = std::min(out_w - ow, end - token);
        int64_t ih = oh * p.stride_h + tap.top;
        // Columns [low, high) of the output row lie inside the input.
        int64_t low = std::clamp(-floor_div(tap.left, p.stride_w), ow, ow + count);
        int64_t high = std::clamp(floor_div(in_w - 1 - tap.left, p.stride_w) + 1, low, ow + count);
        if (ih >= 0 && ih < in_h && low < high) {
          int64_t lane = token - first + low - ow;
          uint32_t lanes = uint32_t((uint64_t(1) << (lane + high - low)) - (uint64_t(1) << lane));
          int64_t offset = image * image_pitch() + tap.phase * plane_pitch_ + (oh + tap.first_row) * width_ + low + tap.first_col - lane;
          auto same = std::find_if(pieces_.begin() + int64_t(own), pieces_.end(), [&](const TapPiece& piece) { return piece.offset == offset; });
          if (same == pieces_.end())
            pieces_.push_back({offset, lanes});
          else
            same->lanes |= lanes;
        }
        token += count;
      }
      if (pieces_.size() == own) pieces_.push_back({0, 0});
      starts_.push_back(int32_t(pieces_.size()));
    }
}

void TapTable::split(const float* x, float* source) const {
  constexpr int64_t kChannelsPerTask = 4;
  int64_t groups = (channels_ + kChannelsPerTask - 1) / kChannelsPerTask, bands = image_bands(batch_, height_, width_);
  parallel_for(batch_ * bands * groups, [&](int64_t task) {
    int64_t image = task / groups / bands, band = task / groups % bands, first = task % groups * kChannelsPerTask;
    for (int64_t channel = first; channel < std::min(first + kChannelsPerTask, channels_); channel++)
      for (size_t i = 0; i < phases_.size(); i++) {
        const Phase& phase = phases_[i];
        int64_t plane = image * channels_ + channel, count = (in_w_ - phase.col + stride_w_ - 1) / stride_w_;
        int64_t rows = (in_h_ - phase.row + stride_h_ - 1) / stride_h_, row = band * height_ / bands;
        int64_t last = std::min((band + 1) * height_ / bands, rows);
        copy_every(stride_w_, x + (plane * in_h_ + phase.row + row * stride_h_) * in_w_ + phase.col, stride_h_ * in_w_, last - row, count,
                   source + plane * channel_pitch() + int64_t(i) * plane_pitch_ + row * width_, width_);
      }
  });
}

}  // namespace lacuna::kernels
