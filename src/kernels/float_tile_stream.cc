#include "kernels/float_tile_stream.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/support.h"
#include "sparse/bits.h"

namespace lacuna::kernels {
namespace {

TileValues values_of(DType type) { return type == DType::kF16 ? TileValues::kF16 : type == DType::kBF16 ? TileValues::kBF16 : TileValues::kF32; }
int64_t bytes_of(TileValues type) { return type == TileValues::kF32 ? 4 : 2; }

}  // namespace

// Sixteen rows of a chunk's columns, beyond the weight empty.
struct TileStream::Chunk {
  float values[kGroupRows][kChunkCols] = {};
  uint32_t kept[kGroupRows] = {};  // bit: column

  Chunk(const WeightMatrix& weight, int64_t first_row, int64_t first_col, bool bitmask) {
    int64_t cols = std::min(kChunkCols, weight.cols - first_col);
    for (int64_t r = 0; r < std::min(kGroupRows, weight.rows - first_row); r++) {
      std::copy_n(weight.values + (first_row + r) * weight.cols + first_col, cols, values[r]);
      kept[r] = bitmask && weight.mask ? uint32_t(bits_at(weight.mask->row(first_row + r), first_col, cols)) : ~uint32_t(0) >> (kChunkCols - cols);
    }
  }
  int64_t count() const {
    int64_t n = 0;
    for (uint32_t row : kept) n += count_ones(row);
    return n;
  }
};

TileStream::TileStream(DType type, const WeightMatrix& weight, bool bitmask, bool ready)
    : type_(values_of(type)), groups_((weight.rows + kGroupRows - 1) / kGroupRows), chunks_((weight.cols + kChunkCols - 1) / kChunkCols) {
  int64_t parts = pairs() * panels() * 2;
  starts_.assign(size_t(parts + 1), 0), mask_starts_.assign(size_t(parts), 0);
  auto group_of = [&](int64_t part) { return part / 2 / panels() * 2 + part % 2; };
  auto chunks_of = [&](int64_t part) { return has(group_of(part)) ? chunks(part / 2 % panels()) : 0; };
  auto for_each_chunk = [&](int64_t part, auto&& visit) {
    int64_t first = part / 2 % panels() * kPanelChunks;
    for (int64_t c = first; c < first + chunks_of(part); c++) visit(Chunk(weight, group_of(part) * kGroupRows, c * kChunkCols, bitmask));
  };
  parallel_for(parts, [&](int64_t part) {
    int64_t values = bitmask ? 0 : chunks_of(part) * kChunkValues;
    if (bitmask) for_each_chunk(part, [&](const Chunk& chunk) { values += chunk.count(); });
    starts_[size_t(part + 1)] = values * bytes_of(type_);
  });
  std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
  int64_t words = 0;
  for (int64_t part = 0; part < parts && bitmask; words += chunks_of(part++) * kChunkMaskWords) mask_starts_[size_t(part)] = words;
  masks_.resize(size_t(words));
  values_ = allocate(size_t(starts_.back() + 64), false);  // on huge pages; expand_tiles reads beyond them
  std::memset(values_.get() + starts_.back(), 0, 64);
  parallel_for(parts, [&](int64_t part) {
    std::byte* out = values_.get() + starts_[size_t(part)];
    uint32_t* masks = bitmask ? masks_.data() + mask_starts_[size_t(part)] : nullptr;
    for_each_chunk(part, [&](const Chunk& chunk) { write_chunk(chunk, masks, out); });
  });
  if (!ready) return;
  auto tiles = allocate(size_t(groups_ * group_bytes()), false);
  parallel_for(groups_, [&](int64_t group) {
    for (int64_t panel = 0; panel < panels(); panel++) {
      size_t at = size_t((group / 2 * panels() + panel) * 2 + group % 2);
      amx_bf16::expand_tiles(type_, values_.get() + starts_[at], masks_.empty() ? nullptr : masks_.data() + mask_starts_[at], chunks(panel),
                             reinterpret_cast<uint8_t*>(tiles.get() + tiles_at(group, panel)));
    }
  });
  tiles_ = tiles, values_ = nullptr, masks_ = {};
}

std::span<const std::byte> TileStream::bytes(int64_t pair, int64_t panel) const {
  if (tiles_) return {tiles_.get() + tiles_at(2 * pair, panel), size_t(chunks(panel) * parts() * kFloatTile)};  // of the first; the second is far
  size_t at = size_t((pair * panels() + panel) * 2);
  return {values_.get() + starts_[at], size_t(starts_[at + 2] - starts_[at])};
}

TileStream::Tiles TileStream::expand(int64_t pair, int64_t panel, uint8_t* scratch) const {
  bool both = has(2 * pair + 1);
  if (tiles_) {
    auto ready = [&](int64_t group) { return reinterpret_cast<const uint8_t*>(tiles_.get() + tiles_at(group, panel)); };
    return {{ready(2 * pair), ready(both ? 2 * pair + 1 : 2 * pair)}};
  }
  uint8_t* tiles[2] = {scratch, scratch + kPanelChunks * parts() * kFloatTile};
  for (int64_t i = 0; i < (both ? 2 : 1); i++) {
    size_t at = size_t((pair * panels() + panel) * 2 + i);
    const uint32_t* masks = masks_.empty() ? nullptr : masks_.data() + mask_starts_[at];
    amx_bf16::expand_tiles(type_, values_.get() + starts_[at], masks, chunks(panel), tiles[i]);
  }
  return {{tiles[0], both ? tiles[1] : tiles[0]}};
}

void TileStream::multiply(int64_t first, int64_t last, const FloatTilesCall& of_tokens) const {
  uint8_t* scratch = thread_scratch_of<uint8_t>(ScratchSlot::kTileSecond, 2 * kPanelChunks * parts() * kFloatTile);
  for (int64_t panel = 0; panel < panels(); panel++)
    for (int64_t pair = first; pair < last; pair++) {
      Tiles expanded = expand(pair, panel, scratch);
      std::span<const std::byte> ahead;
      if (pair + 1 < last)
        ahead = bytes(pair + 1, panel);
      else if (panel + 1 < panels())
        ahead = bytes(first, panel + 1);
      FloatTilesCall call = of_tokens;
      call.w_parts = parts(), call.chunk_offsets += panel * kPanelChunks, call.chunks = chunks(panel);
      call.tiles[0] = expanded.of_group[0], call.tiles[1] = expanded.of_group[1];
      call.sums += (pair - first) * 2 * kGroupRows, call.add = panel > 0;
      call.ahead = ahead.data(), call.ahead_bytes = int64_t(ahead.size());
      amx_bf16::multiply_tiles(call);
    }
}

// Of columns i and i + 16 of all rows in turn, as expand_tiles reads them; what is not kept has a place only without `masks`.
void TileStream::write_chunk(const Chunk& chunk, uint32_t*& masks, std::byte*& out) const {
  for (int64_t i = 0; i < kChunkMaskWords; i++) {
    float values[2 * kGroupRows];
    int64_t count = 0;
    uint32_t mask = 0;
    for (int64_t j = 0; j < 2 * kGroupRows; j++) {
      bool as_tile = type_ == TileValues::kBF16;
      int64_t row = as_tile ? j / 2 : j % kGroupRows, col = i + (as_tile ? j % 2 : j / kGroupRows) * 16;
      uint32_t kept = chunk.kept[row] >> col & 1;
      mask |= kept << j;
      values[count] = chunk.values[row][col];
      count += masks ? kept : 1;
    }
    if (masks) *masks++ = mask;
    convert_from_f32(values, count, type_ == TileValues::kF32 ? DType::kF32 : type_ == TileValues::kF16 ? DType::kF16 : DType::kBF16, out);
    out += count * bytes_of(type_);
  }
}

}  // namespace lacuna::kernels
