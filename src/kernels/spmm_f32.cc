// The plain half of the f32 sparse times dense product: packing, tiling, threads. The format is described in inner/spmm_f32.h.
#include "kernels/spmm_f32.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <numeric>

#include "base/assert.h"
#include "base/cpu.h"
#include "base/parallel.h"
#include "kernels/inner/conv_f32.h"
#include "kernels/inner/store.h"
#include "kernels/support.h"
#include "sparse/bits.h"

namespace lacuna::kernels {

const SpmmF32Isa kSpmmF32Avx2 = {.name = "avx2",
                                 .vector_lanes = 8,
                                 .pairs_rows = false,
                                 .convert = nullptr,
                                 .tile = avx2::spmm_f32_tile,
                                 .copy_lanes = avx2::copy_lanes,
                                 .transpose = avx2::transpose};
const SpmmF32Isa kSpmmF32Avx512 = {.name = "avx512",
                                   .vector_lanes = 16,
                                   .pairs_rows = true,
                                   .convert = nullptr,
                                   .tile = avx512::spmm_f32_tile,
                                   .copy_lanes = avx512::copy_lanes,
                                   .transpose = avx512::transpose};
const SpmmF32Isa& best_spmm(const SpmmF32Isa& isa) {
  static const SpmmF32Isa indexed = [] {
    SpmmF32Isa of_amd = kSpmmF32Avx512;
    of_amd.tile = avx512::spmm_f32_tile_indexed;
    return of_amd;
  }();
  static const bool amd = cpu_vendor() == "AuthenticAMD";
  return amd && &isa == &kSpmmF32Avx512 ? indexed : isa;
}
const SpmmF32Isa kSpmmBf16 = {.name = "avx512_bf16",
                              .vector_lanes = 32,
                              .pairs_rows = true,
                              .convert = avx512_bf16::convert_panel,
                              .tile = avx512_bf16::spmm_bf16_tile,
                              .copy_lanes = avx512::copy_lanes,
                              .transpose = avx512::transpose};

namespace {

constexpr int64_t kMostGroupRows = 256;   // 64 KiB of sums
constexpr int64_t kMostRangeRows = 1024;  // of one task: its sums stay in L2

// Columns whose panel (256 bytes each) stays in L1 beside the sums; at few non-zeros per row and tile the sums are reloaded too often,
// so the tile grows. Tried with 48 KiB: on Granite Rapids 128 is best from 0 to 90 % zeros, 192 at 95 %; on Zen 5 160 at
// 90 %, which others take too. Tiles are made even.
int64_t columns_per_tile(int64_t cols, double density) {
  size_t l1 = cache_sizes().l1;
  int64_t base = l1 >= 40 * 1024 ? 128 : 96;
  int64_t wanted = density > 0.15 ? base : density > 0.07 ? base * 5 / 4 : density > 0.03 ? base * 3 / 2 : kMostTileCols;
  int64_t tiles = std::max<int64_t>((cols + wanted / 2) / wanted, 1);
  return std::min((cols + tiles - 1) / tiles, kMostTileCols);
}

struct RowInTile {
  int64_t row;  // within the group
  std::vector<int64_t> cols;
};

}  // namespace

SpmmMatrix::SpmmMatrix(const SpmmF32Isa& isa, int64_t rows, int64_t cols, const float* values, Store store)
    : isa_(best_spmm(isa)), rows_(rows), cols_(cols) {
  constexpr int64_t kUnit = 16;
  std::vector<int64_t> work(size_t((rows + kUnit - 1) / kUnit));
  parallel_for(int64_t(work.size()), [&](int64_t unit) {
    for (int64_t r = unit * kUnit; r < std::min(rows, (unit + 1) * kUnit); r++) {
      for (int64_t c = 0; c < cols; c += 64) work[size_t(unit)] += count_ones(nonzero_bits(values + r * cols + c, std::min<int64_t>(64, cols - c)));
      work[size_t(unit)] += 4;
    }
  });
  int64_t total = std::accumulate(work.begin(), work.end(), int64_t(0)) - 4 * rows;
  tile_cols_ = columns_per_tile(cols, rows * cols > 0 ? double(total) / double(rows * cols) : 0);
  // More rows find more of their number of non-zeros to go with; more groups keep more threads busy where there are few panels.
  int64_t threads = thread_count(), fewest_rows = store == Store::kSingle && threads <= 4 ? 128 : 32;
  int64_t parts = std::max<int64_t>({(rows + kMostGroupRows - 1) / kMostGroupRows, std::min(std::max<int64_t>(4, threads), rows / fewest_rows), 1});
  std::vector<int64_t> bounds = balanced_cut(work, parts);
  for (size_t i = 0; i + 1 < bounds.size(); i++)
    for (int64_t first = bounds[i] * kUnit; first < std::min(bounds[i + 1] * kUnit, rows); first += kMostGroupRows)
      groups_.push_back({first, std::min({kMostGroupRows, bounds[i + 1] * kUnit - first, rows - first})});
  std::vector<Part> packed(groups_.size() * size_t(tiles()));
  parallel_for(int64_t(packed.size()), [&](int64_t i) {
    int64_t first_col = i % tiles() * tile_cols_;
    packed[size_t(i)] = pack_tile(groups_[size_t(i / tiles())], first_col, std::min(tile_cols_, cols - first_col), values, store);
  });
  starts_.push_back({0, 0, 0});
  for (const Part& part : packed) {
    TileStart last = starts_.back();
    starts_.push_back({last.run + int64_t(part.runs.size()), last.meta + int64_t(part.meta.size()), last.value + int64_t(part.values.size())});
  }
  runs_.resize(size_t(starts_.back().run)), meta_.resize(size_t(starts_.back().meta) + 2), values_.resize(size_t(starts_.back().value));
  parallel_for(int64_t(packed.size()), [&](int64_t i) {
    Part part = std::move(packed[size_t(i)]);
    const TileStart& start = starts_[size_t(i)];
    std::copy(part.runs.begin(), part.runs.end(), runs_.begin() + start.run);
    std::copy(part.meta.begin(), part.meta.end(), meta_.begin() + start.meta);
    std::copy(part.values.begin(), part.values.end(), values_.begin() + start.value);
  });
}

SpmmMatrix::Part SpmmMatrix::pack_tile(const RowGroup& group, int64_t first_col, int64_t cols, const float* values, Store store) const {
  Part out;
  auto value = [&](int64_t row, int64_t col) { return values[(group.first_row + row) * cols_ + first_col + col]; };
  std::vector<RowInTile> units;
  int64_t blocked = store != Store::kSingle ? group.rows / kBlockRows * kBlockRows : 0;  // the rows after them are packed one by one
  auto add_unit = [&](int64_t row, int64_t rows) {
    RowInTile unit = {row, {}};
    for (int64_t c = 0; c < cols; c += 64) {
      int64_t width = std::min<int64_t>(64, cols - c);
      uint64_t any = store == Store::kDense ? ~uint64_t(0) >> (64 - width) : 0;
      for (int64_t i = 0; i < rows; i++) any |= nonzero_bits(values + (group.first_row + row + i) * cols_ + first_col + c, width);
      for (; any; any &= any - 1) unit.cols.push_back(c + std::countr_zero(any));
    }
    if (!unit.cols.empty() || first_col == 0 || first_col + cols == cols_) units.push_back(std::move(unit));
  };
  bool bf16 = isa_.convert != nullptr;
  int64_t column_bytes = kPanelLanes * (bf16 ? 2 : 4), per_entry = bf16 ? 2 : 1;
  auto add_entry = [&](const RowInTile& unit, size_t i, int64_t rows) {
    if (!bf16) {
      bool repeats = unit.cols[i] < 0;
      out.meta.push_back(repeats ? out.meta[out.meta.size() - 2] : uint16_t(unit.cols[i] * column_bytes));
      for (int64_t r = 0; r < rows; r++) out.values.push_back(repeats ? 0 : value(unit.row + r, unit.cols[i]));
      return;
    }
    bool pair = i + 1 < unit.cols.size();
    int64_t first = unit.cols[i], second = pair ? unit.cols[i + 1] : first;
    out.meta.insert(out.meta.end(), {uint16_t(first * column_bytes), uint16_t(second * column_bytes)});
    uint32_t both = f32_to_bf16(value(unit.row, first)) | uint32_t(pair ? f32_to_bf16(value(unit.row, second)) : 0) << 16;
    out.values.push_back(std::bit_cast<float>(both));
  };
  auto entries = [&](const RowInTile& unit) { return (int64_t(unit.cols.size()) + per_entry - 1) / per_entry; };
  auto by_count = [&](const RowInTile& a, const RowInTile& b) { return entries(a) < entries(b); };
  auto add_step = [&](std::span<const RowInTile> step, uint16_t rows_per_step) {
    uint16_t count = uint16_t(entries(step[0]));
    if (out.runs.empty() || out.runs.back().count != count || out.runs.back().rows_per_step != rows_per_step)
      out.runs.push_back({count, rows_per_step, 0});
    out.runs.back().steps++;
    for (const RowInTile& unit : step) out.meta.push_back(uint16_t(unit.row));
    for (size_t i = 0; i < count; i++)
      for (const RowInTile& unit : step) add_entry(unit, i * size_t(per_entry), rows_per_step == kBlockRows ? kBlockRows : 1);
  };

  for (int64_t row = 0; row < blocked; row += kBlockRows) add_unit(row, kBlockRows);
  std::stable_sort(units.begin(), units.end(), by_count);
  for (const RowInTile& unit : units) add_step({&unit, 1}, kBlockRows);

  units.clear();
  for (int64_t row = blocked; row < group.rows; row++) add_unit(row, 1);
  std::stable_sort(units.begin(), units.end(), by_count);
  std::vector<RowInTile> singles;
  for (size_t i = 0; i < units.size();) {
    if (isa_.pairs_rows && i + 1 < units.size() && entries(units[i]) == entries(units[i + 1]))
      add_step({&units[i], 2}, 2), i += 2;
    else
      singles.push_back(std::move(units[i++]));
  }
  // A single row waits for its few sums. So rows of nearly as many non-zeros are paired too: the shorter one repeats its last column with weight 0.
  constexpr int64_t kMostRepeats = 4;
  for (size_t i = 0; i < singles.size();) {
    bool pair = isa_.pairs_rows && !isa_.convert && i + 1 < singles.size() && entries(singles[i]) > 0 &&
                entries(singles[i + 1]) - entries(singles[i]) <= kMostRepeats;
    if (pair) {
      singles[i].cols.resize(singles[i + 1].cols.size(), -1);
      add_step({&singles[i], 2}, 2), i += 2;
    } else {
      add_step({&singles[i], 1}, 1), i++;
    }
  }
  return out;
}

SpmmTile SpmmMatrix::tile(int64_t group, int64_t tile) const {
  const TileStart& start = starts_[size_t(group * tiles() + tile)];
  const TileStart& end = starts_[size_t(group * tiles() + tile + 1)];
  return {runs_.data() + start.run, end.run - start.run, meta_.data() + start.meta, values_.data() + start.value, tile == 0, {}};
}

int64_t SpmmMatrix::size_bytes() const {
  return int64_t(runs_.size() * sizeof(SpmmRun) + meta_.size() * sizeof(uint16_t) + values_.size() * sizeof(float) +
                 starts_.size() * sizeof(TileStart));
}

namespace {

// Groups [first, last) of one task. Splitting rows repeats the packing of the panel, so rows are split only as far as the threads need.
std::vector<int64_t> range_bounds(const SpmmMatrix& matrix, int64_t panels) {
  const auto& groups = matrix.groups();
  int64_t threads = thread_count(), fewest = (matrix.rows() + kMostRangeRows - 1) / kMostRangeRows, best = fewest;
  double best_use = 0;
  for (int64_t ranges = fewest; ranges <= std::min<int64_t>(int64_t(groups.size()), std::max(fewest, 4 * threads)); ranges++) {
    int64_t tasks = ranges * panels, rounds = (tasks + threads - 1) / threads;
    double use = double(tasks) / double(rounds * threads);
    if (use > best_use + 0.05) best_use = use, best = ranges;
    if (use >= 0.9) break;
  }
  std::vector<int64_t> work;
  for (size_t g = 0; g < groups.size(); g++) work.push_back(groups[g].rows);
  return balanced_cut(work, best);
}

// Some panels: tokens [first_token, first_token + tokens), one panel or several of 64.
struct Turn {
  int64_t first_token, tokens;
  int64_t panels() const { return (tokens + kPanelLanes - 1) / kPanelLanes; }
};

// Tokens cut into panels of whole vectors, as even as can be, one a turn.
std::vector<Turn> single_panels(int64_t tokens, int64_t vector_lanes) {
  int64_t vectors = (tokens + vector_lanes - 1) / vector_lanes, panels = (tokens + kPanelLanes - 1) / kPanelLanes;
  std::vector<Turn> turns;
  for (int64_t p = 1, first = 0; p <= panels; p++) {
    int64_t end = std::min(vectors * p / panels * vector_lanes, tokens);
    turns.push_back({first, end - first});
    first = end;
  }
  return turns;
}

// The sums of some row groups for the panels of a turn.
struct Sums {
  int64_t first_group, last_group, first_row, rows;
  float* sums;  // [rows][64] per panel
  int64_t pitch() const { return rows * kPanelLanes; }
};

Sums sums_of(const SpmmMatrix& matrix, int64_t first_group, int64_t last_group, int64_t panels, ScratchSlot slot) {
  const auto &first = matrix.groups()[size_t(first_group)], &last = matrix.groups()[size_t(last_group - 1)];
  int64_t rows = last.first_row + last.rows - first.first_row;
  return {first_group, last_group, first.first_row, rows, thread_scratch_of<float>(slot, panels * rows * kPanelLanes)};
}

// Whether the last tile makes results of the sums, and keeps them in their place.
enum class Finishing { kNot, kStores, kKeeps };
// One column tile times the panels, `panel_pitch` floats apart.
void add_tile(const SpmmMatrix& matrix, const PanelSource& source, int64_t tile_index, const Turn& turn, const float* panel, int64_t panel_pitch,
              const Sums& to, Finishing finishing) {
  LACUNA_ASSERT(finishing == Finishing::kNot || !matrix.isa().convert);
  bool finish_now = finishing != Finishing::kNot && tile_index + 1 == matrix.tiles();
  for (int64_t p = 0; p < turn.panels(); p++)
    for (int64_t g = to.first_group; g < to.last_group; g++) {
      const SpmmMatrix::RowGroup& group = matrix.groups()[size_t(g)];
      int64_t first_token = turn.first_token + p * kPanelLanes, count = std::min(turn.tokens - p * kPanelLanes, kPanelLanes);
      SpmmTile tile = matrix.tile(g, tile_index);
      SpmmTile::Finish finish;
      if (finish_now) {
        finish = source.finish(first_token, count, group.first_row);
        finish.keep = finishing == Finishing::kKeeps;
        tile.finish = &finish;
      }
      matrix.isa().tile(tile, panel + p * panel_pitch, to.sums + p * to.pitch() + (group.first_row - to.first_row) * kPanelLanes, count);
    }
}

// All column tiles, whose panels are packed.
void add_packed(const SpmmMatrix& matrix, const PanelSource& source, const Turn& turn, const Sums& to, Finishing finishing) {
  int64_t panel_pitch = matrix.tile_cols() * kPanelLanes;
  float* packed = thread_scratch_of<float>(ScratchSlot::kTile, turn.panels() * panel_pitch);
  for (int64_t t = 0; t < matrix.tiles(); t++) {
    bool any = t == 0;
    for (int64_t g = to.first_group; g < to.last_group && !any; g++) any = matrix.tile(g, t).run_count > 0;
    if (!any) continue;
    int64_t cols = std::min(matrix.tile_cols(), matrix.cols() - t * matrix.tile_cols());
    source.pack(turn.first_token, turn.tokens, t * matrix.tile_cols(), cols, panel_pitch, packed);
    if (auto convert = matrix.isa().convert)
      for (int64_t p = 0; p < turn.panels(); p++) convert(packed + p * panel_pitch, cols, packed + p * panel_pitch);
    add_tile(matrix, source, t, turn, packed, panel_pitch, to, finishing);
  }
}

void multiply_range(const SpmmMatrix& matrix, const PanelSource& source, const Turn& turn, int64_t first_group, int64_t last_group) {
  Sums sums = sums_of(matrix, first_group, last_group, turn.panels(), ScratchSlot::kTileSecond);
  bool finishes = source.finishes(turn.first_token, turn.tokens);
  add_packed(matrix, source, turn, sums, finishes ? Finishing::kStores : Finishing::kNot);
  if (!finishes) source.store(turn.first_token, turn.tokens, sums.first_row, sums.rows, sums.pitch(), sums.sums);
}

void multiply_links(std::span<const ChainLink> links, const Turn& turn, std::span<std::atomic<double>> seconds) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin = seconds.empty() ? Clock::time_point() : Clock::now();
  LACUNA_ASSERT(turn.panels() == 1);
  Sums before = {};
  for (size_t i = 0; i < links.size(); i++) {
    const SpmmMatrix& matrix = *links[i].matrix;
    const ChainSource& source = *links[i].source;
    bool last = i + 1 == links.size(), finishes = source.finishes(turn.first_token, turn.tokens);
    Finishing finishing = !finishes ? Finishing::kNot : last ? Finishing::kStores : Finishing::kKeeps;
    Sums sums = sums_of(matrix, 0, int64_t(matrix.groups().size()), 1, i % 2 ? ScratchSlot::kTileThird : ScratchSlot::kTileSecond);
    if (i == 0)
      add_packed(matrix, source, turn, sums, finishing);
    else
      for (int64_t t = 0; t < matrix.tiles(); t++)
        add_tile(matrix, source, t, turn, before.sums + t * matrix.tile_cols() * kPanelLanes, before.pitch(), sums, finishing);
    if (!finishes && last)
      source.store(turn.first_token, turn.tokens, 0, sums.rows, sums.pitch(), sums.sums);
    else if (!finishes)
      source.store_and_keep(turn.first_token, turn.tokens, 0, sums.rows, sums.pitch(), sums.sums);
    before = sums;
    if (seconds.empty()) continue;
    Clock::time_point end = Clock::now();
    seconds[i] += std::chrono::duration<double>(end - begin).count();
    begin = end;
  }
}

// Panels of 64 handled at a time: as many as leave every thread a few turns and keep the sums in L2.
int64_t panels_per_turn(const PanelSource& source, int64_t rows, int64_t tokens) {
  constexpr int64_t kMostPanels = 8, kMostSums = 512 << 10;
  if (!source.streams()) return 1;
  return std::clamp<int64_t>(std::min(tokens / kPanelLanes / (4 * thread_count()), kMostSums / (rows * kPanelLanes * 4)), 1, kMostPanels);
}

std::vector<Turn> turns_of(const SpmmMatrix& matrix, const PanelSource& source, int64_t rows, int64_t tokens) {
  std::vector<Turn> turns;
  if (int64_t panels = panels_per_turn(source, rows, tokens); panels > 1) {
    for (int64_t first = 0; first < tokens; first += panels * kPanelLanes) turns.push_back({first, std::min(panels * kPanelLanes, tokens - first)});
    return turns;
  }
  return single_panels(tokens, matrix.isa().vector_lanes);
}

}  // namespace

void multiply(const SpmmMatrix& matrix, const PanelSource& source, int64_t tokens) {
  if (tokens == 0 || matrix.rows() == 0) return;
  std::vector<Turn> turns = turns_of(matrix, source, std::min(matrix.rows(), kMostRangeRows), tokens);
  std::vector<int64_t> ranges = range_bounds(matrix, int64_t(turns.size()));
  int64_t range_count = int64_t(ranges.size()) - 1, turn_count = int64_t(turns.size());
  // Ranges outermost: threads that work at the same time share the weights of one range.
  parallel_for(range_count * turn_count, [&](int64_t task) {
    size_t range = size_t(task / turn_count);
    multiply_range(matrix, source, turns[size_t(task % turn_count)], ranges[range], ranges[range + 1]);
  });
}

void multiply_chain(std::span<const ChainLink> links, int64_t tokens, std::span<std::atomic<double>> seconds) {
  if (tokens == 0) return;
  std::vector<Turn> turns = single_panels(tokens, links[0].matrix->isa().vector_lanes);
  parallel_for(int64_t(turns.size()), [&](int64_t task) { multiply_links(links, turns[size_t(task)], seconds); });
}

bool chain_fits(int64_t tokens, int64_t most_rows, int threads) {
  int64_t panels = (tokens + kPanelLanes - 1) / kPanelLanes, rounds = (panels + threads - 1) / threads;
  return most_rows <= kMostRangeRows && double(panels) >= 0.85 * double(rounds * threads);
}

}  // namespace lacuna::kernels
