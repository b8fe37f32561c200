#include "sparse/select.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

#include "base/parallel.h"

namespace lacuna {
namespace {

// Cuts a matrix into tiles of whole rows of about 2^18 scores.
struct RowTiles {
  int64_t rows, rows_per_tile, count;
  explicit RowTiles(ConstMatrixRef m) : rows(m.rows), rows_per_tile(std::max<int64_t>(1, (int64_t(1) << 18) / std::max<int64_t>(1, m.cols))) {
    count = (rows + rows_per_tile - 1) / rows_per_tile;
  }
  int64_t first(int64_t tile) const { return tile * rows_per_tile; }
  int64_t end(int64_t tile) const { return std::min(rows, first(tile) + rows_per_tile); }
};

CutCount count_rows(Cut cut, ConstMatrixRef scores, int64_t first, int64_t end) {
  CutCount n;
  for (int64_t r = first; r < end; r++) {
    uint32_t above = 0, equal = 0;  // a row is shorter than 2^32; narrow sums are vectorised
    for (float score : scores.row(r)) {
      uint32_t key = order_key(score);
      above += key > cut.key;
      equal += key == cut.key;
    }
    n.above += above;
    n.equal += equal;
  }
  return n;
}

// Bit i is byte i of `bytes`, each 0 or 1.
uint64_t gather_bits(const std::array<uint8_t, 64>& bytes) {
  uint64_t out = 0;
  for (size_t i = 0; i < 8; i++) {
    uint64_t eight;
    std::memcpy(&eight, bytes.data() + 8 * i, 8);
    out |= (eight * 0x0102040810204080u >> 56) << (8 * i);
  }
  return out;
}

// Keeps what is above the cut and the first `ties` equal to it; returns the ties used.
int64_t keep_row(Cut cut, std::span<const float> scores, std::span<uint64_t> mask) {
  int64_t used = 0;
  std::array<uint8_t, 64> is_above{}, is_equal{};
  for (size_t w = 0; w < mask.size(); w++) {
    size_t count = std::min<size_t>(64, scores.size() - w * 64);
    if (count < 64) is_above.fill(0), is_equal.fill(0);
    for (size_t i = 0; i < count; i++) {
      uint32_t key = order_key(scores[w * 64 + i]);
      is_above[i] = key > cut.key;
      is_equal[i] = key == cut.key;
    }
    uint64_t above = gather_bits(is_above), equal = gather_bits(is_equal);
    for (; equal && used < cut.ties; equal &= equal - 1, used++) above |= equal & -equal;
    mask[w] = above;
  }
  return used;
}

}  // namespace

void CutFinder::add(ConstMatrixRef scores) {
  RowTiles tiles(scores);
  std::mutex merge;
  parallel_for(tiles.count, [&](int64_t tile) {
    std::vector<uint32_t> bins(kBins);
    for (int64_t r = tiles.first(tile); r < tiles.end(tile); r++)
      for (float score : scores.row(r)) {
        uint32_t key = order_key(score);
        if (pass_ == 0)
          bins[key >> 16]++;
        else if (key >> 16 == upper_)
          bins[key & 0xffff]++;
      }
    std::lock_guard lock(merge);
    for (size_t i = 0; i < kBins; i++) bins_[i] += bins[i];
  });
}

void CutFinder::end_pass() {
  LACUNA_ASSERT(pass_ < kPasses && left_ >= 0);
  size_t bin = kBins - 1;
  while (bin > 0 && bins_[bin] < left_) left_ -= bins_[bin--];
  LACUNA_ASSERT(bins_[bin] >= left_);
  if (pass_++ == 0)
    upper_ = uint32_t(bin);
  else
    cut_ = {upper_ << 16 | uint32_t(bin), left_};
  std::fill(bins_.begin(), bins_.end(), 0);
}

CutCount count_at(Cut cut, ConstMatrixRef scores) {
  RowTiles tiles(scores);
  std::vector<CutCount> counts(size_t(tiles.count));
  parallel_for(tiles.count, [&](int64_t tile) { counts[size_t(tile)] = count_rows(cut, scores, tiles.first(tile), tiles.end(tile)); });
  CutCount all;
  for (CutCount c : counts) all.above += c.above, all.equal += c.equal;
  return all;
}

Mask keep_best(ConstMatrixRef scores, int64_t kept) {
  LACUNA_ASSERT(kept >= 0 && kept <= scores.rows * scores.cols);
  CutFinder finder(kept);
  for (int pass = 0; pass < CutFinder::kPasses; pass++) {
    finder.add(scores);
    finder.end_pass();
  }
  // Ties go to the lower index: each tile must know how many the tiles before it have taken.
  Cut cut = finder.cut();
  RowTiles tiles(scores);
  std::vector<int64_t> ties(size_t(tiles.count) + 1, 0);
  parallel_for(tiles.count, [&](int64_t tile) { ties[size_t(tile) + 1] = count_rows(cut, scores, tiles.first(tile), tiles.end(tile)).equal; });
  for (size_t t = 0; t < size_t(tiles.count); t++) ties[t + 1] += ties[t];
  Mask mask(scores.rows, scores.cols, false);
  parallel_for(tiles.count, [&](int64_t tile) {
    Cut own{cut.key, std::max<int64_t>(0, cut.ties - ties[size_t(tile)])};
    for (int64_t r = tiles.first(tile); r < tiles.end(tile); r++) own.ties -= keep_row(own, scores.row(r), mask.mutable_row(r));
  });
  return mask;
}

}  // namespace lacuna
