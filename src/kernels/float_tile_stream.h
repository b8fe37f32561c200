// Float weights as streams of tiles (float_tiles.h), shared by the linear and the convolution kernel.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/inner/float_tiles.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

constexpr int64_t kGroupRows = 16;
constexpr int64_t kPanelChunks = 24;  // of 128 tokens and of a pair of row groups: their parts and tiles stay in L2

// The streams of all row groups, in the order in which they are read: of a pair of row groups a panel of columns, of that the first group's
// chunks, then the second's.
class TileStream {
 public:
  // `ready`: the tiles themselves are kept, half as much again as f32, for weights that are read often.
  TileStream(DType type, const WeightMatrix& weight, bool bitmask, bool ready = false);

  int64_t pairs() const { return (groups_ + 1) / 2; }
  int64_t panels() const { return (chunks_ + kPanelChunks - 1) / kPanelChunks; }
  int64_t chunks(int64_t panel) const { return std::min(kPanelChunks, chunks_ - panel * kPanelChunks); }
  int64_t chunks() const { return chunks_; }
  int parts() const { return parts_of(type_); }
  bool has(int64_t group) const { return group < groups_; }
  int64_t size_bytes() const {
    return (tiles_ ? groups_ * group_bytes() : starts_.back()) + int64_t(masks_.size() * sizeof(uint32_t) + starts_.size() * 2 * sizeof(int64_t));
  }

  // Multiplies row groups of pairs [first, last) by the tokens of `call`, which lacks the fields of the weight: sums of pair p at
  // call.sums + (p - first) * 2 * kGroupRows, chunk_offsets of all columns. Uses ScratchSlot::kTileSecond.
  void multiply(int64_t first, int64_t last, const FloatTilesCall& call) const;

 private:
  // Tiles of a panel of both row groups of a pair, one after the other, as FloatTilesCall wants them; a single one stands for both.
  struct Tiles {
    const uint8_t* of_group[2];
  };
  // `scratch` has room for them: 2 * kPanelChunks * parts() * kFloatTile bytes.
  Tiles expand(int64_t pair, int64_t panel, uint8_t* scratch) const;
  // What expand() will read.
  std::span<const std::byte> bytes(int64_t pair, int64_t panel) const;
  struct Chunk;
  void write_chunk(const Chunk& chunk, uint32_t*& masks, std::byte*& out) const;
  int64_t group_bytes() const { return chunks_ * parts() * kFloatTile; }  // of its tiles
  // Of a panel of a row group in tiles_.
  int64_t tiles_at(int64_t group, int64_t panel) const { return group * group_bytes() + panel * kPanelChunks * parts() * kFloatTile; }

  TileValues type_;
  int64_t groups_, chunks_;
  std::shared_ptr<std::byte[]> values_, tiles_;  // tiles_: of ready ones, group by group
  std::vector<uint32_t> masks_;                  // empty: dense
  std::vector<int64_t> starts_, mask_starts_;    // of each row group's part of a panel
};

}  // namespace lacuna::kernels
