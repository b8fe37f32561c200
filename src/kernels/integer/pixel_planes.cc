#include "kernels/integer/pixel_planes.h"

#include <cstring>

#include "base/parallel.h"
#include "kernels/support.h"

namespace lacuna::kernels {

ConvPlanes::ConvPlanes(const ConvProblem& p, const ConvRuns& runs, int64_t in_h_, int64_t in_w_, bool in_place_)
    : ConvTiles(p, runs.inner, in_h_, in_w_, in_place_),
      in_place(in_place_),
      row_bytes(width * pixel_bytes),
      group_bytes(plane_bytes),
      image_bytes(plane_bytes * p.groups) {
  for (int64_t run = 0; run < runs.count; run++) {
    int64_t tap = tap_offset(p, run * runs.taps / p.kernel_w, run * runs.taps % p.kernel_w);
    for (int64_t c = 0; c < runs.padded; c += runs.chunk) chunk_offsets.push_back(tap + c);
  }
}

ConvPlanes::Rows ConvPlanes::rows_of(int64_t first_tile, int64_t last_tile) const {
  int64_t end = tiles[size_t(last_tile - 1)].offset + 15 * pixel_stride + chunk_offsets.back() + 64;
  return {tiles[size_t(first_tile)].offset / row_bytes, std::min(height, (end + row_bytes - 1) / row_bytes)};
}

namespace {

// Columns [first, last) of a plane come from the input.
struct Columns {
  Columns(const ConvProblem& p, const ConvPlanes& g) : step(g.subsampled ? p.stride_w : 1) {
    first = std::clamp<int64_t>((p.pad_left + step - 1) / step, 0, g.width);
    last = std::clamp<int64_t>((g.in_w + p.pad_left + step - 1) / step, first, g.width);
  }
  int64_t step, first, last;
};

// Whole rows [first, last) of a plane, which all come from the input: its pixels follow each other.
void quantize_rows(const ConvProblem& p, const ConvPlanes& g, const PlaneCodes& codes, const float* channels, int64_t first, int64_t last,
                   uint8_t* out) {
  std::vector<int64_t> offsets;
  for (int64_t row = first; row < last; row++)
    for (int64_t w = 0; w < g.in_w; w++) offsets.push_back((row * g.width + p.pad_left + w) * g.pixel_bytes);
  codes.isa.quantize({.x = channels + (first - p.pad_top) * g.in_w,
                      .channels = g.pixel_bytes,
                      .channel_stride = g.in_h * g.in_w,
                      .pixels = int64_t(offsets.size()),
                      .rule = static_rule(p.input_scale, p.input_zero),
                      .offsets = offsets.data(),
                      .flip = codes.flip,
                      .out = out});
}

// One row of a plane that leaves input columns out.
void quantize_row(const ConvProblem& p, const ConvPlanes& g, const PlaneCodes& codes, const float* channels, int64_t row, uint8_t* out) {
  int64_t in_row = row * (g.subsampled ? p.stride_h : 1) - p.pad_top, inner = g.pixel_bytes;
  if (in_row < 0 || in_row >= g.in_h) return;
  Columns columns(p, g);
  std::vector<int64_t> offsets;
  for (int64_t w = columns.first; w < columns.last; w++) offsets.push_back((row * g.width + w) * inner);
  const float* x = channels + in_row * g.in_w + columns.first * columns.step - p.pad_left;
  int64_t count = columns.last - columns.first;
  float* picked = thread_scratch_of<float>(ScratchSlot::kTile, inner * count);
  for (int64_t c = 0; c < inner; c++)
    for (int64_t i = 0; i < count; i++) picked[c * count + i] = x[c * g.in_h * g.in_w + i * columns.step];
  codes.isa.quantize({.x = picked,
                      .channels = inner,
                      .channel_stride = count,
                      .pixels = count,
                      .rule = static_rule(p.input_scale, p.input_zero),
                      .offsets = offsets.data(),
                      .flip = codes.flip,
                      .out = out});
}

}  // namespace

void quantize_planes(const ConvProblem& p, const ConvPlanes& g, const PlaneCodes& codes, const float* x, int64_t batch, uint8_t* planes) {
  std::memset(planes + batch * g.image_bytes, 0, size_t(g.spare_bytes()));
  constexpr int64_t kRowsPerTask = 8;
  int64_t parts = (g.height + kRowsPerTask - 1) / kRowsPerTask;
  parallel_for(batch * p.groups * parts, [&](int64_t task) {
    int64_t part = task % parts, plane = task / parts, first = part * kRowsPerTask, last = std::min(first + kRowsPerTask, g.height);
    uint8_t* out = planes + plane * g.group_bytes;
    const float* channels = x + plane * g.pixel_bytes * g.in_h * g.in_w;
    bool padded = g.subsampled || g.height != g.in_h || g.width != g.in_w || p.pad_top || p.pad_left;
    if (padded) std::memset(out + first * g.row_bytes, uint8_t(p.input_zero) ^ codes.flip, size_t((last - first) * g.row_bytes));
    if (g.subsampled || p.pad_left + g.in_w > g.width) {
      for (int64_t row = first; row < last; row++) quantize_row(p, g, codes, channels, row, out);
    } else {
      quantize_rows(p, g, codes, channels, std::max(first, p.pad_top), std::min(last, p.pad_top + g.in_h), out);
    }
  });
}

void copy_plane_row(const ConvProblem& p, const ConvPlanes& g, const PlaneCodes& codes, const int8_t* x, int64_t image, int64_t group, int64_t row,
                    uint8_t* out) {
  const int64_t in_row = row * (g.subsampled ? p.stride_h : 1) - p.pad_top, inner = g.pixel_bytes;
  const uint8_t padding = uint8_t(p.input_zero) ^ codes.flip;
  if (in_row < 0 || in_row >= g.in_h) {
    std::memset(out, padding, size_t(g.row_bytes));
    return;
  }
  auto copy = [&](const int8_t* from, int64_t n, uint8_t* to) {
    if (codes.flip)
      codes.isa.copy_flipped(from, n, codes.flip, to);
    else
      std::memcpy(to, from, size_t(n));
  };
  Columns columns(p, g);
  int64_t first = columns.first, last = columns.last;
  const int8_t* from = x + ((image * g.in_h + in_row) * g.in_w + first * columns.step - p.pad_left) * p.in_channels + group * inner;
  std::memset(out, padding, size_t(first * inner));
  if (p.groups == 1 && columns.step == 1)
    copy(from, (last - first) * inner, out + first * inner);
  else
    for (int64_t w = first; w < last; w++, from += columns.step * p.in_channels) copy(from, inner, out + w * inner);
  std::memset(out + last * inner, padding, size_t((g.width - last) * inner));
}

}  // namespace lacuna::kernels
