#include "kernels/inner/spmm_f32.h"

#include <immintrin.h>

namespace lacuna::kernels::avx512 {
#include "kernels/inner/vec512.inl"
static_assert(Vec::kLanes == 16);
#include "kernels/inner/spmm_f32.inl"

namespace {

// How an operand in the panel is addressed. Loads bound these loops: at base plus index (kIndexed) no addition stands before them (Zen 5: 5.7
// operands a ns instead of 5.3); Intel's cores take a multiplication with such an operand apart and would run out of places for the parts.
template <bool kIndexed, int i>
[[gnu::always_inline]] inline void fmadd_at(Vec& a, Vec w, const float* panel, uint16_t offset) {
  if constexpr (kIndexed)
    __asm__("vfmadd231ps %c3(%1, %2), %4, %0"
            : "+v"(a.v)
            : "r"(panel), "r"(uint64_t(offset)), "i"(64 * i), "v"(w.v), "m"(*reinterpret_cast<const float(*)[1 << 14]>(panel)));
  else
    a = Vec::fmadd(w, Vec::load(at_offset(panel, offset) + i * Vec::kLanes), a);
}

template <int V, bool kIndexed>
[[gnu::always_inline]] inline void add_column(Vec (&sums)[4], Vec w, const float* panel, uint16_t offset) {
  fmadd_at<kIndexed, 0>(sums[0], w, panel, offset);
  if constexpr (V > 1) fmadd_at<kIndexed, 1>(sums[1], w, panel, offset);
  if constexpr (V > 2) fmadd_at<kIndexed, 2>(sums[2], w, panel, offset);
  if constexpr (V > 3) fmadd_at<kIndexed, 3>(sums[3], w, panel, offset);
}

// V <= 4 vectors of two rows at a time: twice the independent sums, which hides the latency of the FMA, and two columns: four offsets and four
// weights come with a load each.
template <int V, bool kIndexed>
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
      add_column<V, kIndexed>(a, {_mm512_permute_ps(weights, 0x00)}, panel, uint16_t(offsets));
      add_column<V, kIndexed>(b, {_mm512_permute_ps(weights, 0x55)}, panel, uint16_t(offsets >> 16));
      add_column<V, kIndexed>(a, {_mm512_permute_ps(weights, 0xaa)}, panel, uint16_t(offsets >> 32));
      add_column<V, kIndexed>(b, {_mm512_permute_ps(weights, 0xff)}, panel, uint16_t(offsets >> 48));
    }
    if (meta != end) {
      add_column<V, kIndexed>(a, Vec::set1(values[0]), panel, meta[0]);
      add_column<V, kIndexed>(b, Vec::set1(values[1]), panel, meta[1]);
      meta += 2, values += 2;
    }
#pragma GCC unroll 4
    for (int i = 0; i < V; i++) Vec::store(out_a + i * Vec::kLanes, a[i]), Vec::store(out_b + i * Vec::kLanes, b[i]);
    if (tile.finish) finish_row(*tile.finish, row_a, out_a), finish_row(*tile.finish, row_b, out_b);
  }
  meta_cursor = meta, values_cursor = values;
}

template <int V, bool kIndexed>
void tile_of_vectors(const SpmmTile& tile, const float* panel, float* sums) {
  const uint16_t* meta = tile.meta;
  const float* values = tile.values;
  for (int64_t i = 0; i < tile.run_count; i++) {
    const SpmmRun& run = tile.runs[i];
    if (run.rows_per_step == 2)
      paired_rows<V, kIndexed>(tile, run, meta, values, panel, sums);
    else if (run.rows_per_step == 1)
      single_rows<V>(tile, run, meta, values, panel, sums);
    else
      block_rows<V>(tile, run, meta, values, panel, sums);
  }
}

template <bool kIndexed>
void run_tile(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) {
  switch ((lanes + Vec::kLanes - 1) / Vec::kLanes) {
    case 1: return tile_of_vectors<1, kIndexed>(tile, panel, sums);
    case 2: return tile_of_vectors<2, kIndexed>(tile, panel, sums);
    case 3: return tile_of_vectors<3, kIndexed>(tile, panel, sums);
    default: return tile_of_vectors<4, kIndexed>(tile, panel, sums);
  }
}

}  // namespace

void spmm_f32_tile(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) noexcept { run_tile<false>(tile, panel, sums, lanes); }
void spmm_f32_tile_indexed(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) noexcept {
  run_tile<true>(tile, panel, sums, lanes);
}

}  // namespace lacuna::kernels::avx512
