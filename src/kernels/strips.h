// Panels of a convolution of few input channels, as the first of a net, that share what they read of the input.
//
// A strip is what the taps of one kernel row read of one input row for up to 64 outputs side by side: [channel][tap of the row][64]. The panel of
// an output row, its columns in the order (kernel row, channel, tap of the row), is kernel_h strips one behind the other; that of the next output
// row begins stride_h strips later. So an input row is laid out once, not once for each output row that reads it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/conv.h"
#include "kernels/inner/conv_f32.h"

namespace lacuna::kernels {

class StripTable {
 public:
  // Whether panels of the problem are small enough for L1, or nearly, lie in neighbouring strips and share some. Its weights then have their columns
  // in that order.
  static bool takes(const ConvProblem& problem);

  StripTable(const ConvProblem& problem, int64_t in_h, int64_t in_w, int64_t vector_lanes);

  bool fits(int64_t in_h, int64_t in_w) const { return in_h == in_h_ && in_w == in_w_; }
  // Whether rows of outputs fill nearly all lanes of their panels.
  bool fills_lanes() const { return fills_lanes_; }
  // Whether panels are nearly as wide as they can be.
  bool full_panels() const { return full_panels_; }
  int64_t out_w() const { return out_w_; }
  int64_t strip_size() const { return problem_.in_channels * problem_.kernel_w * kStripLanes; }
  // Strips that the panels of so many output rows take.
  int64_t strips(int64_t rows) const { return (rows - 1) * problem_.stride_h + problem_.kernel_h; }

  // Outputs [first, first + pixels) of a row.
  struct Panel {
    int64_t first, pixels;
    std::vector<StripLanes> lanes;  // [tap][vector]
  };
  std::span<const Panel> panels() const { return panels_; }

  // Strip `strip` of those that begin with output row `first_row`: out [strip_size()], from x [in_channels, in_h, in_w].
  void fill(void (*fill_strip)(const StripTask&) noexcept, const float* x, int64_t first_row, int64_t strip, const Panel& panel, float* out) const;

 private:
  static constexpr int64_t kStripLanes = 64;
  ConvProblem problem_;
  int64_t in_h_, in_w_, out_w_, vector_lanes_;
  bool fills_lanes_, full_panels_;
  std::vector<Panel> panels_;
};

}  // namespace lacuna::kernels
