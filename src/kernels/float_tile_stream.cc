#include "kernels/float_tile_stream.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/buffer.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

TileValues values_of(DType type) { return type == DType::kF16 ? TileValues::kF16 : type == DType::kBF16 ? TileValues::kBF16 : TileValues::kF32; }
int64_t bytes_of(TileValues type) { return type == TileValues::kF32 ? 4 : 2; }

}  // namespace

TileStream::TileStream(DType type, const WeightMatrix& weight, bool bitmask, bool ready)
    : type_(values_of(type)), groups_((weight.rows + kGroupRows - 1) / kGroupRows), chunks_((weight.cols + kChunkCols - 1) / kChunkCols) {
  for (int64_t pair = 0; pair < pairs(); pair++)
    for (int64_t panel = 0; panel < panels(); panel++)
      for (int64_t group = 2 * pair; group < 2 * pair + 2; group++) {
        starts_.push_back(int64_t(fresh_.size()));
        mask_starts_.push_back(int64_t(masks_.size()));
        if (!has(group)) continue;
        for (int64_t c = panel * kPanelChunks; c < std::min(chunks_, (panel + 1) * kPanelChunks); c++)
          for (int64_t i = 0; i < kChunkMaskWords; i++) append_pair(weight, group * kGroupRows, c * kChunkCols + i, bitmask);
      }
  starts_.push_back(int64_t(fresh_.size()));
  values_ = allocate(fresh_.size() + 64, false);  // on huge pages; expand_tiles reads beyond them
  std::copy(fresh_.begin(), fresh_.end(), values_.get());
  std::memset(values_.get() + fresh_.size(), 0, 64);
  fresh_ = {};
  if (!ready) return;
  auto tiles = allocate(size_t(groups_ * group_bytes()), false);
  for (int64_t group = 0; group < groups_; group++)
    for (int64_t panel = 0; panel < panels(); panel++) {
      size_t at = size_t((group / 2 * panels() + panel) * 2 + group % 2);
      amx_bf16::expand_tiles(type_, values_.get() + starts_[at], masks_.empty() ? nullptr : masks_.data() + mask_starts_[at], chunks(panel),
                             reinterpret_cast<uint8_t*>(tiles.get() + tiles_at(group, panel)));
    }
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

// Sixteen rows of columns first_col and first_col + 16.
void TileStream::append_pair(const WeightMatrix& weight, int64_t first_row, int64_t first_col, bool bitmask) {
  uint32_t mask = 0;
  for (int64_t j = 0; j < 2 * kGroupRows; j++) {
    bool as_tile = type_ == TileValues::kBF16;
    int64_t row = first_row + (as_tile ? j / 2 : j % kGroupRows), col = first_col + (as_tile ? j % 2 : j / kGroupRows) * 16;
    bool kept = row < weight.rows && col < weight.cols && (!bitmask || !weight.mask || weight.mask->kept(row, col));
    if (kept) mask |= uint32_t(1) << j;
    if (kept || !bitmask) append(kept ? weight.values[row * weight.cols + col] : 0);
  }
  if (bitmask) masks_.push_back(mask);
}

void TileStream::append(float value) {
  uint32_t bits = type_ == TileValues::kF32 ? std::bit_cast<uint32_t>(value) : type_ == TileValues::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
  for (int64_t i = 0; i < bytes_of(type_); i++) fresh_.push_back(std::byte(bits >> (8 * i) & 0xff));
}

}  // namespace lacuna::kernels
