// The layout is described in panel.h.
#include "kernels/integer/panel_pack.h"

#include <algorithm>
#include <cstring>

#include "base/buffer.h"
#include "base/cpu.h"
#include "base/parallel.h"

namespace lacuna::kernels {
namespace {

constexpr int64_t kOutputRows = 16;

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

int8_t code_at(const WeightMatrix& weight, int64_t row, int64_t col) {
  bool kept = row < weight.rows && col < weight.cols && (!weight.mask || weight.mask->kept(row, col));
  return kept ? weight.codes[row * weight.cols + col] : int8_t(0);
}

// A tile's panel should stay in three quarters of the L1 cache, but a row should find some quads in it: its sums are loaded and stored
// once per tile. Offsets of 16 bits allow 64 KiB.
int64_t choose_tile_cols(const WeightMatrix& weight, int64_t panel_tokens) {
  constexpr int64_t kWantedWeights = 48;
  size_t l1 = cache_sizes().l1 ? cache_sizes().l1 : 32 << 10;
  int64_t kept = weight.mask ? weight.mask->count_kept() : weight.rows * weight.cols;
  double per_col = double(std::max<int64_t>(kept, 1)) / double(std::max<int64_t>(weight.rows * weight.cols, 1));
  int64_t most = (64 << 10) / panel_tokens;
  int64_t wanted = std::clamp<int64_t>(std::max(int64_t(l1) * 3 / 4 / panel_tokens, int64_t(double(kWantedWeights) / per_col)), 64, most);
  int64_t tiles = std::max<int64_t>((weight.cols + wanted - 1) / wanted, 1);
  return round_up(std::max<int64_t>((weight.cols + tiles - 1) / tiles, 1), 4);
}

// The columns of [begin, end) that a row group keeps: single ones, or the first of each aligned four.
std::vector<int64_t> columns_of(const WeightMatrix& weight, const PanelOptions& options, int64_t first_row, int64_t begin, int64_t end) {
  std::vector<int64_t> columns;
  int64_t width = options.aligned ? 4 : 1, last_row = std::min(first_row + options.group_rows, weight.rows);
  for (int64_t col = begin; col < end; col += width) {
    bool kept = false;
    for (int64_t r = first_row; r < last_row && !kept; r++)
      for (int64_t c = col; c < std::min(col + width, weight.cols); c++) kept |= !weight.mask || weight.mask->kept(r, c);
    if (kept) columns.push_back(col);
  }
  return columns;
}

void append_offset(std::vector<uint8_t>& out, int64_t offset) {
  LACUNA_ASSERT(offset < 65536);
  out.push_back(uint8_t(offset)), out.push_back(uint8_t(offset >> 8));
}

// Appends the quads of a row group in a tile and returns how many.
int64_t append_quads(std::vector<uint8_t>& out, const WeightMatrix& weight, const PanelOptions& options, int64_t first_row, int64_t begin, int64_t end,
                     int64_t panel_tokens) {
  std::vector<int64_t> columns = columns_of(weight, options, first_row, begin, end);
  size_t step = options.aligned ? 1 : 4;
  for (size_t i = 0; i < columns.size(); i += step) {
    for (size_t k = i; k < i + step; k++) append_offset(out, k < columns.size() ? (columns[k] - begin) * panel_tokens : 0);
    for (int64_t r = first_row; r < first_row + options.group_rows; r++)
      for (size_t k = 0; k < 4; k++) {
        bool present = options.aligned || i + k < columns.size();
        int64_t col = options.aligned ? columns[i] + int64_t(k) : present ? columns[i + k] : 0;
        out.push_back(present ? uint8_t(code_at(weight, r, col)) : uint8_t(0));
      }
  }
  return int64_t((columns.size() + step - 1) / step);
}

}  // namespace

int64_t PanelWeight::rows_of_chunk(int64_t chunk) const { return std::min(chunk_rows, round_up(rows - chunk * chunk_rows, kOutputRows)); }

int64_t PanelWeight::size_bytes() const {
  return stream_begin.back() +
         int64_t((stream_begin.size() + quads_begin.size()) * 8 + quads.size() * 2 + (excess.size() + scales.size()) * 4);
}

PanelWeight pack_panels(const WeightMatrix& weight, const PanelIsa& isa, const PanelOptions& options) {
  PanelWeight out = {.rows = weight.rows, .cols = weight.cols, .options = options};
  out.tile_cols = choose_tile_cols(weight, isa.tokens);
  out.tiles = std::max<int64_t>((weight.cols + out.tile_cols - 1) / out.tile_cols, 1);
  out.chunk_rows = weight.rows >= 1024 ? 128 : 64;
  int64_t units = out.chunks() * out.tiles;
  std::vector<std::vector<uint8_t>> streams(static_cast<size_t>(units));
  std::vector<std::vector<uint16_t>> quads(static_cast<size_t>(units));
  parallel_for(units, [&](int64_t u) {
    int64_t chunk = u / out.tiles, begin = u % out.tiles * out.tile_cols, end = std::min(begin + out.tile_cols, weight.cols);
    int64_t first = chunk * out.chunk_rows, last = first + out.rows_of_chunk(chunk);
    for (int64_t r = first; r < last; r += options.group_rows)
      quads[size_t(u)].push_back(uint16_t(append_quads(streams[size_t(u)], weight, options, r, begin, end, isa.tokens)));
  });
  out.stream_begin = out.quads_begin = {0};
  for (int64_t u = 0; u < units; u++) {
    out.stream_begin.push_back(out.stream_begin.back() + int64_t(streams[size_t(u)].size()));
    out.quads_begin.push_back(out.quads_begin.back() + int64_t(quads[size_t(u)].size()));
    out.quads.insert(out.quads.end(), quads[size_t(u)].begin(), quads[size_t(u)].end());
  }
  out.stream = allocate(size_t(out.stream_begin.back()), false);
  for (size_t u = 0; u < size_t(units); u++)
    if (!streams[u].empty()) std::memcpy(out.stream.get() + out.stream_begin[u], streams[u].data(), streams[u].size());

  size_t padded_rows = size_t(round_up(weight.rows, kOutputRows));
  out.scales.assign(padded_rows, 0.0f);
  std::copy_n(weight.scales, weight.rows, out.scales.begin());
  if (isa.unsigned_x) out.excess.assign(padded_rows, 0);
  for (int64_t r = 0; r < weight.rows && isa.unsigned_x; r++)
    for (int64_t c = 0; c < weight.cols; c++) out.excess[size_t(r)] += 128 * code_at(weight, r, c);
  return out;
}

}  // namespace lacuna::kernels
