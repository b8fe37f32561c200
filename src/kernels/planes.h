// Planes: the input of a convolution padded and, for strides, split into phases, so that every tap of the kernel reads side by side.
//
// Output (oh, ow) under tap (kh, kw) reads padded input row oh * stride + kh * dilation: row oh + kh * dilation / stride of the phase
// (kh * dilation) % stride, and columns alike. A phase holds every stride-th row and column. Layout: [image][phase][channel][height][width].
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv.h"

namespace lacuna::kernels {

struct PlaneLayout {
  PlaneLayout(const ConvProblem& problem, int64_t in_h, int64_t in_w);

  int64_t channels, in_h, in_w, out_h, out_w;
  int64_t height, width;  // of a plane
  int64_t channel_pitch, phase_pitch, image_pitch;
  struct Phase {
    int64_t row, col;
  };
  std::vector<Phase> phases;         // those that some tap reads
  std::vector<int64_t> tap_offsets;  // [kernel_h * kernel_w]: from channel 0 of an image to the first element of the tap's window
  bool identity;                     // no padding, stride 1: the input is its own planes
  int64_t size(int64_t batch) const { return batch * image_pitch; }
};

}  // namespace lacuna::kernels
