// Where the lanes of a convolution's panels lie in memory. Tokens are the output pixels of all images in order, and for each vector of
// them and each tap of the kernel the table says from where it is loaded.
//
// Output (oh, ow) under tap (kh, kw) reads input row oh * stride + kh * dilation - pad: one of every stride-th row, a phase, shifted by a
// constant; columns alike. Where a phase is as wide as the output, 16 pixels lie side by side across the ends of rows, and the lanes that
// padding would fill are masked: one load per vector, and no padded copy. Elsewhere a vector is joined from pieces.
// Layout of the source: [image][channel][phase][height][width]; at stride 1 that is the input itself.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/conv.h"
#include "kernels/inner/conv_f32.h"

namespace lacuna::kernels {

class TapTable {
 public:
  TapTable(const ConvProblem& problem, int64_t batch, int64_t in_h, int64_t in_w, int64_t vector_lanes);

  bool fits(int64_t batch, int64_t in_h, int64_t in_w) const { return batch == batch_ && in_h == in_h_ && in_w == in_w_; }
  int64_t taps() const { return taps_; }
  int64_t pixels() const { return pixels_; }  // of an output image
  int64_t channel_pitch() const { return int64_t(phases_.size()) * plane_pitch_; }
  int64_t image_pitch() const { return channels_ * channel_pitch(); }
  // Whether split() makes the source; if not, the input is the source as it is.
  bool splits() const { return stride_h_ > 1 || stride_w_ > 1; }
  int64_t size() const { return batch_ * image_pitch(); }
  // Whether each channel of the source is the one column of the panels: a single tap that neither shifts nor pads.
  bool plain() const { return plain_; }

  const TapPiece* pieces() const { return pieces_.data(); }
  // Of a vector: those of tap t are [starts[t], starts[t + 1]).
  const int32_t* starts(int64_t vector) const { return starts_.data() + vector * taps_; }

  // source [size()] from x [batch, channels, in_h, in_w], in parallel.
  void split(const float* x, float* source) const;

 private:
  struct Phase {
    int64_t row, col;
  };
  int64_t batch_, channels_, in_h_, in_w_, stride_h_, stride_w_, pixels_, taps_;
  int64_t height_, width_, plane_pitch_;  // of a phase
  bool plain_ = false;
  std::vector<Phase> phases_;  // those that some tap reads
  std::vector<TapPiece> pieces_;
  std::vector<int32_t> starts_;  // [vector][tap], and the end
};

}  // namespace lacuna::kernels
