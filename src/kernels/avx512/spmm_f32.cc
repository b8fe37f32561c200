#include "kernels/inner/spmm_f32.h"

#include <immintrin.h>

namespace lacuna::kernels::avx512 {
#include "kernels/inner/vec512.inl"
static_assert(Vec::kLanes == 16);
#include "kernels/inner/spmm_f32.inl"

namespace {

template <int V>
void tile_of_vectors(const SpmmTile& tile, const float* panel, float* sums) {
  const uint16_t* meta = tile.meta;
  const float* values = tile.values;
  const Vec::Lanes old = Vec::lanes(tile.fresh ? 0 : ~0u);
  for (int64_t i = 0; i < tile.run_count; i++) {
    const SpmmRun& run = tile.runs[i];
    if (run.rows_per_step == 2)
      paired_rows<V>(run, meta, values, panel, sums, old);
    else if (run.rows_per_step == 1)
      single_rows<V>(run, meta, values, panel, sums, old);
    else
      block_rows<V>(run, meta, values, panel, sums, old);
  }
}

}  // namespace

void spmm_f32_tile(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) noexcept {
  switch ((lanes + Vec::kLanes - 1) / Vec::kLanes) {
    case 1: return tile_of_vectors<1>(tile, panel, sums);
    case 2: return tile_of_vectors<2>(tile, panel, sums);
    case 3: return tile_of_vectors<3>(tile, panel, sums);
    default: return tile_of_vectors<4>(tile, panel, sums);
  }
}

}  // namespace lacuna::kernels::avx512
