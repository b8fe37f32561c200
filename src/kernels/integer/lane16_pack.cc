// The layouts are described in lane16.h.
#include "kernels/integer/lane16_pack.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <numeric>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/integer/window_steps.h"
#include "sparse/bits.h"

namespace lacuna::kernels {
namespace {

using Bytes8 = std::vector<uint8_t>;

// Sixteen rows of a weight, rows and columns beyond the end empty.
class RowGroup {
 public:
  // row_of: the row of each lane; empty: in order.
  RowGroup(const WeightMatrix& weight, int64_t index, const std::vector<int32_t>& row_of) : weight_(weight) {
    for (int64_t lane = 0; lane < kLanes; lane++) {
      int64_t row = row_of.empty() ? index * kLanes + lane : row_of[size_t(index * kLanes + lane)];
      rows_[lane] = row >= 0 && row < weight.rows ? row : -1;
      if (!present(lane)) continue;
      codes_[lane] = weight.codes + row * weight.cols;
      if (weight.mask) masks_[lane] = weight.mask->row(row).data();
    }
  }
  bool present(int64_t lane) const { return rows_[lane] >= 0; }
  // Bit i: whether column 64 * word + i is kept.
  uint64_t kept_word(int64_t lane, int64_t word) const {
    if (!present(lane) || 64 * word >= weight_.cols) return 0;
    if (masks_[lane]) return masks_[lane][word];
    return weight_.cols - 64 * word >= 64 ? ~uint64_t(0) : (uint64_t(1) << (weight_.cols - 64 * word)) - 1;
  }
  // Codes of columns [64 * word, 64 * word + 64), those not kept as 0.
  void codes_of_word(int64_t lane, int64_t word, int8_t (&out)[64]) const {
    int64_t count = present(lane) ? std::clamp<int64_t>(weight_.cols - 64 * word, 0, 64) : 0;
    std::memset(out, 0, sizeof out);
    if (count > 0) std::memcpy(out, codes_[lane] + 64 * word, size_t(count));
    uint64_t kept = kept_word(lane, word);
    int8_t keep[64];
    bytes_of_bits(kept, keep);
    for (int i = 0; i < 64; i++) out[i] = int8_t(out[i] & keep[i]);
  }
  int8_t code(int64_t lane, int64_t kept_col) const { return codes_[lane][kept_col]; }
  // Scale (or minimum) of a lane; 0 beyond the last row.
  float scale(const float* scales, int64_t lane, int64_t group, int64_t groups) const {
    return present(lane) ? scales[rows_[lane] * groups + group] : 0.0f;
  }
  const WeightMatrix& weight() const { return weight_; }

 private:
  const WeightMatrix& weight_;
  int64_t rows_[kLanes];
  const int8_t* codes_[kLanes] = {};
  const uint64_t* masks_[kLanes] = {};
};

// Calls visit(i) for each bit i of a word, lowest first.
template <class Visit>
void for_each_bit(uint64_t word, Visit visit) {
  for (; word; word &= word - 1) visit(std::countr_zero(word));
}

// Rows by their number of kept weights, so that the sixteen rows of a group move through the columns at one pace. Empty if the rows are
// alike already: outputs of sorted rows are stored one by one, which only pays if it saves a good part of the steps.
std::vector<int32_t> rows_by_weight(const WeightMatrix& weight, int window) {
  std::vector<int64_t> kept;
  double sum = 0, squares = 0;
  for (int64_t r = 0; r < weight.rows; r++) {
    kept.push_back(weight.mask ? weight.mask->count_kept(r) : weight.cols);
    sum += double(kept.back()), squares += double(kept.back()) * double(kept.back());
  }
  double mean = sum / double(std::max<int64_t>(weight.rows, 1)), variance = squares / double(std::max<int64_t>(weight.rows, 1)) - mean * mean;
  double wanted = window == 64 ? 0.2 : 0.02;  // relative spread; wide windows serve few tokens, whose stores are cheap
  if (weight.rows <= kLanes || variance <= wanted * wanted * mean * mean) return {};
  std::vector<int32_t> rows(size_t((weight.rows + kLanes - 1) / kLanes * kLanes), -1);
  std::iota(rows.begin(), rows.begin() + weight.rows, 0);
  std::stable_sort(rows.begin(), rows.begin() + weight.rows, [&](int32_t a, int32_t b) { return kept[size_t(a)] > kept[size_t(b)]; });
  return rows;
}

int64_t groups_of(const WeightMatrix& weight) { return weight.group ? (weight.cols + weight.group - 1) / weight.group : 1; }

void append_floats(Bytes8& out, const float (&values)[kLanes], bool half) {
  for (float v : values) {
    uint32_t bits = half ? f32_to_f16(v) : std::bit_cast<uint32_t>(v);
    for (int i = 0; i < (half ? 2 : 4); i++) out.push_back(uint8_t(bits >> (8 * i)));
  }
}

// The scales that open a scale group.
void append_scales(Bytes8& out, const RowGroup& rows, int64_t group, bool half) {
  const WeightMatrix& weight = rows.weight();
  for (const float* source : {weight.scales, weight.minima}) {
    if (!source) continue;
    float values[kLanes];
    for (int64_t lane = 0; lane < kLanes; lane++) values[lane] = rows.scale(source, lane, group, groups_of(weight));
    append_floats(out, values, half);
  }
}

// Of 64 columns from `word` on: per step of 4 columns, the 64 codes (lane by lane) and which of them are kept.
struct Steps {
  alignas(64) int8_t codes[16][64];
  uint64_t kept[16] = {};
  Steps(const RowGroup& rows, int64_t word) {
    for (int64_t lane = 0; lane < kLanes; lane++) {
      int8_t columns[64];
      rows.codes_of_word(lane, word, columns);
      uint64_t mask = rows.kept_word(lane, word);
      for (int64_t step = 0; step < 16; step++) {
        std::memcpy(&codes[step][4 * lane], columns + 4 * step, 4);
        kept[step] |= (mask >> (4 * step) & 15) << (4 * lane);
      }
    }
  }
};

void append_dense_unit(Bytes8& out, const Steps& steps, int64_t first_step, int bits, int bias) {
  uint8_t unit[8 * 64];
  size_t size = 0;
  for (int64_t step = first_step; step < first_step + 8; step += bits == 8 ? 1 : 2, size += 64)
    for (size_t i = 0; i < 64; i++)
      unit[size + i] =
          bits == 8 ? uint8_t(steps.codes[step][i] + bias) : uint8_t((steps.codes[step][i] + bias) | (steps.codes[step + 1][i] + bias) << 4);
  out.insert(out.end(), unit, unit + size);
}

void append_bitmask_unit(Bytes8& out, const Steps& steps, int64_t first_step, int bits, int bias, int nibble_run) {
  uint8_t unit[64 + 8 * 64];
  std::memcpy(unit, &steps.kept[first_step], 64);
  uint8_t* at = unit + 64;
  for (int64_t step = first_step; step < first_step + 8; step++) {
    const int8_t* codes = steps.codes[step];
    if (bits == 8) {
      for_each_bit(steps.kept[step], [&](int i) { *at++ = uint8_t(codes[i] + bias); });
      continue;
    }
    for (int run = 0; run < 64; run += nibble_run) {
      uint64_t in_run = nibble_run == 64 ? steps.kept[step] : steps.kept[step] >> run & ((uint64_t(1) << nibble_run) - 1);
      int nibbles = 0;
      for_each_bit(in_run, [&](int i) {
        auto code = uint8_t(codes[run + i] + bias);
        if (nibbles++ % 2 == 0)
          *at++ = code & 15;
        else
          at[-1] |= uint8_t(code << 4);
      });
    }
  }
  out.insert(out.end(), unit, at);
}

// Slot k of four of lane r at byte 4 r + k.
void append_n16_unit(Bytes8& out, const RowGroup& rows, int64_t word, int slots) {
  uint8_t index[16][64] = {}, code[16][64] = {};  // a step for each slot: slots x 4 column groups / 4
  for (int64_t lane = 0; lane < kLanes; lane++) {
    uint64_t kept = rows.kept_word(lane, word);
    for (int group = 0; group < 4; group++) {
      int slot = group * slots;  // four to a step
      for_each_bit(kept >> (16 * group) & 0xffff, [&](int c) {
        LACUNA_ASSERT(slot < (group + 1) * slots);
        index[slot / 4][4 * lane + slot % 4] = uint8_t(c);
        code[slot / 4][4 * lane + slot % 4] = uint8_t(rows.code(lane, 64 * word + 16 * group + c));
        slot++;
      });
    }
  }
  for (int step = 0; step < slots; step += 2) {
    uint8_t nibbles[64];
    for (size_t i = 0; i < 64; i++) nibbles[i] = uint8_t(index[step][i] | index[step + 1][i] << 4);
    out.insert(out.end(), nibbles, nibbles + 64);
    out.insert(out.end(), code[step], code[step] + 64);
    out.insert(out.end(), code[step + 1], code[step + 1] + 64);
  }
}

// Base b is at b - b % 64 of plane (b % 64) / alignment, if there are planes.
struct WindowBases {
  int64_t alignment = 64;
  int64_t plane_stride = 0;  // 0: one plane, bases as they are
  int32_t offset_of(int64_t base) const { return int32_t(plane_stride == 0 ? base : base % 64 / alignment * plane_stride + base - base % 64); }
};

void append_window_steps(Bytes8& out, std::vector<int32_t>& offsets, const RowGroup& rows, int window, const WindowBases& bases) {
  std::vector<int32_t> columns[kLanes];
  for (int64_t lane = 0; lane < kLanes; lane++)
    for (int64_t word = 0; 64 * word < rows.weight().cols; word++)
      for_each_bit(rows.kept_word(lane, word), [&](int i) { columns[lane].push_back(int32_t(64 * word + i)); });
  size_t next[kLanes] = {};
  for (;;) {
    int64_t base = INT64_MAX;
    for (int64_t lane = 0; lane < kLanes; lane++)
      if (next[lane] < columns[lane].size()) base = std::min<int64_t>(base, columns[lane][next[lane]]);
    if (base == INT64_MAX) return;
    base -= base % bases.alignment;
    uint8_t index[64] = {}, code[64] = {};
    for (int64_t lane = 0; lane < kLanes; lane++)
      for (int64_t slot = 0; slot < 4 && next[lane] < columns[lane].size() && columns[lane][next[lane]] < base + window; slot++) {
        int64_t col = columns[lane][next[lane]++];
        index[4 * lane + slot] = uint8_t(col - base);
        code[4 * lane + slot] = uint8_t(rows.code(lane, col));
      }
    out.insert(out.end(), index, index + 64);
    out.insert(out.end(), code, code + 64);
    offsets.push_back(bases.offset_of(base));
  }
}

// Windows of 64 columns over one plane.
void append_plane_steps(Bytes8& out, std::vector<int32_t>& offsets, const RowGroup& rows, int64_t run) {
  RowGroupBits bits = row_group_bits(rows.weight().cols, [&](int64_t lane, int64_t w) { return rows.kept_word(lane, w); });
  walk_windows(bits, run, [&](int64_t base, const RowWords& taken) {
    uint8_t index[64] = {}, code[64] = {};
    for (int64_t lane = 0; lane < kLanes; lane++) {
      int64_t slot = 4 * lane;
      for_each_bit(taken[lane], [&](int i) { index[slot] = uint8_t(i), code[slot++] = uint8_t(rows.code(lane, base + i)); });
    }
    out.insert(out.end(), index, index + 64);
    out.insert(out.end(), code, code + 64);
    offsets.push_back(int32_t(base));
  });
}

// values [rows, groups]
bool exact_in_f16(const float* values, int64_t rows, int64_t groups) {
  std::atomic<bool> exact = true;
  parallel_for(values ? rows : 0, [&](int64_t r) {
    for (int64_t i = r * groups; i < (r + 1) * groups && exact.load(std::memory_order_relaxed); i++)
      if (f16_to_f32(f32_to_f16(values[i])) != values[i]) exact = false;
  });
  return exact;
}

struct Encoder {
  const WeightMatrix& weight;
  const Lane16Isa& isa;
  const Lane16Options& options;
  bool half_scales;
  WindowBases window_bases;

  // Uniform units with their scale groups, or window steps.
  void encode(const RowGroup& rows, Bytes8& out, std::vector<int32_t>& bases) const {
    if (options.format == Lane16Format::kWindow && options.run) return append_plane_steps(out, bases, rows, options.run);
    if (options.format == Lane16Format::kWindow) return append_window_steps(out, bases, rows, options.window, window_bases);
    if (options.format == Lane16Format::kN16) {
      for (int64_t u = 0; u < units(); u++) append_n16_unit(out, rows, u, options.slots);
      return;
    }
    int bias = options.bits == 4 ? 8 : isa.bias8;
    for (int64_t col = 0; col < units() * kUnitCols; col += 64) {
      Steps steps(rows, col / 64);
      for (int64_t half = 0; half < 2 && col + half * kUnitCols < units() * kUnitCols; half++) {
        int64_t first_col = col + half * kUnitCols;
        if (scaled_in_stream() && (weight.group ? first_col % weight.group == 0 : first_col == 0))
          append_scales(out, rows, weight.group ? first_col / weight.group : 0, half_scales);
        if (options.format == Lane16Format::kDense)
          append_dense_unit(out, steps, 8 * half, options.bits, bias);
        else
          append_bitmask_unit(out, steps, 8 * half, options.bits, isa.raw_bitmask ? 0 : bias, isa.nibble_run);
      }
    }
  }
  int64_t unit_cols() const { return options.format == Lane16Format::kN16 ? kUnitColsN16 : kUnitCols; }
  int64_t units() const {
    int64_t needed = (weight.cols + unit_cols() - 1) / unit_cols(), multiple = options.format == Lane16Format::kN16 ? 1 : isa.unit_multiple;
    return (needed + multiple - 1) / multiple * multiple;
  }
  bool scaled_in_stream() const { return weight.group != 0 || weight.minima; }
};

}  // namespace

int64_t Lane16Weight::size_bytes() const {
  return stream_begin.back() + int64_t((stream_begin.size() + unit_begin.size()) * 8 + (offsets.size() + excess.size() + scales.size()) * 4);
}

Lane16Weight pack_lane16(const WeightMatrix& weight, const Lane16Isa& isa, const Lane16Options& options) {
  int64_t groups = groups_of(weight), row_groups = (weight.rows + kLanes - 1) / kLanes;
  Lane16Weight out = {.rows = weight.rows, .cols = weight.cols, .group = weight.group, .minima = weight.minima != nullptr};
  out.half_scales = exact_in_f16(weight.scales, weight.rows, groups) && exact_in_f16(weight.minima, weight.rows, groups);
  bool window = options.format == Lane16Format::kWindow, gathers = window || options.format == Lane16Format::kN16;

  if (window) out.row_of = options.run ? rows_by_windows(weight, options.run) : rows_by_weight(weight, options.window);
  Encoder encoder = {weight, isa, options, out.half_scales, {}};
  if (window && options.window == 64 && isa.xor_windows) encoder.window_bases.alignment = 16;  // read sixteen bytes at a time
  LACUNA_ASSERT(!options.run || (options.window == 64 && options.run % 64 == 0 && weight.cols % options.run == 0 && !isa.xor_windows));
  if (window && !options.run && options.window == 64 && !isa.xor_windows && !options.balanced) {
    out.planes = 2;
    out.plane_stride = (weight.cols + 63) / 64 * 64 + 64;
    encoder.window_bases = {64 / out.planes, out.plane_stride};
  }
  std::vector<Bytes8> streams(static_cast<size_t>(row_groups));
  std::vector<std::vector<int32_t>> bases(static_cast<size_t>(row_groups));
  parallel_for(row_groups, [&](int64_t g) { encoder.encode(RowGroup(weight, g, out.row_of), streams[size_t(g)], bases[size_t(g)]); });

  out.stream_begin = {0};
  for (const Bytes8& stream : streams) out.stream_begin.push_back(out.stream_begin.back() + int64_t(stream.size()));
  out.stream = allocate(size_t(out.stream_begin.back() + kStreamSpare), false);
  std::memset(out.stream.get() + out.stream_begin.back(), 0, size_t(kStreamSpare));
  parallel_for(row_groups, [&](int64_t g) {
    if (!streams[size_t(g)].empty())
      std::memcpy(out.stream.get() + out.stream_begin[size_t(g)], streams[size_t(g)].data(), streams[size_t(g)].size());
    Bytes8().swap(streams[size_t(g)]);
  });

  if (window) {
    out.unit_begin = {0};
    for (const auto& b : bases) {
      out.offsets.insert(out.offsets.end(), b.begin(), b.end());
      out.unit_begin.push_back(int64_t(out.offsets.size()));
    }
  } else {
    out.units = encoder.units();
    for (int64_t u = 0; u < out.units; u++) out.offsets.push_back(int32_t(u * encoder.unit_cols()));
    out.unit_begin.assign(size_t(row_groups + 1), 0);
  }
  if (!encoder.scaled_in_stream()) out.scales.assign(size_t(row_groups * kLanes), 0.0f);
  int32_t x_zero = options.input_zero + (gathers && isa.unsigned_gather ? 128 : 0);
  if (x_zero != 0) out.excess.assign(size_t(row_groups * kLanes), 0);
  parallel_for(row_groups, [&](int64_t g) {
    RowGroup rows(weight, g, out.row_of);
    for (int64_t lane = 0; lane < kLanes; lane++) {
      if (!out.scales.empty()) out.scales[size_t(g * kLanes + lane)] = rows.scale(weight.scales, lane, 0, 1);
      for (int64_t word = 0; 64 * word < weight.cols && !out.excess.empty(); word++) {
        int8_t codes[64];
        rows.codes_of_word(lane, word, codes);
        out.excess[size_t(g * kLanes + lane)] += x_zero * std::accumulate(codes, codes + 64, 0);
      }
    }
  });
  return out;
}

}  // namespace lacuna::kernels
