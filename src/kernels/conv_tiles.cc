#include "kernels/conv_tiles.h"

namespace lacuna::kernels {

ConvTiles::ConvTiles(const ConvProblem& p, int64_t bytes, int64_t in_h_, int64_t in_w_, bool in_place)
    : pixel_bytes(bytes), in_h(in_h_), in_w(in_w_), out_h(p.out_h(in_h_)), out_w(p.out_w(in_w_)) {
  subsampled = !in_place && p.kernel_h == 1 && p.kernel_w == 1 && (p.stride_h > 1 || p.stride_w > 1);
  int64_t step_h = subsampled ? 1 : p.stride_h, step_w = subsampled ? 1 : p.stride_w;
  height = (out_h - 1) * step_h + (p.kernel_h - 1) * p.dilation_h + 1, width = (out_w - 1) * step_w + (p.kernel_w - 1) * p.dilation_w + 1;
  if (in_place) height = in_h, width = in_w;
  plane_bytes = height * width * pixel_bytes, pixel_stride = step_w * pixel_bytes;
  bool continuous = step_h == 1 && step_w == 1;
  row_positions = continuous ? width : out_w;
  int64_t rows = continuous ? 1 : out_h, positions = continuous ? (out_h - 1) * width + out_w : out_w;
  for (int64_t row = 0; row < rows; row++)
    for (int64_t i = 0; i < positions; i += 16) {
      tiles.push_back({row * step_h * width * pixel_bytes + i * pixel_stride, row * row_positions + i});
      last_position.push_back(row * row_positions + positions);
    }
}

}  // namespace lacuna::kernels
