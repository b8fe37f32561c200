// The inner loops of integer/panel.h over a vector type S; see lane16.inl, which is included first.

template <class S>
constexpr int kPanelTokens = 4 * 16 / S::kVectors;

// Four columns to lanes of four: in each 128-bit lane, x[i] takes tokens 4 i to 4 i + 3.
template <class S>
[[gnu::always_inline]] inline void interleave(const uint8_t* a, const uint8_t* b, const uint8_t* c, const uint8_t* d, typename S::Vec (&x)[4]) {
  typename S::Vec va = S::load(a), vb = S::load(b), vc = S::load(c), vd = S::load(d);
  typename S::Vec low_ab = S::unpack_low8(va, vb), high_ab = S::unpack_high8(va, vb);
  typename S::Vec low_cd = S::unpack_low8(vc, vd), high_cd = S::unpack_high8(vc, vd);
  x[0] = S::unpack_low16(low_ab, low_cd), x[1] = S::unpack_high16(low_ab, low_cd);
  x[2] = S::unpack_low16(high_ab, high_cd), x[3] = S::unpack_high16(high_ab, high_cd);
}

// One quad: its columns times its codes of rows [first, first + kPass).
template <class S, bool kAligned, int kPass>
[[gnu::always_inline]] inline void quad(const uint8_t* p, const uint8_t* panel, int first, typename S::Vec (&acc)[kPass][4]) {
  constexpr int kPer = 16 / S::kVectors, kIndices = kAligned ? 1 : 4;
  const Word16* offsets = reinterpret_cast<const Word16*>(p);
  typename S::Vec x[4];
  if constexpr (kAligned) {
    LACUNA_UNROLL for (int i = 0; i < 4; i++) x[i] = S::load(panel + offsets[0] + i * 4 * kPer);
  } else {
    uint64_t all;
    __builtin_memcpy(&all, p, sizeof all);
    interleave<S>(panel + uint16_t(all), panel + uint16_t(all >> 16), panel + uint16_t(all >> 32), panel + (all >> 48), x);
  }
  LACUNA_UNROLL for (int r = 0; r < kPass; r++) {
    typename S::Broadcast w(p + 2 * kIndices + 4 * (first + r));
    LACUNA_UNROLL for (int i = 0; i < 4; i++) w.dot(acc[r][i], x[i]);
  }
}

// Asks for the lines of the outputs, one of sixteen rows at a time: [16 rows of a chunk][panel tokens / 16] per row that is multiplied. They
// lie on as many pages as there are tokens, and stores alone would wait for each of them.
template <class S>
[[gnu::always_inline]] inline void fetch_outputs(const PanelCall& c, int64_t row) {
  constexpr int kShare = kPanelTokens<S> / 16;
  const float* line = c.ahead + row % 16 * kShare * c.ahead_stride + row / 16 * 16;
  LACUNA_UNROLL for (int t = 0; t < kShare; t++) _mm_prefetch(reinterpret_cast<const char*>(line + t * c.ahead_stride), _MM_HINT_T1);
}

// Asks for what row groups to come will read, as many bytes of the stream as this one has: the hardware prefetcher stops at the end of a page,
// of which a row group often has a twentieth.
[[gnu::always_inline]] inline void fetch_ahead(const uint8_t* stream, int64_t bytes) {
  constexpr int64_t kAhead = 2048;
  const char* p = reinterpret_cast<const char*>(stream + kAhead);
  // No loop for the usual rows: its end would be mispredicted.
  _mm_prefetch(p, _MM_HINT_T0), _mm_prefetch(p + 64, _MM_HINT_T0), _mm_prefetch(p + 128, _MM_HINT_T0);
  for (int64_t i = 192; i < bytes; i += 64) _mm_prefetch(p + i, _MM_HINT_T0);
}

// sums += code * x for all row groups of a tile.
template <class S, int kRows, bool kAligned>
void panel(const PanelCall& c) {
  using Vec = typename S::Vec;
  constexpr int kPer = 16 / S::kVectors;
  constexpr int kPass = kRows * 4 * S::kVectors > 16 ? 4 / S::kVectors : kRows;  // rows whose sums fit the registers
  // A single row would wait for its four sums: every other quad has its own. With eight of them, in two registers each, only if nothing is shuffled.
  constexpr bool kTwoChains = kPass == 1 && (kAligned || S::kVectors == 1);
  constexpr int64_t kQuadBytes = 2 * (kAligned ? 1 : 4) + 4 * kRows;
  const uint8_t* stream = c.stream;
  for (int64_t g = 0; g < c.row_groups; g++) {
    int64_t quads = c.quads[g];
    int32_t* sums = c.sums + c.order[g] * (kRows * 4 * kPer);
    fetch_ahead(stream, quads * kQuadBytes);
    if (c.ahead)
      for (int r = 0; r < kRows; r++) fetch_outputs<S>(c, g * kRows + r);
    LACUNA_UNROLL for (int first = 0; first < kRows; first += kPass) {
      Vec acc[kPass][4], odd[kPass][4];
      LACUNA_UNROLL for (int r = 0; r < kPass; r++) LACUNA_UNROLL for (int i = 0; i < 4; i++) {
        acc[r][i] = c.accumulate ? S::load(sums + ((first + r) * 4 + i) * kPer) : S::set1(0);
        if constexpr (kTwoChains) odd[r][i] = S::set1(0);
      }
      const uint8_t* p = stream;
      int64_t q = quads;
      if constexpr (kTwoChains)
        for (; q >= 2; q -= 2, p += 2 * kQuadBytes) {
          quad<S, kAligned, kPass>(p, c.panel, first, acc);
          quad<S, kAligned, kPass>(p + kQuadBytes, c.panel, first, odd);
        }
      for (; q > 0; q--, p += kQuadBytes) quad<S, kAligned, kPass>(p, c.panel, first, acc);
      LACUNA_UNROLL for (int r = 0; r < kPass; r++) LACUNA_UNROLL for (int i = 0; i < 4; i++) {
        if constexpr (kTwoChains) acc[r][i] = S::add(acc[r][i], odd[r][i]);
        S::store(sums + ((first + r) * 4 + i) * kPer, acc[r][i]);
      }
    }
    stream += quads * kQuadBytes;
  }
}

// The sums of a register's worth of consecutive tokens, block by block.
template <class S>
[[gnu::always_inline]] inline typename S::Vec token_block(const int32_t* sums, int block, bool interleaved) {
  return interleaved ? S::load_lanes(sums, block) : S::load(sums + block * (16 / S::kVectors));
}

// The outputs of a block of tokens for kPer rows from `first` on.
template <class S, bool kPlain>
[[gnu::always_inline]] inline void output_block(const PanelOutput& o, int block, int64_t first, typename S::Floats x_scale) {
  using Floats = typename S::Floats;
  constexpr int kPer = 16 / S::kVectors, kTokens = kPanelTokens<S>;
  Floats tile[kPer];
  const int32_t *sums = o.sums + first * kTokens + block * kPer, *excess = o.excess ? o.excess + first : nullptr;
  const float* scales = o.scales + first;
  // Pointers that move, because gcc 12 would keep sixteen addresses of each.
  LACUNA_UNROLL for (int r = 0; r < kPer; r++, sums += kTokens) {
    typename S::Vec sum = S::load(sums);
    if (excess) sum = S::sub(sum, S::set1(excess[r]));
    tile[r] = S::mul(S::mul(S::to_float(sum), S::set1_float(scales[r])), x_scale);
    __asm__("" : "+r"(sums));
  }
  S::transpose(tile);
  const int64_t y_stride = o.y_stride, residual_stride = o.residual_stride;
  // Interleaved sums were taken as they stand: each four tokens are four of sixteen.
  const int64_t first_token = o.interleaved ? 4 * block : kPer * block, next = o.interleaved ? 16 : 4;
  float* y = o.y + first_token * y_stride + first;
  const float* residual = !kPlain && o.residual ? o.residual + first_token * residual_stride + first : nullptr;
  const Floats bias = o.bias ? S::load_floats(o.bias + first) : S::set1_float(0);
  const bool relu = o.relu;
  LACUNA_UNROLL for (int t = 0; t < kPer; t += 4, y += next * y_stride) {
    LACUNA_UNROLL for (int i = 0; i < 4; i++) {
      Floats v = S::add_float(tile[t + i], bias);
      if constexpr (!kPlain) {
        if (residual) v = S::add_float(v, S::load_floats(residual + i * residual_stride));
        if (relu) v = S::max(v, S::set1_float(0));
      }
      S::store_floats(y + i * y_stride, v);
    }
    if (residual) residual += next * residual_stride;
    __asm__("" : "+r"(y));
  }
}

template <class S>
void output_token_major(const PanelOutput& o) {
  constexpr int kPer = 16 / S::kVectors, kTokens = kPanelTokens<S>;
  for (int block = 0; block < kTokens / kPer; block++) {
    typename S::Floats x_scale = o.interleaved ? S::load_float_lanes(o.x_scales, block) : S::load_floats(o.x_scales + block * kPer);
    for (int64_t first = 0; first < o.rows; first += kPer)
      o.residual || o.relu ? output_block<S, false>(o, block, first, x_scale) : output_block<S, true>(o, block, first, x_scale);
  }
}

template <class S>
void output_channel_major(const PanelOutput& o) {
  using Floats = typename S::Floats;
  constexpr int kPer = 16 / S::kVectors, kTokens = kPanelTokens<S>;
  for (int64_t r = 0; r < o.rows; r++) LACUNA_UNROLL for (int block = 0; block < kTokens / kPer; block++) {
      typename S::Vec sum = token_block<S>(o.sums + r * kTokens, block, o.interleaved);
      if (o.excess) sum = S::sub(sum, S::set1(o.excess[r]));
      Floats v = S::mul(S::mul(S::to_float(sum), S::set1_float(o.scales[r])), S::load_floats(o.x_scales + block * kPer));
      if (o.bias) v = S::add_float(v, S::set1_float(o.bias[r]));
      if (o.residual) v = S::add_float(v, S::load_floats(o.residual + r * o.residual_stride + block * kPer));
      if (o.relu) v = S::max(v, S::set1_float(0));
      S::store_floats(o.y + r * o.y_stride + block * kPer, v);
    }
}

// [16 tokens][cols] bytes to [cols][panel tokens].
template <class S>
void interleave_bytes(const uint8_t* codes, int64_t stride, int64_t cols, uint8_t* out) {
  using Vec = typename S::Vec;
  constexpr int kBytes = 64 / S::kVectors;
  for (int64_t col = 0; col < cols; col += kBytes) {
    Vec v[16], u[16];
    LACUNA_UNROLL for (int t = 0; t < 16; t++) v[t] = S::load(codes + t * stride + col);
    LACUNA_UNROLL for (int t = 0; t < 8; t++) u[2 * t] = S::unpack_low8(v[t], v[t + 8]), u[2 * t + 1] = S::unpack_high8(v[t], v[t + 8]);
    LACUNA_UNROLL for (int t = 0; t < 8; t++) v[2 * t] = S::unpack_low8(u[t], u[t + 8]), v[2 * t + 1] = S::unpack_high8(u[t], u[t + 8]);
    LACUNA_UNROLL for (int t = 0; t < 8; t++) u[2 * t] = S::unpack_low8(v[t], v[t + 8]), u[2 * t + 1] = S::unpack_high8(v[t], v[t + 8]);
    LACUNA_UNROLL for (int t = 0; t < 8; t++) v[2 * t] = S::unpack_low8(u[t], u[t + 8]), v[2 * t + 1] = S::unpack_high8(u[t], u[t + 8]);
    LACUNA_UNROLL for (int c = 0; c < 16; c++) S::store_lanes(out + (col + c) * kPanelTokens<S>, 16 * kPanelTokens<S>, v[c]);
  }
}

// [16 tokens][cols] bytes to [cols / 4][panel tokens][4].
template <class S>
void interleave_quads(const uint8_t* codes, int64_t stride, int64_t cols, uint8_t* out) {
  constexpr int kPer = 16 / S::kVectors;
  for (int64_t col = 0; col < cols; col += 4 * kPer)
    for (int first = 0; first < 16; first += kPer) {
      typename S::Floats tile[kPer];
      LACUNA_UNROLL for (int t = 0; t < kPer; t++) tile[t] = S::load_floats(reinterpret_cast<const float*>(codes + (first + t) * stride + col));
      S::transpose(tile);
      LACUNA_UNROLL for (int q = 0; q < kPer; q++)
          S::store_floats(reinterpret_cast<float*>(out + (col / 4 + q) * 4 * kPanelTokens<S> + 4 * first), tile[q]);
    }
}

template <class S>
void copy_columns(const uint8_t* source, const int64_t* offsets, int64_t cols, uint8_t* out) {
  for (int64_t c = 0; c < cols; c++) S::store(reinterpret_cast<int32_t*>(out + c * kPanelTokens<S>), S::load(source + offsets[c]));
}

template <class S>
void interleave_columns(const uint8_t* source, const int64_t* offsets, int64_t cols, uint8_t* out) {
  for (int64_t c = 0; c < cols; c += 4) {
    typename S::Vec x[4];
    interleave<S>(source + offsets[c], source + offsets[c + 1], source + offsets[c + 2], source + offsets[c + 3], x);
    LACUNA_UNROLL for (int i = 0; i < 4; i++) S::store(reinterpret_cast<int32_t*>(out + (c + i) * kPanelTokens<S>), x[i]);
  }
}

template <class S>
constexpr PanelIsa panel_table() {
  return {.tokens = kPanelTokens<S>,
          .unsigned_x = S::kUnsignedGather,
          .run = {{panel<S, 1, false>, panel<S, 1, true>}, {panel<S, 4, false>, panel<S, 4, true>}},
          .output_token_major = output_token_major<S>,
          .output_channel_major = output_channel_major<S>,
          .interleave_bytes = interleave_bytes<S>,
          .interleave_quads = interleave_quads<S>,
          .copy_columns = copy_columns<S>,
          .interleave_columns = interleave_columns<S>};
}
