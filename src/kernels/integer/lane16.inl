// The inner loops of integer/lane16.h over a vector type S (see any file that includes this one). Each ISA includes it in its namespace.
//
// S is Simd of simd512.inl or simd256.inl.

#ifdef __clang__
#define LACUNA_UNROLL _Pragma("unroll")
#else
#define LACUNA_UNROLL _Pragma("GCC unroll 16")
#endif

// Asks for lines of the stream `ahead` bytes ahead, when few tokens make memory the limit. The hardware prefetcher alone leaves a third
// of the bandwidth unused on bitmask streams, whose pace varies (Sapphire Rapids, two threads: 1.47x at density 0.5).
template <int kTokens, int kLines>
[[gnu::always_inline]] inline void prefetch_ahead(const uint8_t* p, int64_t ahead) {
  if constexpr (kTokens <= 4)
    LACUNA_UNROLL for (int i = 0; i < kLines; i++) _mm_prefetch(reinterpret_cast<const char*>(p + ahead + 64 * i), _MM_HINT_T0);
}

// For streams whose addresses are known in advance: 1 KiB ahead into the L1 cache, and a line in four 4 KiB ahead into the L2 cache, which
// starts the hardware prefetcher on the next page. In order and after the loads, because that prefetcher looks at the order of
// addresses: one core reads dense weights from DRAM at 17.4 GB/s so, at 13.5 to 16.5 with near prefetches alone, as the compiler mixes them.
// With more tokens only 2 KiB ahead: weights of a model come from beyond the L2 cache, and the hardware stops at the end of a page (ResNet-50 in int8
// with 70 and 90 % zeros, docs/performance-kernels.md).
template <int kTokens, int kLines>
[[gnu::always_inline]] inline void prefetch_page_ahead(const uint8_t* p) {
  if constexpr (kTokens <= 4) {
    LACUNA_UNROLL for (int i = 0; i < kLines; i++) __asm__ volatile("prefetcht0 %0" ::"m"(p[1024 + 64 * i]) : "memory");
    LACUNA_UNROLL for (int i = 0; i < kLines; i += 4) __asm__ volatile("prefetcht1 %0" ::"m"(p[4096 + 64 * i]) : "memory");
  } else {
    LACUNA_UNROLL for (int i = 0; i < kLines; i++) __asm__ volatile("prefetcht0 %0" ::"m"(p[2048 + 64 * i]) : "memory");
  }
}

template <class S>
inline void start(typename S::Vec (&acc)[S::kVectors], int32_t value) {
  LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++) acc[v] = S::set1(value);
}

// Where the codes of step i of a unit are, as whole vectors of one byte per weight.
template <class S, int kBits>
struct DenseUnit {
  static constexpr bool kMasked = false;
  static constexpr bool kLoadsFirst = S::kVectors == 1;  // else the registers do not hold a unit
  static constexpr int kLines = kBits;
  const uint8_t* p;
  explicit DenseUnit(const uint8_t* stream) : p(stream) {}
  inline void step(int i, typename S::Vec (&w)[S::kVectors]) {
    constexpr int kBytes = 64 / S::kVectors;
    LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++) {
      if constexpr (kBits == 8) w[v] = S::load(p + 64 * i + kBytes * v);
      if constexpr (kBits == 4)
        w[v] = i % 2 ? S::high_nibbles(S::load(p + 32 * (i - 1) + kBytes * v)) : S::low_nibbles(S::load(p + 32 * i + kBytes * v));
    }
  }
  inline void kept(int, typename S::Vec (&)[S::kVectors]) {}
  const uint8_t* end() const { return p + 64 * kBits; }
};

template <class S, int kBits>
struct BitmaskUnit {
  static constexpr bool kMasked = true;
  static constexpr bool kLoadsFirst = false;
  static constexpr int kLines = kBits == 8 ? 5 : 3;  // half the weights kept
  const Word64* masks;
  const uint8_t* p;
  explicit BitmaskUnit(const uint8_t* stream) : masks(reinterpret_cast<const Word64*>(stream)), p(stream + 64) {}
  inline void step(int i, typename S::Vec (&w)[S::kVectors]) { p += S::template expand<kBits>(masks[i], p, w); }
  inline void kept(int i, typename S::Vec (&ones)[S::kVectors]) { S::ones_of(masks[i], ones); }
  const uint8_t* end() const { return p; }
};

// step.operator()<i>() for the eight steps of a unit, whose displacements are part of instructions.
template <class Step>
[[gnu::always_inline]] inline void for_eight(Step& step) {
  step.template operator()<0>();
  step.template operator()<1>();
  step.template operator()<2>();
  step.template operator()<3>();
  step.template operator()<4>();
  step.template operator()<5>();
  step.template operator()<6>();
  step.template operator()<7>();
}

// acc[i % kChains] += the steps of a unit.
template <class S, class Unit, int kBits, int kTokens, int kChains>
[[gnu::always_inline]] inline void multiply_unit(Unit& unit, const uint8_t* stream, [[maybe_unused]] int64_t ahead, const uint8_t* x,
                                                 int64_t x_stride, typename S::Vec (&acc)[kChains][kTokens][S::kVectors]) {
  using Vec = typename S::Vec;
  if constexpr (Unit::kLoadsFirst && kTokens <= 4) {
    Vec w[8][S::kVectors];
    LACUNA_UNROLL for (int i = 0; i < 8; i++) unit.step(i, w[i]);
    prefetch_page_ahead<kTokens, Unit::kLines>(stream);
    LACUNA_UNROLL for (int i = 0; i < 8; i++) LACUNA_UNROLL for (int t = 0; t < kTokens; t++) LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++)
        S::template dot_broadcast<kBits>(acc[i % kChains][t][v], w[i][v], x + t * x_stride + 4 * i);
  } else {
    if constexpr (Unit::kMasked)
      prefetch_ahead<kTokens, Unit::kLines>(stream, ahead);
    else
      prefetch_page_ahead<kTokens, Unit::kLines>(stream);
    auto step = [&]<int kStep>() __attribute__((always_inline)) {
      Vec w[S::kVectors];
      unit.step(kStep, w);
      if constexpr (S::kDotsFour && kTokens % 4 == 0) {
        const uint8_t* group = x;
        LACUNA_UNROLL for (int t = 0; t < kTokens; t += 4, group += 4 * x_stride)
            S::template dot_broadcast_four<4 * kStep>(acc[kStep % kChains][t], w[0], group, x_stride, 3 * x_stride);
      } else {
        LACUNA_UNROLL for (int t = 0; t < kTokens; t++) LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++)
            S::template dot_broadcast<kBits>(acc[kStep % kChains][t][v], w[v], x + t * x_stride + 4 * kStep);
      }
    };
    for_eight(step);
  }
}

// sums[t][r] = sum over columns of code(r, c) * x(t, c), of kStreams calls that differ in stream and results only.
template <class S, template <class, int> class Unit, int kBits, int kTokens, int kStreams>
void row_scaled(const Lane16Call* calls, int64_t first_token) {
  using Vec = typename S::Vec;
  constexpr int kChains = kTokens == 1 ? 2 : 1;
  constexpr int kBias = kBits == 4 ? 8 : S::kBias8;
  const Lane16Call& c = calls[0];
  Vec acc[kStreams][kChains][kTokens][S::kVectors];
  const uint8_t* p[kStreams];
  LACUNA_UNROLL for (int s = 0; s < kStreams; s++) {
    p[s] = calls[s].stream;
    LACUNA_UNROLL for (int k = 0; k < kChains; k++) LACUNA_UNROLL for (int t = 0; t < kTokens; t++)
        start<S>(acc[s][k][t], k == 0 && kBias ? -kBias * c.x_sums[(first_token + t) * c.x_sums_stride] : 0);
  }
  const uint8_t* base = c.x + first_token * c.x_stride;
  int64_t stride = c.x_stride;
  for (int64_t u = 0; u < c.units; u++) {
    const uint8_t* x = base + c.offsets[u];
    LACUNA_UNROLL for (int s = 0; s < kStreams; s++) {
      Unit<S, kBits> unit(p[s]);
      multiply_unit<S, Unit<S, kBits>, kBits, kTokens, kChains>(unit, p[s], c.ahead, x, stride, acc[s]);
      p[s] = unit.end();
    }
  }
  LACUNA_UNROLL for (int s = 0; s < kStreams; s++) LACUNA_UNROLL for (int t = 0; t < kTokens; t++)
      LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++) {
    Vec sum = acc[s][0][t][v];
    if constexpr (kChains == 2) sum = S::add(sum, acc[s][1][t][v]);
    S::store(calls[s].sums + (first_token + t) * kLanes + v * (16 / S::kVectors), sum);
  }
}

// Two row groups of 8-bit dense codes by eight tokens at a time, which share what they load of x.
template <class S>
void dense_pair(const Lane16Call* pair) {
  using Vec = typename S::Vec;
  const Lane16Call& c = pair[0];
  const int64_t stride = c.x_stride, stride3 = 3 * stride;
  for (int64_t first = 0; first < c.tokens; first += 8) {
    Vec acc[2][8];
    LACUNA_UNROLL for (int t = 0; t < 8; t++) acc[0][t] = acc[1][t] = S::set1(-S::kBias8 * c.x_sums[(first + t) * c.x_sums_stride]);
    const uint8_t *p = c.stream, *q = pair[1].stream, *base = c.x + first * stride;
    for (int64_t u = 0; u < c.units; u++, p += 512, q += 512) {
      const uint8_t* x = base + c.offsets[u];
      auto step = [&]<int kStep>() __attribute__((always_inline)) {
        Vec w = S::load(p + 64 * kStep), v = S::load(q + 64 * kStep);
        S::template dot_broadcast_four_pair<4 * kStep>(acc[0], acc[1], w, v, x, stride, stride3);
        S::template dot_broadcast_four_pair<4 * kStep>(acc[0] + 4, acc[1] + 4, w, v, x + 4 * stride, stride, stride3);
      };
      for_eight(step);
    }
    LACUNA_UNROLL for (int s = 0; s < 2; s++) LACUNA_UNROLL for (int t = 0; t < 8; t++) S::store(pair[s].sums + (first + t) * kLanes, acc[s][t]);
  }
}

// One scale group of one stream, of units [u, last): adds to total, returns the end of the group.
template <class S, template <class, int> class Unit, int kBits, int kTokens, bool kMinima>
[[gnu::always_inline]] inline const uint8_t* scale_group(const Lane16Call& c, int64_t first_token, int64_t group, int64_t u, int64_t last,
                                                         const uint8_t* p, typename S::Floats (&total)[kTokens][S::kVectors]) {
  using Vec = typename S::Vec;
  using Floats = typename S::Floats;
  constexpr int kBias = kBits == 4 ? 8 : S::kBias8;
  constexpr bool kCountKept = kMinima && Unit<S, kBits>::kMasked;
  constexpr int kPerVector = 16 / S::kVectors;
  const uint8_t* base = c.x + first_token * c.x_stride;
  const uint8_t* scales = p;
  int64_t scale_bytes = c.half_scales ? 2 : 4;
  p += (kMinima ? 32 : 16) * scale_bytes;
  Vec acc[1][kTokens][S::kVectors], x_kept[kTokens][S::kVectors];
  LACUNA_UNROLL for (int t = 0; t < kTokens; t++) {
    start<S>(acc[0][t], kBias ? -kBias * c.x_sums[(first_token + t) * c.x_sums_stride + group] : 0);
    start<S>(x_kept[t], kCountKept || !kMinima ? 0 : c.x_sums[(first_token + t) * c.x_sums_stride + group]);
  }
  for (; u < last; u++) {
    const uint8_t* x = base + c.offsets[u];
    Unit<S, kBits> unit(p);
    multiply_unit<S, Unit<S, kBits>, kBits, kTokens, 1>(unit, p, c.ahead, x, c.x_stride, acc);
    if constexpr (kCountKept) LACUNA_UNROLL for (int i = 0; i < 8; i++) {
        Vec ones[S::kVectors];
        unit.kept(i, ones);
        LACUNA_UNROLL for (int t = 0; t < kTokens; t++) LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++)
            S::template dot_broadcast<4>(x_kept[t][v], ones[v], x + t * c.x_stride + 4 * i);
      }
    p = unit.end();
  }
  LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++) {
    Floats scale = S::load_scales(scales + v * kPerVector * scale_bytes, c.half_scales);
    Floats minimum = scale;
    if constexpr (kMinima) minimum = S::load_scales(scales + (16 + v * kPerVector) * scale_bytes, c.half_scales);
    LACUNA_UNROLL for (int t = 0; t < kTokens; t++) {
      total[t][v] = S::fma(S::to_float(acc[0][t][v]), scale, total[t][v]);
      if constexpr (kMinima) total[t][v] = S::fma(S::to_float(x_kept[t][v]), minimum, total[t][v]);
    }
  }
  return p;
}

// scaled_sums[t][r] = sum over scale groups of dot * scale + (sum of kept x) * minimum, of kStreams calls that differ in stream and results.
template <class S, template <class, int> class Unit, int kBits, int kTokens, bool kMinima, int kStreams>
void group_scaled(const Lane16Call* calls, int64_t first_token) {
  constexpr int kPerVector = 16 / S::kVectors;
  const Lane16Call& c = calls[0];
  typename S::Floats total[kStreams][kTokens][S::kVectors];
  const uint8_t* p[kStreams];
  LACUNA_UNROLL for (int s = 0; s < kStreams; s++) {
    p[s] = calls[s].stream;
    LACUNA_UNROLL for (int t = 0; t < kTokens; t++) LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++) total[s][t][v] = S::to_float(S::set1(0));
  }
  for (int64_t u = 0, group = 0; u < c.units; u += c.group_units, group++) {
    int64_t last = u + c.group_units < c.units ? u + c.group_units : c.units;
    LACUNA_UNROLL for (int s = 0; s < kStreams; s++) p[s] =
        scale_group<S, Unit, kBits, kTokens, kMinima>(c, first_token, group, u, last, p[s], total[s]);
  }
  LACUNA_UNROLL for (int s = 0; s < kStreams; s++) LACUNA_UNROLL for (int t = 0; t < kTokens; t++) LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++)
      S::store_floats(calls[s].scaled_sums + (first_token + t) * kLanes + v * kPerVector, total[s][t][v]);
}

// What the indices of a step of n16 count from, in each byte of a lane.
constexpr int32_t n16_columns(int slots, int step) { return slots == 2 ? 0x20202020 * step + 0x10100000 : 0x10101010 * (step / (slots / 4)); }

// One step of a gather: sixteen activations per 128-bit lane, or a window, permuted to the slots and multiplied.
template <class S, int kSlots, int kTokens>
void n16(const Lane16Call& c, int64_t first_token) {
  using Vec = typename S::Vec;
  constexpr int kChains = kTokens * S::kVectors <= 2 ? 2 : 1;
  constexpr int kBytes = 64 / S::kVectors;
  constexpr int kPairs = kSlots / 2;  // of steps in a unit: kSlots slots x 4 groups / 4 slots per step / 2
  Vec acc[kChains][kTokens][S::kVectors];
  LACUNA_UNROLL for (int k = 0; k < kChains; k++) LACUNA_UNROLL for (int t = 0; t < kTokens; t++) start<S>(acc[k][t], 0);
  const uint8_t* p = c.stream;
  const uint8_t* base = c.x + first_token * c.x_stride;
  for (int64_t u = 0; u < c.units; u++) {
    const uint8_t* x = base + c.offsets[u];
    LACUNA_UNROLL for (int i = 0; i < kPairs; i++, p += 192) {
      prefetch_page_ahead<kTokens, 3>(p);
      LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++) {
        Vec nibbles = S::load(p + kBytes * v);
        LACUNA_UNROLL for (int half = 0; half < 2; half++) {
          Vec index = half ? S::high_nibbles(nibbles) : S::low_nibbles(nibbles);
          typename S::Gathered w(p + 64 + 64 * half + kBytes * v);
          const int step = 2 * i + half;
          auto& sums = acc[half % kChains];
          // The unit is one window. For few tokens the longer way to the indices costs more than the loads it saves.
          if constexpr (S::kGathersFour && (kTokens >= 8 || kSlots <= 4)) {
            index = S::add(index, S::set1(n16_columns(kSlots, step)));
            if constexpr (kTokens % 4 == 0) {
              const uint8_t* xt = x;
              LACUNA_UNROLL for (int t = 0; t < kTokens; t += 4, xt += 4 * c.x_stride)
                  S::gather_four(sums[t], index, w.codes, xt, c.x_stride, 3 * c.x_stride);
            } else {
              LACUNA_UNROLL for (int t = 0; t < kTokens; t++) w.dot(sums[t][v], S::gather(x + t * c.x_stride, index));
            }
            continue;
          }
          LACUNA_UNROLL for (int t = 0; t < kTokens; t++) {
            const uint8_t* xt = x + t * c.x_stride;
            Vec gathered =
                kSlots == 2 ? S::lookup16_pair(xt + 32 * step, index) : S::lookup16(xt + 16 * (step / (kSlots / 4 ? kSlots / 4 : 1)), index);
            w.dot(sums[t][v], gathered);
          }
        }
      }
    }
  }
  LACUNA_UNROLL for (int t = 0; t < kTokens; t++) LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++) {
    Vec sum = acc[0][t][v];
    if constexpr (kChains == 2) sum = S::add(sum, acc[1][t][v]);
    S::store(c.sums + (first_token + t) * kLanes + v * (16 / S::kVectors), sum);
  }
}

// Always inlined: a call that is inlined late leaves the accumulators on the stack (gcc 12).
template <class S, int kWindow, int kTokens>
[[gnu::always_inline]] inline void window_step(typename S::Vec (&acc)[kTokens][S::kVectors], const uint8_t* p, const uint8_t* x, const uint8_t* x_xor,
                                               int64_t x_stride) {
  constexpr int kBytes = 64 / S::kVectors;
  LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++) {
    typename S::Vec index = S::load(p + kBytes * v);
    typename S::Gathered w(p + 64 + kBytes * v);
    if constexpr (S::kGathersFour && kWindow == 64 && kTokens % 4 == 0) {
      LACUNA_UNROLL for (int t = 0; t < kTokens; t += 4, x += 4 * x_stride) S::gather_four(acc[t], index, w.codes, x, x_stride, 3 * x_stride);
      continue;
    }
    typename S::Vec gathered[kTokens];
    S::template lookup_window<kWindow, kTokens>(x, x_xor, x_stride, index, gathered);
    LACUNA_UNROLL for (int t = 0; t < kTokens; t++) w.dot(acc[t][v], gathered[t]);
  }
}

template <class S, int kWindow, int kTokens>
void window(const Lane16Call& c, int64_t first_token) {
  using Vec = typename S::Vec;
  constexpr int kChains = kTokens * S::kVectors <= 2 ? 2 : 1;
  Vec acc[kChains][kTokens][S::kVectors];
  LACUNA_UNROLL for (int k = 0; k < kChains; k++) LACUNA_UNROLL for (int t = 0; t < kTokens; t++) start<S>(acc[k][t], 0);
  const uint8_t *p = c.stream, *x = c.x + first_token * c.x_stride, *x_xor = c.x_xor + first_token * c.x_stride;
  const int32_t* offset = c.offsets;
  int64_t stride = c.x_stride, steps = c.units;
  for (; steps >= kChains; steps -= kChains, offset += kChains, p += 128 * kChains) {
    prefetch_page_ahead<kTokens, 2 * kChains>(p);
    window_step<S, kWindow, kTokens>(acc[0], p, x + offset[0], x_xor + offset[0], stride);
    if constexpr (kChains == 2) window_step<S, kWindow, kTokens>(acc[1], p + 128, x + offset[1], x_xor + offset[1], stride);
  }
  if constexpr (kChains == 2)
    if (steps > 0) window_step<S, kWindow, kTokens>(acc[0], p, x + offset[0], x_xor + offset[0], stride);
  LACUNA_UNROLL for (int t = 0; t < kTokens; t++) LACUNA_UNROLL for (int v = 0; v < S::kVectors; v++) {
    Vec sum = acc[0][t][v];
    if constexpr (kChains == 2) sum = S::add(sum, acc[1][t][v]);
    S::store(c.sums + (first_token + t) * kLanes + v * (16 / S::kVectors), sum);
  }
}

// Two row groups whose windows of 64 columns are the same, by eight tokens at a time: they share what they load of x. steps(x, acc) adds all their
// steps; four tokens or fewer that are left over go alone.
template <class S, class Steps, class Alone>
[[gnu::always_inline]] inline void gather_pair(const Lane16Call* pair, Steps steps, Alone alone) {
  const Lane16Call& c = pair[0];
  int64_t first = 0;
  for (; first + 4 < c.tokens; first += 8) {
    typename S::Vec acc[2][8];
    LACUNA_UNROLL for (int t = 0; t < 8; t++) acc[0][t] = acc[1][t] = S::set1(0);
    steps(c.x + first * c.x_stride, acc);
    LACUNA_UNROLL for (int s = 0; s < 2; s++) LACUNA_UNROLL for (int t = 0; t < 8; t++) S::store(pair[s].sums + (first + t) * kLanes, acc[s][t]);
  }
  for (int s = 0; s < 2 && first < c.tokens; s++) alone(pair[s], first, c.tokens - first);
}

// Eight tokens times a step of two row groups, indices and codes.
template <class S>
[[gnu::always_inline]] inline void pair_step(typename S::Vec (&acc)[2][8], typename S::Vec i, typename S::Vec j, typename S::Vec w, typename S::Vec v,
                                             const uint8_t* x, int64_t stride) {
  S::gather_four_pair(acc[0], acc[1], i, j, w, v, x, stride, 3 * stride);
  S::gather_four_pair(acc[0] + 4, acc[1] + 4, i, j, w, v, x + 4 * stride, stride, 3 * stride);
}

template <class S, int kSlots>
void n16_pair(const Lane16Call* pair) {
  auto steps = [pair](const uint8_t* x, typename S::Vec(&acc)[2][8]) __attribute__((always_inline)) {
    const Lane16Call& c = pair[0];
    const uint8_t *p = c.stream, *q = pair[1].stream;
    for (int64_t u = 0; u < c.units; u++) LACUNA_UNROLL for (int i = 0; i < kSlots / 2; i++, p += 192, q += 192) {
        prefetch_page_ahead<8, 3>(p);
        prefetch_page_ahead<8, 3>(q);
        const typename S::Vec nibbles_p = S::load(p), nibbles_q = S::load(q);
        LACUNA_UNROLL for (int half = 0; half < 2; half++) {
          const typename S::Vec from = S::set1(n16_columns(kSlots, 2 * i + half));
          pair_step<S>(acc, S::add(half ? S::high_nibbles(nibbles_p) : S::low_nibbles(nibbles_p), from),
                       S::add(half ? S::high_nibbles(nibbles_q) : S::low_nibbles(nibbles_q), from), S::load(p + 64 + 64 * half),
                       S::load(q + 64 + 64 * half), x + c.offsets[u], c.x_stride);
        }
      }
  };
  gather_pair<S>(pair, steps, [](const Lane16Call& c, int64_t first, int64_t rest) {
    rest > 2 ? n16<S, kSlots, 4>(c, first) : rest == 2 ? n16<S, kSlots, 2>(c, first) : n16<S, kSlots, 1>(c, first);
  });
}

template <class S>
void window_pair(const Lane16Call* pair) {
  auto steps = [pair](const uint8_t* x, typename S::Vec(&acc)[2][8]) __attribute__((always_inline)) {
    const Lane16Call& c = pair[0];
    const uint8_t *p = c.stream, *q = pair[1].stream;
    for (int64_t i = 0; i < c.units; i++, p += 128, q += 128) {
      prefetch_page_ahead<8, 2>(p);
      prefetch_page_ahead<8, 2>(q);
      pair_step<S>(acc, S::load(p), S::load(q), S::load(p + 64), S::load(q + 64), x + c.offsets[i], c.x_stride);
    }
  };
  gather_pair<S>(pair, steps, [](const Lane16Call& c, int64_t first, int64_t rest) {
    rest > 2 ? window<S, 64, 4>(c, first) : rest == 2 ? window<S, 64, 2>(c, first) : window<S, 64, 1>(c, first);
  });
}

// Splits the tokens of a call into passes of 16, 8, 4, 2 and 1, as many at once as the registers hold. More tokens share the loads of a
// step, the expansion of a mask and the end of a row group, where a branch is mispredicted.
template <int kValue>
struct Tokens {
  static constexpr int value = kValue;
};
// kMostBytes: of sixteen tokens, which should stay in the L1 cache.
template <class S, int kMost, int64_t kMostBytes = 40 << 10, class Pass>
inline void by_tokens(const Lane16Call& c, Pass pass) {
  int64_t t = 0;
  if constexpr (S::kMaxTokens >= 16 && kMost >= 16)
    for (; t + 12 < c.tokens && 16 * c.x_stride <= kMostBytes; t += 16) pass(Tokens<16>(), t);
  if constexpr (S::kMaxTokens >= 8)
    for (; t + 4 < c.tokens; t += 8) pass(Tokens<8>(), t);
  for (; t + 2 < c.tokens; t += 4) pass(Tokens<4>(), t);
  for (; t + 1 < c.tokens; t += 2) pass(Tokens<2>(), t);
  for (; t < c.tokens; t++) pass(Tokens<1>(), t);
}

template <class S, template <class, int> class Unit, int kBits>
void run_row_scaled(const Lane16Call& c) {
  by_tokens<S, 16>(c, [&](auto n, int64_t t) { row_scaled<S, Unit, kBits, n.value, 1>(&c, t); });
}
template <class S, template <class, int> class Unit, int kBits, bool kMinima>
void run_group_scaled(const Lane16Call& c) {
  by_tokens<S, 8>(c, [&](auto n, int64_t t) { group_scaled<S, Unit, kBits, n.value, kMinima, 1>(&c, t); });
}
template <class S, int kBits>
void run_row_scaled_pair(const Lane16Call* pair) {
  if (pair->tokens == 1) return row_scaled<S, BitmaskUnit, kBits, 1, 2>(pair, 0);
  row_scaled<S, BitmaskUnit, kBits, 2, 2>(pair, 0);
}
template <class S, int kBits, bool kMinima>
void run_group_scaled_pair(const Lane16Call* pair) {
  if (pair->tokens == 1) return group_scaled<S, BitmaskUnit, kBits, 1, kMinima, 2>(pair, 0);
  group_scaled<S, BitmaskUnit, kBits, 2, kMinima, 2>(pair, 0);
}
template <class S, int kSlots>
void run_n16(const Lane16Call& c) {
  // Nibbles are taken apart once for all tokens: worth lines that come from L2 now and then (Zen 5, 16 tokens of 4096 columns: 6 to 10 % faster).
  by_tokens<S, 16, 80 << 10>(c, [&](auto n, int64_t t) { n16<S, kSlots, n.value>(c, t); });
}
template <class S, int kWindow>
void run_window(const Lane16Call& c) {
  by_tokens<S, kWindow == 64 ? 16 : 8>(c, [&](auto n, int64_t t) { window<S, kWindow, n.value>(c, t); });
}

template <class S>
void output(const Lane16Output& o) {
  using Floats = typename S::Floats;
  constexpr int kPerVector = 16 / S::kVectors;
  for (int64_t t = 0; t < o.tokens; t++) LACUNA_UNROLL for (int v = 0; v < 16; v += kPerVector) {
      Floats sum;
      if (o.sums) {
        typename S::Vec dot = S::load(o.sums + t * kLanes + v);
        if (o.excess) dot = S::sub(dot, S::load(o.excess + v));
        sum = S::mul(S::to_float(dot), S::load_floats(o.scales + v));
      } else {
        sum = S::load_floats(o.scaled_sums + t * kLanes + v);
      }
      sum = S::mul(sum, S::set1_float(o.x_scales[t]));
      if (o.bias) sum = S::add_float(sum, S::load_floats(o.bias + v));
      if (o.residual) sum = S::add_float(sum, S::load_floats(o.residual + t * o.residual_stride + v));
      if (o.relu) sum = S::max(S::set1_float(0), sum);  // NaN stays
      S::store_floats(o.y + t * o.y_stride + v, sum);
    }
}

template <class S>
float largest(const float* x, int64_t n) {
  constexpr int kPerVector = 16 / S::kVectors;
  typename S::Floats most[4];  // four chains hide the latency
  LACUNA_UNROLL for (int k = 0; k < 4; k++) most[k] = S::set1_float(0);
  int64_t i = 0;
  for (; i + 4 * kPerVector <= n; i += 4 * kPerVector)
    LACUNA_UNROLL for (int k = 0; k < 4; k++) most[k] = S::max(S::abs_float(S::load_floats(x + i + k * kPerVector)), most[k]);
  for (; i + kPerVector <= n; i += kPerVector) most[0] = S::max(S::abs_float(S::load_floats(x + i)), most[0]);
  float out = S::largest_lane(S::max(S::max(most[0], most[1]), S::max(most[2], most[3])));
  for (; i < n; i++) {
    float v = x[i] < 0 ? -x[i] : x[i];
    out = out < v ? v : out;
  }
  return out;
}

template <class S>
void quantize(const float* x, int64_t n, const CodeRule& rule, uint8_t flip, uint8_t* out) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) S::quantize64(x + i, rule, flip, out + i);
  for (; i + 16 <= n; i += 16) S::quantize16(x + i, rule, flip, out + i);
  if (i == n) return;
  float rest[16] = {};
  uint8_t codes[16];
  for (int64_t k = i; k < n; k++) rest[k - i] = x[k];
  S::quantize16(rest, rule, flip, codes);
  for (int64_t k = i; k < n; k++) out[k] = codes[k - i];
}

// The table of an instruction set.
template <class S>
constexpr Lane16Isa isa_table() {
  Lane16Isa isa = {};
  isa.bias8 = S::kBias8;
  isa.raw_bitmask = S::kRawBitmask;
  isa.nibble_run = S::kNibbleRun;
  isa.unit_multiple = 1;
  isa.unsigned_gather = S::kUnsignedGather;
  isa.xor_windows = S::kXorWindows;
  isa.dense[0][0] = run_row_scaled<S, DenseUnit, 8>;
  isa.dense[0][1] = run_group_scaled<S, DenseUnit, 8, false>;
  if constexpr (S::kDotsFour) isa.dense_pair = dense_pair<S>;
  isa.dense[1][0] = run_row_scaled<S, DenseUnit, 4>;
  isa.dense[1][1] = run_group_scaled<S, DenseUnit, 4, false>;
  isa.dense[1][2] = run_group_scaled<S, DenseUnit, 4, true>;
  isa.bitmask[0][0] = run_row_scaled<S, BitmaskUnit, 8>;
  isa.bitmask[0][1] = run_group_scaled<S, BitmaskUnit, 8, false>;
  isa.bitmask[1][0] = run_row_scaled<S, BitmaskUnit, 4>;
  isa.bitmask[1][1] = run_group_scaled<S, BitmaskUnit, 4, false>;
  isa.bitmask[1][2] = run_group_scaled<S, BitmaskUnit, 4, true>;
  isa.bitmask_pair[0][0] = run_row_scaled_pair<S, 8>;
  isa.bitmask_pair[0][1] = run_group_scaled_pair<S, 8, false>;
  isa.bitmask_pair[1][0] = run_row_scaled_pair<S, 4>;
  isa.bitmask_pair[1][1] = run_group_scaled_pair<S, 4, false>;
  isa.bitmask_pair[1][2] = run_group_scaled_pair<S, 4, true>;
  isa.n16[0] = run_n16<S, 2>;
  isa.n16[1] = run_n16<S, 4>;
  isa.n16[2] = run_n16<S, 8>;
  isa.n16[3] = run_n16<S, 12>;
  isa.n16[4] = run_n16<S, 16>;
  if constexpr (S::kGathersFour) {
    isa.n16_pair[0] = n16_pair<S, 2>;
    isa.n16_pair[1] = n16_pair<S, 4>;
    isa.n16_pair[2] = n16_pair<S, 8>;
    isa.n16_pair[3] = n16_pair<S, 12>;
    isa.n16_pair[4] = n16_pair<S, 16>;
    isa.window_pair = window_pair<S>;
  }
  isa.window[0] = run_window<S, 64>;
  isa.window[1] = run_window<S, 128>;
  if constexpr (!S::kXorWindows) isa.window[2] = run_window<S, 256>;
  isa.output = output<S>;
  isa.largest = largest<S>;
  isa.quantize = quantize<S>;
  isa.group_sums = S::group_sums;
  isa.xor_shifted = S::xor_shifted;
  return isa;
}
