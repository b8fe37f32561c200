#include "kernels/inner/spmm_f32.h"

#include <immintrin.h>

namespace lacuna::kernels::avx2 {
#include "kernels/inner/vec256.inl"
static_assert(Vec::kLanes == 8);
#include "kernels/inner/spmm_f32.inl"

namespace {

// Sixteen registers: eight vectors of one row, or, for the four rows of a block, two vectors at a time over the same bytes.
template <int V>
void tile_of_vectors(const SpmmTile& tile, const float* panel, float* sums) {
  const uint16_t* meta = tile.meta;
  const float* values = tile.values;
  for (int64_t i = 0; i < tile.run_count; i++) {
    const SpmmRun& run = tile.runs[i];
    if (run.rows_per_step == 1) {
      single_rows<V>(tile, run, meta, values, panel, sums);
      continue;
    }
    const uint16_t* run_meta = meta;
    const float* run_values = values;
    for (int v = 0; v + 2 <= V; v += 2) {
      meta = run_meta, values = run_values;
      block_rows<2>(tile, run, meta, values, panel, sums, v * Vec::kLanes, v + 2 == V);
    }
    if constexpr (V % 2 != 0) {
      meta = run_meta, values = run_values;
      block_rows<1>(tile, run, meta, values, panel, sums, (V - 1) * Vec::kLanes);
    }
  }
}

}  // namespace

void spmm_f32_tile(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) noexcept {
  switch ((lanes + Vec::kLanes - 1) / Vec::kLanes) {
    case 1: return tile_of_vectors<1>(tile, panel, sums);
    case 2: return tile_of_vectors<2>(tile, panel, sums);
    case 3: return tile_of_vectors<3>(tile, panel, sums);
    case 4: return tile_of_vectors<4>(tile, panel, sums);
    case 5: return tile_of_vectors<5>(tile, panel, sums);
    case 6: return tile_of_vectors<6>(tile, panel, sums);
    case 7: return tile_of_vectors<7>(tile, panel, sums);
    default: return tile_of_vectors<8>(tile, panel, sums);
  }
}

}  // namespace lacuna::kernels::avx2
