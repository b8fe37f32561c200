// Encoders of the streams of lane16.h: a weight matrix to one packed weight, row groups in parallel.
#pragma once

#include <memory>
#include <vector>

#include "kernels/integer/lane16.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

enum class Lane16Format { kDense, kBitmask, kN16, kWindow };

struct Lane16Options {
  Lane16Format format = Lane16Format::kDense;
  int bits = 8;
  int slots = 0;          // kN16
  int window = 0;         // kWindow
  bool balanced = false;  // kWindow of 64: one plane, bases at 64: for patterns that keep a multiple of 4 of every 64 columns
  // kWindow: columns come in runs of so many, a multiple of 64, whose ends no window passes; offsets are columns, x is one plane, rows stay among
  // their 64.
  int64_t run = 0;
  int32_t input_zero = 0;
};

// A packed weight. Row group g: stream [stream_begin[g], stream_begin[g + 1]), offsets and units [unit_begin[g], unit_begin[g + 1]).
struct Lane16Weight {
  int64_t rows = 0, cols = 0, group = 0;
  bool half_scales = false, minima = false;
  std::shared_ptr<std::byte[]> stream;
  std::vector<int64_t> stream_begin, unit_begin;
  std::vector<int32_t> offsets;  // dense, bitmask, n16: the same for all row groups, stored once, unit_begin is all 0
  std::vector<int32_t> row_of;   // [row groups][16] row of each lane, -1 beyond the last; empty: rows in order
  int planes = 1;                // shifted copies of x that the offsets of a window need
  int64_t plane_stride = 0;      // bytes between them
  int64_t units = 0;             // of every row group, unless kWindow
  std::vector<int32_t> excess;   // [row groups][16]: sum of codes times the code of x = 0, and 128 more for gathers of x + 128; empty if all 0
  std::vector<float> scales;     // [row groups][16], if scales are per row

  int64_t row_groups() const { return int64_t(stream_begin.size()) - 1; }
  int64_t size_bytes() const;
};

Lane16Weight pack_lane16(const WeightMatrix& weight, const Lane16Isa& isa, const Lane16Options& options);

}  // namespace lacuna::kernels
