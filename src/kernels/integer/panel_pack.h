// The encoder of integer/panel.h.
#pragma once

#include <memory>
#include <vector>

#include "kernels/integer/panel.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

struct PanelOptions {
  int group_rows = 1;    // 1, or 4 that share their columns
  bool aligned = false;  // quads are four neighbouring columns
};

// A packed weight. Rows are padded to whole output tiles of 16 and cut into chunks; unit u = chunk * tiles + tile has the stream from
// stream_begin[u] and the counts of its row groups from quads_begin[u].
struct PanelWeight {
  int64_t rows = 0, cols = 0, chunk_rows = 0, tile_cols = 0, tiles = 0;
  PanelOptions options;
  std::shared_ptr<std::byte[]> stream;
  std::vector<int64_t> stream_begin, quads_begin;
  std::vector<uint16_t> quads;
  std::vector<int32_t> excess;  // [padded rows], or empty
  std::vector<float> scales;    // [padded rows]

  int64_t chunks() const { return (rows + chunk_rows - 1) / chunk_rows; }
  int64_t rows_of_chunk(int64_t chunk) const;  // padded
  int64_t size_bytes() const;
};

PanelWeight pack_panels(const WeightMatrix& weight, const PanelIsa& isa, const PanelOptions& options);

}  // namespace lacuna::kernels
