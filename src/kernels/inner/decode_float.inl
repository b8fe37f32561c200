// Template over Vec and a Fetch, which turns the next bytes of the stream into weights. Format in decode_float.h. Included inside the
// namespace of an ISA folder.
//
// Fetch: kMasked; kVectors, the vectors of one step (1 or 2); step(stream, mask, out): takes mask's next kVectors * kLanes bits, fills
// out[0 .. kVectors), moves the stream. The sums of the 8 rows x tokens stay in L1: loading and storing them once per 64 columns costs
// less than a second pass over the weights would.

template <class Fetch, int T>
static const std::byte* decode_group(const DecodeTask& task) {
  alignas(64) float sums[kDecodeRows][T][Vec::kLanes] = {};
  const std::byte* stream = task.stream;
  const float* x = task.x;
  for (int64_t chunk = 0; chunk < task.chunks; chunk++, x += T * kDecodeCols) {
    const std::byte* masks = stream;
    if constexpr (Fetch::kMasked) stream += kDecodeRows * sizeof(uint64_t);
    for (int64_t row = 0; row < kDecodeRows; row++) {
      uint64_t mask = 0;
      if constexpr (Fetch::kMasked) __builtin_memcpy(&mask, masks + row * int64_t(sizeof mask), sizeof mask);
#define LACUNA_EACH_TOKEN(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)
#define LACUNA_LOAD(i) [[maybe_unused]] Vec a##i = T > i ? Vec::load(sums[row][T > i ? i : 0]) : Vec::zero();
      LACUNA_EACH_TOKEN(LACUNA_LOAD)
#undef LACUNA_LOAD
#pragma GCC unroll 8
      for (int64_t col = 0; col < kDecodeCols; col += Fetch::kVectors * Vec::kLanes) {
        Vec w[Fetch::kVectors];
        Fetch::step(stream, mask, w);
#define LACUNA_FMA(i)                                                                                                \
  if constexpr (T > i) {                                                                                             \
    a##i = Vec::fmadd(w[0], Vec::load(x + i * kDecodeCols + col), a##i);                                             \
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
  }
  for (int64_t t = 0; t < T; t++)
    for (int64_t row = 0; row < kDecodeRows; row++) task.sums[t * task.sums_stride + row] = Vec::sum(Vec::load(sums[row][t]));
  return stream;
}

template <class Fetch>
static const std::byte* decode_any(const DecodeTask& task) {
  switch (task.tokens) {
    case 1: return decode_group<Fetch, 1>(task);
    case 2: return decode_group<Fetch, 2>(task);
    case 4: return decode_group<Fetch, 4>(task);
    default: return decode_group<Fetch, 8>(task);
  }
}
