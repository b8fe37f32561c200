// Template over Vec and a Fetch, which turns the next bytes of the stream into weights. Format in decode_float.h. Included inside the
// namespace of an ISA folder.
//
// Fetch: made once a tile, takes its header off the stream; begin_row(row); kVectors, the vectors of one step (1 or 2);
// step(stream, col, out) fills out[0 .. kVectors) with the weights from column col on and moves the stream. The sums of the
// 8 rows x tokens stay in L1: loading and storing them once per 64 columns costs less than a second pass over the weights would.

constexpr int64_t kPrefetchBytes = 4096;

struct NoHeader {
  explicit NoHeader(const std::byte*&) {}
  void begin_row(int64_t) {}
};

struct MaskHeader {
  const std::byte* masks;
  uint64_t mask = 0;  // of the row, moved on by step
  explicit MaskHeader(const std::byte*& stream) : masks(stream) { stream += kDecodeRows * int64_t(sizeof mask); }
  void begin_row(int64_t row) { __builtin_memcpy(&mask, masks + row * int64_t(sizeof mask), sizeof mask); }
};

// Scales and minima as f32, by row and group of 32 columns. half_to_float(p, n, out) converts n f16 values.
template <bool half_scales, bool masked, auto half_to_float>
struct CodesHeader {
  static constexpr int64_t kCount = kDecodeRows * kDecodeCols / kDecodeGroup;
  alignas(64) float scales[2 * kCount];  // then minima
  const std::byte* masks = nullptr;
  const float* row_scales = nullptr;
  uint64_t mask = 0;
  explicit CodesHeader(const std::byte*& stream) {
    if constexpr (half_scales)
      half_to_float(stream, 2 * kCount, scales);
    else
      __builtin_memcpy(scales, stream, sizeof scales);
    stream += 2 * kCount * (half_scales ? 2 : 4);
    if constexpr (masked) masks = stream, stream += kDecodeRows * int64_t(sizeof mask);
  }
  void begin_row(int64_t row) {
    row_scales = scales + row * (kDecodeCols / kDecodeGroup);
    if constexpr (masked) __builtin_memcpy(&mask, masks + row * int64_t(sizeof mask), sizeof mask);
  }
  Vec scale(int64_t col) const { return Vec::set1(row_scales[col / kDecodeGroup]); }
  Vec minimum(int64_t col) const { return Vec::set1(row_scales[kCount + col / kDecodeGroup]); }
};

template <int T>
using Sums = float[kDecodeRows][T][Vec::kLanes];

// sums += the tile at stream times the activations of its chunk; the stream moves on.
template <class Fetch, int T>
[[gnu::always_inline]] static inline void multiply_tile(const std::byte*& stream, const float* x, Sums<T>& sums) {
  const std::byte* tile = stream;
  Fetch fetch(stream);
  for (int64_t row = 0; row < kDecodeRows; row++) {
    fetch.begin_row(row);
#define LACUNA_EACH_TOKEN(do) \
  do (0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)
#define LACUNA_LOAD(i) [[maybe_unused]] Vec a##i = T > i ? Vec::load(sums[row][T > i ? i : 0]) : Vec::zero();
    LACUNA_EACH_TOKEN(LACUNA_LOAD)
#undef LACUNA_LOAD
#pragma GCC unroll 8
    for (int64_t col = 0; col < kDecodeCols; col += Fetch::kVectors * Vec::kLanes) {
      Vec w[Fetch::kVectors];
      fetch.step(stream, col, w);
#define LACUNA_FMA(i)                                                                                                      \
  if constexpr (T > i) {                                                                                                   \
    a##i = Vec::fmadd(w[0], Vec::load(x + i * kDecodeCols + col), a##i);                                                   \
    if constexpr (Fetch::kVectors == 2) a##i = Vec::fmadd(w[1], Vec::load(x + i * kDecodeCols + col + Vec::kLanes), a##i); \
  }
      LACUNA_EACH_TOKEN(LACUNA_FMA)
#undef LACUNA_FMA
    }
#define LACUNA_STORE(i) \
  if constexpr (T > i) Vec::store(sums[row][i], a##i);
    LACUNA_EACH_TOKEN(LACUNA_STORE)
#undef LACUNA_STORE
#undef LACUNA_EACH_TOKEN
  }
  // The hardware stops at the end of a page. From DRAM (Granite Rapids): 4-bit codes 1.5 times as fast, 8-bit ones 1.05. Into L1: into L2 alone
  // dense floats come from the L3 of a Zen 5 in 1.2 times the time.
  for (; tile < stream; tile += 64) __builtin_prefetch(tile + kPrefetchBytes, 0, 3);
}

template <int T>
static void store_sums(const Sums<T>& sums, float* out, int64_t stride) {
  for (int64_t t = 0; t < T; t++)
    for (int64_t row = 0; row < kDecodeRows; row++) out[t * stride + row] = Vec::sum(Vec::load(sums[row][t]));
}

template <class Fetch, int T>
static void decode_group(const DecodeTask& task) {
  alignas(64) Sums<T> sums = {};
  const std::byte* stream = task.stream;
  for (int64_t chunk = 0; chunk < task.chunks; chunk++) multiply_tile<Fetch, T>(stream, task.x + chunk * T * kDecodeCols, sums);
  store_sums<T>(sums, task.sums, task.sums_stride);
}

template <class Fetch>
static void decode_two_groups(const DecodeTask& task) {
  alignas(64) Sums<1> sums = {}, second_sums = {};
  const std::byte *stream = task.stream, *second = task.second_stream;
  for (int64_t chunk = 0; chunk < task.chunks; chunk++) {
    multiply_tile<Fetch, 1>(stream, task.x + chunk * kDecodeCols, sums);
    multiply_tile<Fetch, 1>(second, task.x + chunk * kDecodeCols, second_sums);
  }
  store_sums<1>(sums, task.sums, task.sums_stride);
  store_sums<1>(second_sums, task.second_sums, task.sums_stride);
}

template <class Fetch>
static void decode_any(const DecodeTask& task) noexcept {
  if (task.second_stream) return decode_two_groups<Fetch>(task);
  switch (task.tokens) {
    case 1: return decode_group<Fetch, 1>(task);
    case 2: return decode_group<Fetch, 2>(task);
    case 4: return decode_group<Fetch, 4>(task);
    default: return decode_group<Fetch, 8>(task);
  }
}

template <template <bool half_scales, bool masked> class Nibbles, template <bool half_scales, bool masked> class Bytes>
static DecodeFloat codes_loop(CodesLayout layout) {
  if (layout.four_bits)
    return layout.half_scales ? (layout.masked ? decode_any<Nibbles<true, true>> : decode_any<Nibbles<true, false>>)
                              : (layout.masked ? decode_any<Nibbles<false, true>> : decode_any<Nibbles<false, false>>);
  return layout.half_scales ? (layout.masked ? decode_any<Bytes<true, true>> : decode_any<Bytes<true, false>>)
                            : (layout.masked ? decode_any<Bytes<false, true>> : decode_any<Bytes<false, false>>);
}
