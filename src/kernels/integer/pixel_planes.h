// The input of an int8 convolution: padded planes of codes with the channels of a pixel together [row][column][channel], where tiles load
// sixteen output positions (conv_tiles.h).
#pragma once

#include "kernels/conv_tiles.h"
#include "kernels/integer/pixels.h"

namespace lacuna::kernels {

// Columns of a kernel row (or tap, if taps are dilated) side by side, filled up to whole chunks.
struct ConvRuns {
  ConvRuns(const ConvProblem& p, int64_t chunk_) : inner(p.in_channels / p.groups), taps(p.dilation_w == 1 ? p.kernel_w : 1), chunk(chunk_) {
    length = inner * taps, padded = (length + chunk - 1) / chunk * chunk, count = p.kernel_h * p.kernel_w / taps;
  }
  int64_t inner, taps;  // channels, and taps of a run
  int64_t chunk;        // columns
  int64_t length, padded, count;
};

struct ConvPlanes : ConvTiles {
  // With `in_place` the planes are the input itself.
  ConvPlanes(const ConvProblem& p, const ConvRuns& runs, int64_t in_h, int64_t in_w, bool in_place);

  // Read by tiles and chunks that pass the end.
  int64_t spare_bytes() const { return 16 * pixel_stride + kReadAhead; }
  // Of a plane, that the tiles [first, last) read.
  struct Rows {
    int64_t first, last;
  };
  Rows rows_of(int64_t first_tile, int64_t last_tile) const;

  static constexpr int64_t kReadAhead = 4096;  // beyond the pixels that the last tile passes the end by
  bool in_place;
  int64_t row_bytes, group_bytes, image_bytes;
  std::vector<int64_t> chunk_offsets;
};

// How codes are written: by which loops, and which bits of them are turned.
struct PlaneCodes {
  const PixelIsa& isa;
  uint8_t flip;
};
// x [batch, channels, h, w] to planes [batch][group]; spare_bytes() follow.
void quantize_planes(const ConvProblem& p, const ConvPlanes& planes, const PlaneCodes& codes, const float* x, int64_t batch, uint8_t* out);
// A row of the plane of an image and group out of codes with all channels of a pixel together.
void copy_plane_row(const ConvProblem& p, const ConvPlanes& planes, const PlaneCodes& codes, const int8_t* x, int64_t image, int64_t group,
                    int64_t row, uint8_t* out);

}  // namespace lacuna::kernels
