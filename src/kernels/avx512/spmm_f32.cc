#include "kernels/inner/spmm_f32.h"

#include <immintrin.h>

namespace lacuna::kernels::avx512 {
#include "kernels/inner/vec512.inl"
static_assert(Vec::kLanes == 16);
#include "kernels/inner/spmm_f32.inl"

namespace {

// a += w * the vector i at `panel` + offset. Loads bound these loops: an operand at base plus index needs no addition before it, where the compiler
// would add once for the vectors of a column and wait for it (Zen 5: 5.7 instead of 5.3 operands a ns).
template <int i>
[[gnu::always_inline]] inline void fmadd_at(Vec& a, Vec w, const float* panel, uint64_t offset) {
  __asm__("vfmadd231ps %c3(%1, %2), %4, %0" : "+v"(a.v) : "r"(panel), "r"(offset), "i"(64 * i), "v"(w.v), "m"(*(const float(*)[])panel));
}

template <int V>
[[gnu::always_inline]] inline void add_column(Vec (&sums)[4], Vec w, const float* panel, uint64_t offset) {
  fmadd_at<0>(sums[0], w, panel, offset);
  if constexpr (V > 1) fmadd_at<1>(sums[1], w, panel, offset);
  if constexpr (V > 2) fmadd_at<2>(sums[2], w, panel, offset);
  if constexpr (V > 3) fmadd_at<3>(sums[3], w, panel, offset);
}

// V <= 4 vectors of two rows at a time: twice the independent sums, which hides the latency of the FMA, and two columns: four offsets and four
// weights come with a load each.
template <int V>
void paired_rows(const SpmmTile& tile, const SpmmRun& run, const uint16_t*& meta_cursor, const float*& values_cursor, const float* panel,
                 float* sums) {
  const Vec::Lanes old = Vec::lanes(tile.fresh ? 0 : ~0u);  // lanes of sums that hold something yet
  const uint16_t* meta = meta_cursor;
  const float* values = values_cursor;
  for (uint32_t step = 0; step < run.steps; step++) {
    if (tile.finish) {
      fetch_for_results(*tile.finish, meta[2 + 2 * run.count]);
      fetch_for_results(*tile.finish, meta[3 + 2 * run.count]);
    }
    fetch_ahead(meta, 4 * run.count, values, 8 * run.count);
    const int64_t row_a = meta[0], row_b = meta[1];
    float* out_a = sums + row_a * kPanelLanes;
    float* out_b = sums + row_b * kPanelLanes;
    meta += 2;
    Vec a[4], b[4];
#pragma GCC unroll 4
    for (int i = 0; i < V; i++) a[i] = Vec::load_lanes(out_a + i * Vec::kLanes, old), b[i] = Vec::load_lanes(out_b + i * Vec::kLanes, old);
    const uint16_t* end = meta + 2 * run.count;
    for (; end - meta >= 4; meta += 4, values += 4) {
      uint64_t offsets;
      __builtin_memcpy(&offsets, meta, sizeof offsets);
      const __m512 weights = _mm512_broadcast_f32x4(_mm_loadu_ps(values));
      add_column<V>(a, {_mm512_permute_ps(weights, 0x00)}, panel, uint16_t(offsets));
      add_column<V>(b, {_mm512_permute_ps(weights, 0x55)}, panel, uint16_t(offsets >> 16));
      add_column<V>(a, {_mm512_permute_ps(weights, 0xaa)}, panel, uint16_t(offsets >> 32));
      add_column<V>(b, {_mm512_permute_ps(weights, 0xff)}, panel, offsets >> 48);
    }
    if (meta != end) {
      add_column<V>(a, Vec::set1(values[0]), panel, meta[0]);
      add_column<V>(b, Vec::set1(values[1]), panel, meta[1]);
      meta += 2, values += 2;
    }
#pragma GCC unroll 4
    for (int i = 0; i < V; i++) Vec::store(out_a + i * Vec::kLanes, a[i]), Vec::store(out_b + i * Vec::kLanes, b[i]);
    if (tile.finish) finish_row(*tile.finish, row_a, out_a), finish_row(*tile.finish, row_b, out_b);
  }
  meta_cursor = meta, values_cursor = values;
}

template <int V>
void tile_of_vectors(const SpmmTile& tile, const float* panel, float* sums) {
  const uint16_t* meta = tile.meta;
  const float* values = tile.values;
  for (int64_t i = 0; i < tile.run_count; i++) {
    const SpmmRun& run = tile.runs[i];
    if (run.rows_per_step == 2)
      paired_rows<V>(tile, run, meta, values, panel, sums);
    else if (run.rows_per_step == 1)
      single_rows<V>(tile, run, meta, values, panel, sums);
    else
      block_rows<V>(tile, run, meta, values, panel, sums);
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
