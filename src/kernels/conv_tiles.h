// How a convolution falls into tiles of sixteen output positions over padded planes with the channels of a pixel together: tiles load straight
// from the planes, without an im2col. With stride 1 positions follow each other through the padded rows, and the few between two output rows
// are not stored; with larger strides every output row has its own tiles.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/conv.h"

namespace lacuna::kernels {

struct ConvTiles {
  // Sixteen positions.
  struct Tile {
    int64_t offset;    // of the first in the planes, bytes
    int64_t position;  // of the first: output row * row_positions + column
  };

  // A pixel of a plane takes `pixel_bytes`. With `in_place` the planes are the input itself.
  ConvTiles(const ConvProblem& p, int64_t pixel_bytes, int64_t in_h, int64_t in_w, bool in_place = false);

  // Of kernel position (kh, kw), from that of (0, 0).
  int64_t tap_offset(const ConvProblem& p, int64_t kh, int64_t kw) const { return (kh * p.dilation_h * width + kw * p.dilation_w) * pixel_bytes; }

  // run(lane, pixel, count) for the pieces of output rows among the positions of some tiles.
  template <class F>
  void for_each_run(int64_t first_tile, int64_t count, F&& run) const {
    int64_t pixels = out_h * out_w;
    bool unbroken = row_positions == out_w && last_position[0] == pixels;  // positions are pixels
    if (unbroken) return run(0, first_tile * 16, std::min(count * 16, pixels - first_tile * 16));
    for (int64_t t = 0; t < count; t++)
      for (int64_t lane = 0; lane < 16;) {
        int64_t position = tiles[size_t(first_tile + t)].position + lane;
        if (position >= last_position[size_t(first_tile + t)]) break;
        int64_t h = position / row_positions, w = position % row_positions;
        int64_t length = std::min(16 - lane, row_positions - w), outputs = std::min(length, out_w - w);
        if (outputs > 0) run(16 * t + lane, h * out_w + w, outputs);
        lane += length;
      }
  }

  int64_t pixel_bytes;
  int64_t in_h, in_w, out_h, out_w;
  bool subsampled;                     // a 1x1 kernel with a stride: planes hold only what it reads
  int64_t height, width;               // of the planes
  int64_t plane_bytes, pixel_stride;   // of a plane; from one position to the next
  int64_t row_positions;               // positions from one output row to the next
  std::vector<int64_t> last_position;  // where the positions of a tile end
  std::vector<Tile> tiles;
};

}  // namespace lacuna::kernels
