// Template over Vec (vec256.inl) and its number of registers; format in spmm_f32.h. Included inside the namespace of an ISA folder.
//
// Per non-zero: one broadcast and V fused multiply-adds whose panel operand comes from memory, so loads bound it (Golden Cove: two
// 64-byte loads a cycle by the book; a loop of FMAs with memory operands reaches two thirds of that).
// Accumulators are named, not arrays: gcc 12 leaves arrays of vectors on the stack where a loop over them is unrolled late.

#define LACUNA_EACH_VECTOR(do) \
  do (0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)

static inline const float* at_offset(const float* panel, uint16_t offset) {
  return reinterpret_cast<const float*>(reinterpret_cast<const char*>(panel) + offset);
}

// What the results of a row, of the step after this one, will touch. Its number is what follows this step in `meta`: after the last step of a run it
// may be something else, and memory that does not matter is fetched.
static inline void fetch_for_results(const SpmmTile::Finish& f, int64_t row) {
  if (f.y)
    for (int64_t i = 0; i < f.lanes; i += 16) __builtin_prefetch(f.y + row * f.y_stride + i, 1, 3);
}

// Asks for what steps to come will read, `values` and `meta` of one step's worth at a time: the hardware prefetcher stops at the end of a page.
static inline void fetch_ahead(const uint16_t* meta, int64_t meta_bytes, const float* values, int64_t value_bytes) {
  constexpr int64_t kAhead = 2048;
  const char *v = reinterpret_cast<const char*>(values) + kAhead, *m = reinterpret_cast<const char*>(meta) + kAhead / 2;
  // No loop for the usual rows: its end would be mispredicted.
  __builtin_prefetch(v), __builtin_prefetch(v + 64), __builtin_prefetch(m);
  for (int64_t i = 128; i < value_bytes; i += 64) __builtin_prefetch(v + i);
  for (int64_t i = 64; i < meta_bytes; i += 64) __builtin_prefetch(m + i);
}

// Makes results of the sums of a row, as store_channel_major does. On its own, so that the loops over the non-zeros keep their registers.
__attribute__((noinline)) static void finish_row(const SpmmTile::Finish& f, int64_t row, float* sums) {
  const Vec bias = f.bias ? Vec::set1(f.bias[row]) : Vec::zero(), low = Vec::set1(f.low), high = Vec::set1(f.high);
  const float* residual = f.residual ? f.residual + row * f.residual_stride : nullptr;
  float* y = f.y ? f.y + row * f.y_stride : sums;
  const bool cuts = f.cuts, keep = f.keep;
  const int64_t lanes = f.lanes;
  int64_t t = 0;
  for (; t + 2 * Vec::kLanes <= lanes; t += 2 * Vec::kLanes) {
    Vec a = Vec::add(Vec::load(sums + t), bias), b = Vec::add(Vec::load(sums + t + Vec::kLanes), bias);
    if (residual) a = Vec::add(a, Vec::load(residual + t)), b = Vec::add(b, Vec::load(residual + t + Vec::kLanes));
    if (cuts) a = Vec::min(high, Vec::max(low, a)), b = Vec::min(high, Vec::max(low, b));
    Vec::store(y + t, a), Vec::store(y + t + Vec::kLanes, b);
    if (keep) Vec::store(sums + t, a), Vec::store(sums + t + Vec::kLanes, b);
  }
  for (; t < lanes; t += Vec::kLanes) {
    const int64_t n = lanes - t < Vec::kLanes ? lanes - t : Vec::kLanes;
    Vec v = Vec::add(Vec::load(sums + t), bias);
    if (residual) v = Vec::add(v, Vec::load_first(residual + t, n));
    if (cuts) v = Vec::min(high, Vec::max(low, v));
    Vec::store_first(y + t, v, n);
    if (keep) Vec::store(sums + t, v);
  }
}

// V vectors of one row.
template <int V>
static void single_rows(const SpmmTile& tile, const SpmmRun& run, const uint16_t*& meta_cursor, const float*& values_cursor, const float* panel,
                        float* sums) {
  const Vec::Lanes old = Vec::lanes(tile.fresh ? 0 : ~0u);  // lanes of sums that hold something yet
  const uint16_t* meta = meta_cursor;
  const float* values = values_cursor;
  for (uint32_t step = 0; step < run.steps; step++) {
    if (tile.finish) fetch_for_results(*tile.finish, meta[1 + run.count]);
    fetch_ahead(meta, 2 * run.count, values, 4 * run.count);
    const int64_t row = *meta++;
    float* out = sums + row * kPanelLanes;
#define LACUNA_LOAD(i) [[maybe_unused]] Vec a##i = V > i ? Vec::load_lanes(out + i * Vec::kLanes, old) : Vec::zero();
    LACUNA_EACH_VECTOR(LACUNA_LOAD)
#undef LACUNA_LOAD
    const uint16_t* end = meta + run.count;
    for (; meta != end; meta++, values++) {
      const float* x = at_offset(panel, *meta);
      Vec w = Vec::set1(*values);
#define LACUNA_FMA(i) \
  if constexpr (V > i) a##i = Vec::fmadd(w, Vec::load(x + i * Vec::kLanes), a##i);
      LACUNA_EACH_VECTOR(LACUNA_FMA)
#undef LACUNA_FMA
    }
#define LACUNA_STORE(i) \
  if constexpr (V > i) Vec::store(out + i * Vec::kLanes, a##i);
    LACUNA_EACH_VECTOR(LACUNA_STORE)
#undef LACUNA_STORE
    if (tile.finish) finish_row(*tile.finish, row, out);
  }
  meta_cursor = meta, values_cursor = values;
}

// V vectors, from `lane` on, of a block of four rows that share their columns: each panel vector is loaded once and used four times. `last`: the
// others of these rows are done.
template <int V>
static void block_rows(const SpmmTile& tile, const SpmmRun& run, const uint16_t*& meta_cursor, const float*& values_cursor, const float* panel,
                       float* sums, int64_t lane = 0, bool last = true) {
  panel += lane, sums += lane;
  const Vec::Lanes old = Vec::lanes(tile.fresh ? 0 : ~0u);  // lanes of sums that hold something yet
  const uint16_t* meta = meta_cursor;
  const float* values = values_cursor;
  for (uint32_t step = 0; step < run.steps; step++) {
    for (int64_t i = 0; tile.finish && i < kBlockRows; i++) fetch_for_results(*tile.finish, meta[1 + run.count] + i);
    if (last) fetch_ahead(meta, 2 * run.count, values, 16 * run.count);
    const int64_t row = *meta++;
    float* out = sums + row * kPanelLanes;
#define LACUNA_LOAD(i)                                                                                             \
  [[maybe_unused]] Vec a##i = V > i ? Vec::load_lanes(out + i * Vec::kLanes, old) : Vec::zero();                   \
  [[maybe_unused]] Vec b##i = V > i ? Vec::load_lanes(out + kPanelLanes + i * Vec::kLanes, old) : Vec::zero();     \
  [[maybe_unused]] Vec c##i = V > i ? Vec::load_lanes(out + 2 * kPanelLanes + i * Vec::kLanes, old) : Vec::zero(); \
  [[maybe_unused]] Vec d##i = V > i ? Vec::load_lanes(out + 3 * kPanelLanes + i * Vec::kLanes, old) : Vec::zero();
    LACUNA_LOAD(0)
    LACUNA_LOAD(1)
    LACUNA_LOAD(2)
    LACUNA_LOAD(3)
#undef LACUNA_LOAD
    const uint16_t* end = meta + run.count;
    for (; meta != end; meta++, values += 4) {
      const float* x = at_offset(panel, *meta);
      Vec w_a = Vec::set1(values[0]), w_b = Vec::set1(values[1]), w_c = Vec::set1(values[2]), w_d = Vec::set1(values[3]);
#define LACUNA_FMA(i)                       \
  if constexpr (V > i) {                    \
    Vec p = Vec::load(x + i * Vec::kLanes); \
    a##i = Vec::fmadd(w_a, p, a##i);        \
    b##i = Vec::fmadd(w_b, p, b##i);        \
    c##i = Vec::fmadd(w_c, p, c##i);        \
    d##i = Vec::fmadd(w_d, p, d##i);        \
  }
      LACUNA_FMA(0);
      LACUNA_FMA(1);
      LACUNA_FMA(2);
      LACUNA_FMA(3);
#undef LACUNA_FMA
    }
#define LACUNA_STORE(i)                                        \
  if constexpr (V > i) {                                       \
    Vec::store(out + i * Vec::kLanes, a##i);                   \
    Vec::store(out + kPanelLanes + i * Vec::kLanes, b##i);     \
    Vec::store(out + 2 * kPanelLanes + i * Vec::kLanes, c##i); \
    Vec::store(out + 3 * kPanelLanes + i * Vec::kLanes, d##i); \
  }
    LACUNA_STORE(0);
    LACUNA_STORE(1);
    LACUNA_STORE(2);
    LACUNA_STORE(3);
#undef LACUNA_STORE
    for (int64_t i = 0; tile.finish && last && i < kBlockRows; i++) finish_row(*tile.finish, row + i, out - lane + i * kPanelLanes);
  }
  meta_cursor = meta, values_cursor = values;
}
#undef LACUNA_EACH_VECTOR
