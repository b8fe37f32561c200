// Template over Vec (vec256.inl) and the activations of store.inl. Included inside the namespace of an ISA folder, after
// activations.inl.
//
// Attention of a tile of queries: scores of all its keys first (panels of 64 keys, transposed so that lanes are keys), softmax of each
// row, then probabilities times values (lanes are value columns). The scores of 16 queries and some thousand keys stay in L2, so the
// running maximum of the online form is not needed.

static inline float max_of(Vec a) {
  float lanes[Vec::kLanes];
  Vec::store(lanes, a);
  float m = lanes[0];
  for (float lane : lanes) m = lane > m ? lane : m;
  return m;
}

#define LACUNA_EACH_VECTOR(do) \
  do (0) do(1) do(2) do(3)
#define LACUNA_ZERO(i) [[maybe_unused]] Vec a##i = Vec::zero(), b##i = a##i, c##i = a##i, d##i = a##i;

// scores[r][0..V vectors) = sum_d q[r][d] panel[d][0..V vectors) for R rows.
template <int R, int V>
static inline void score_block(const float* q, int64_t q_stride, const float* panel, int64_t dim, float* scores, int64_t scores_stride) {
  constexpr int L = Vec::kLanes;
  LACUNA_EACH_VECTOR(LACUNA_ZERO)
  for (int64_t k = 0; k < dim; k++, panel += kKeyPanel) {
    Vec wa = Vec::set1(q[k]);
    [[maybe_unused]] Vec wb = R > 1 ? Vec::set1(q[q_stride + k]) : wa, wc = R > 2 ? Vec::set1(q[2 * q_stride + k]) : wa,
                         wd = R > 3 ? Vec::set1(q[3 * q_stride + k]) : wa;
#define LACUNA_FMA(i)                                    \
  if constexpr (V > i) {                                 \
    Vec x = Vec::load(panel + i * L);                    \
    a##i = Vec::fmadd(wa, x, a##i);                      \
    if constexpr (R > 1) b##i = Vec::fmadd(wb, x, b##i); \
    if constexpr (R > 2) c##i = Vec::fmadd(wc, x, c##i); \
    if constexpr (R > 3) d##i = Vec::fmadd(wd, x, d##i); \
  }
    LACUNA_EACH_VECTOR(LACUNA_FMA)
#undef LACUNA_FMA
  }
#define LACUNA_STORE(i)                                                        \
  if constexpr (V > i) {                                                       \
    Vec::store(scores + i * L, a##i);                                          \
    if constexpr (R > 1) Vec::store(scores + scores_stride + i * L, b##i);     \
    if constexpr (R > 2) Vec::store(scores + 2 * scores_stride + i * L, c##i); \
    if constexpr (R > 3) Vec::store(scores + 3 * scores_stride + i * L, d##i); \
  }
  LACUNA_EACH_VECTOR(LACUNA_STORE)
#undef LACUNA_STORE
}

// Scores of one query against keys as they lie: for a few queries, turning keys into panels would cost more than the products.
static inline void score_row(const float* q, const float* keys, int64_t stride, int64_t count, int64_t dim, float* scores) {
  constexpr int L = Vec::kLanes;
  for (int64_t j = 0; j < count; j++, keys += stride) {
    Vec even = Vec::zero(), odd = Vec::zero();
    int64_t k = 0;
    for (; k + 2 * L <= dim; k += 2 * L) {
      even = Vec::fmadd(Vec::load(q + k), Vec::load(keys + k), even);
      odd = Vec::fmadd(Vec::load(q + k + L), Vec::load(keys + k + L), odd);
    }
    for (; k < dim; k += L) {
      int64_t n = dim - k < L ? dim - k : L;
      even = Vec::fmadd(Vec::load_first(q + k, n), Vec::load_first(keys + k, n), even);
    }
    scores[j] = Vec::sum(Vec::add(even, odd));
  }
}

// out[r][0..n) = sum_k p[r][k] v[k][0..n) for R rows; n is V vectors, the last of which may be partial.
template <int R, int V>
static inline void value_block(const float* p, int64_t p_stride, const float* v, int64_t v_stride, int64_t first, int64_t last, int64_t n, float* out,
                               int64_t out_stride) {
  constexpr int L = Vec::kLanes;
  LACUNA_EACH_VECTOR(LACUNA_ZERO)
  int64_t rest = n - (V - 1) * L;
  bool whole = rest == L;
  for (int64_t k = first; k < last; k++) {
    const float* row = v + k * v_stride;
    Vec wa = Vec::set1(p[k]);
    [[maybe_unused]] Vec wb = R > 1 ? Vec::set1(p[p_stride + k]) : wa, wc = R > 2 ? Vec::set1(p[2 * p_stride + k]) : wa,
                         wd = R > 3 ? Vec::set1(p[3 * p_stride + k]) : wa;
#define LACUNA_FMA(i)                                                                         \
  if constexpr (V > i) {                                                                      \
    Vec x = i + 1 < V || whole ? Vec::load(row + i * L) : Vec::load_first(row + i * L, rest); \
    a##i = Vec::fmadd(wa, x, a##i);                                                           \
    if constexpr (R > 1) b##i = Vec::fmadd(wb, x, b##i);                                      \
    if constexpr (R > 2) c##i = Vec::fmadd(wc, x, c##i);                                      \
    if constexpr (R > 3) d##i = Vec::fmadd(wd, x, d##i);                                      \
  }
    LACUNA_EACH_VECTOR(LACUNA_FMA)
#undef LACUNA_FMA
  }
#define LACUNA_STORE(i)                                                               \
  if constexpr (V > i) {                                                              \
    int64_t lanes = i + 1 < V ? L : rest;                                             \
    Vec::store_first(out + i * L, a##i, lanes);                                       \
    if constexpr (R > 1) Vec::store_first(out + out_stride + i * L, b##i, lanes);     \
    if constexpr (R > 2) Vec::store_first(out + 2 * out_stride + i * L, c##i, lanes); \
    if constexpr (R > 3) Vec::store_first(out + 3 * out_stride + i * L, d##i, lanes); \
  }
  LACUNA_EACH_VECTOR(LACUNA_STORE)
#undef LACUNA_STORE
}
#undef LACUNA_ZERO
#undef LACUNA_EACH_VECTOR

// y = softmax(x) over n; entries at -infinity give 0, and a row of only such gives zeros.
void softmax_row(const float* x, int64_t n, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  const float lowest = -__builtin_inff();
  Vec top = Vec::set1(lowest);
  int64_t i = 0;
  for (; i + L <= n; i += L) top = Vec::max(top, Vec::load(x + i));
  float most = max_of(top);
  for (; i < n; i++) most = x[i] > most ? x[i] : most;
  if (most == lowest) {
    for (i = 0; i < n; i++) y[i] = x[i] == lowest ? 0 : x[i];  // NaN stays NaN
    return;
  }
  // exp_of clamps at -87: e^-87 is 1e-38 of the largest, below what the sum can hold.
  Vec sum = Vec::zero(), shift = Vec::set1(most);
  for (i = 0; i + L <= n; i += L) {
    Vec e = exp_of(Vec::sub(Vec::load(x + i), shift));
    Vec::store(y + i, e);
    sum = Vec::add(sum, e);
  }
  if (i < n) {
    Vec e = exp_of(Vec::sub(Vec::load_first(x + i, n - i), shift));
    Vec::store_first(y + i, e, n - i);
    for (int64_t j = i; j < n; j++) y[j] = x[j] == lowest ? 0 : y[j];
  }
  float total = Vec::sum(sum);
  for (int64_t j = i; j < n; j++) total += y[j];
  Vec factor = Vec::set1(1 / total);
  for (i = 0; i + L <= n; i += L) Vec::store(y + i, Vec::mul(Vec::load(y + i), factor));
  for (; i < n; i++) y[i] *= 1 / total;
}

// panel [dim][kKeyPanel] = the transposed keys [count, dim], in whole vectors.
static inline void pack_keys(const float* k, int64_t stride, int64_t count, int64_t dim, float* panel) {
  constexpr int L = Vec::kLanes;
  for (int64_t j = 0; j < kKeyPanel; j += L) {
    int64_t n = count - j < L ? count - j : L, d = 0;
    if (n <= 0) {
      for (; d < dim; d++) Vec::store(panel + d * kKeyPanel + j, Vec::zero());
      continue;
    }
    const float* keys = k + j * stride;
    for (; d + 4 <= dim; d += 4) {
      typename Vec::Four four = Vec::load_transposed(keys + d, stride, n);
      for (int c = 0; c < 4; c++) Vec::store(panel + (d + c) * kKeyPanel + j, {four.column[c]});
    }
    for (; d < dim; d++)
      for (int64_t i = 0; i < L; i++) panel[d * kKeyPanel + j + i] = keys[(i < n ? i : n - 1) * stride + d];
  }
}

void attention_weights(const AttentionTile& t, int64_t first, int64_t last, float* scores, int64_t stride) noexcept {
  for (int64_t r = 0; r < t.heads * t.rows; r++) {
    float* row = scores + r * stride;
    int64_t position = t.first_position + r % t.rows;
    int64_t end = (t.causal && position + 1 < last ? position + 1 : last) - first;
    int64_t begin = t.window > 0 && position - t.window + 1 > first ? position - t.window + 1 - first : 0;
    if (end < begin) end = begin;
    if (t.softcap > 0) {
      for (int64_t j = begin; j < end; j++) row[j] /= t.softcap;
      activate_array(row + begin, end - begin, 6, 0, 0, row + begin);
      for (int64_t j = begin; j < end; j++) row[j] *= t.softcap;
    }
    if (t.mask) {
      const float* mask = t.mask + r / t.rows * t.mask_head_stride + r % t.rows * t.mask_stride + first;
      for (int64_t j = begin; j < end; j++) row[j] += mask[j];
    }
    softmax_row(row + begin, end - begin, row + begin);
    for (int64_t j = 0; j < begin; j++) row[j] = 0;
    for (int64_t j = end; j < last - first; j++) row[j] = 0;
  }
}

void attention_tile(const AttentionTile& t) noexcept {
  constexpr int L = Vec::kLanes, kVectors = Vec::kRegisters >= 32 ? 4 : 2;  // of a block of four rows
  constexpr int64_t kFewRows = 3;
  int64_t padded = (t.keys + kKeyPanel - 1) / kKeyPanel * kKeyPanel, rows = t.heads * t.rows;
  float *scores = t.scratch, *panel = scores + rows * padded, *queries = panel + t.dim * kKeyPanel, *results = queries + rows * t.dim;
  for (int64_t r = 0; r < rows; r++) {
    const float* q = t.q + r / t.rows * t.q_head_stride + r % t.rows * t.q_stride;
    for (int64_t d = 0; d < t.dim; d++) queries[r * t.dim + d] = q[d] * t.scale;
  }
  // Keys that some row of the tile sees.
  int64_t last_key = t.causal ? t.first_position + t.rows : t.keys;
  if (last_key > t.keys) last_key = t.keys;
  int64_t first_key = t.window > 0 ? t.first_position - t.window + 1 : 0;
  first_key = first_key < 0 ? 0 : first_key / kKeyPanel * kKeyPanel;
  if (rows <= kFewRows) {
    for (int64_t r = 0; r < rows; r++)
      score_row(queries + r * t.dim, t.k + first_key * t.k_stride, t.k_stride, last_key - first_key, t.dim, scores + r * padded + first_key);
  } else {
    for (int64_t k0 = first_key; k0 < last_key; k0 += kKeyPanel) {
      int64_t count = last_key - k0 < kKeyPanel ? last_key - k0 : kKeyPanel;
      pack_keys(t.k + k0 * t.k_stride, t.k_stride, count, t.dim, panel);
      for (int64_t j = 0; j < count; j += kVectors * L) {
        float* out = scores + k0 + j;
        int64_t r = 0;
        for (; r + 4 <= rows; r += 4) score_block<4, kVectors>(queries + r * t.dim, t.dim, panel + j, t.dim, out + r * padded, padded);
        for (; r < rows; r++) score_block<1, kVectors>(queries + r * t.dim, t.dim, panel + j, t.dim, out + r * padded, padded);
      }
    }
  }
  attention_weights(t, first_key, last_key, scores + first_key, padded);
  for (int64_t c = 0; c < t.value_dim;) {
    auto columns = [&]<int V>() {
      int64_t n = t.value_dim - c < V * L ? t.value_dim - c : V * L, r = 0;
      auto block = [&]<int R>() {
        value_block<R, V>(scores + r * padded, padded, t.v + c, t.v_stride, first_key, last_key, n, results + r * t.value_dim + c, t.value_dim);
        r += R;
      };
      while (r + 4 <= rows) block.template operator()<4>();
      if (rows - r == 3) block.template operator()<3>();
      if (rows - r == 2) block.template operator()<2>();
      if (rows - r == 1) block.template operator()<1>();
      c += n;
    };
    int64_t left = t.value_dim - c;
    if (kVectors == 4 && left > 2 * L) {
      if (left > 3 * L)
        columns.template operator()<kVectors>();
      else
        columns.template operator()<kVectors == 4 ? 3 : 1>();
    } else if (left > L) {
      columns.template operator()<2>();
    } else {
      columns.template operator()<1>();
    }
  }
  for (int64_t r = 0; r < rows; r++) {
    float* out = t.out + r / t.rows * t.out_head_stride + r % t.rows * t.out_stride;
    for (int64_t c = 0; c < t.value_dim; c++) out[c] = results[r * t.value_dim + c];
  }
}

void layer_norm_row(const float* x, int64_t n, const float* scale, const float* bias, float epsilon, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  // Four sums each, as an addition takes four cycles.
  Vec sums[4] = {Vec::zero(), Vec::zero(), Vec::zero(), Vec::zero()}, squares[4] = {sums[0], sums[0], sums[0], sums[0]};
  auto sum_of = [](const Vec(&four)[4]) { return Vec::sum(Vec::add(Vec::add(four[0], four[1]), Vec::add(four[2], four[3]))); };
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L)
    for (int k = 0; k < 4; k++) sums[k] = Vec::add(sums[k], Vec::load(x + i + k * L));
  for (; i + L <= n; i += L) sums[0] = Vec::add(sums[0], Vec::load(x + i));
  float total = sum_of(sums);
  for (; i < n; i++) total += x[i];
  float mean = total / float(n);
  Vec centre = Vec::set1(mean);
  auto add_square = [&](Vec& to, const float* p) {
    Vec d = Vec::sub(Vec::load(p), centre);
    to = Vec::fmadd(d, d, to);
  };
  for (i = 0; i + 4 * L <= n; i += 4 * L)
    for (int k = 0; k < 4; k++) add_square(squares[k], x + i + k * L);
  for (; i + L <= n; i += L) add_square(squares[0], x + i);
  float variance = sum_of(squares);
  for (; i < n; i++) variance += (x[i] - mean) * (x[i] - mean);
  float factor = 1 / __builtin_sqrtf(variance / float(n) + epsilon);
  Vec f = Vec::set1(factor);
  for (i = 0; i < n; i += L) {
    int64_t m = n - i < L ? n - i : L;
    Vec v = Vec::mul(Vec::sub(Vec::load_first(x + i, m), centre), f);
    if (scale) v = Vec::mul(v, Vec::load_first(scale + i, m));
    if (bias) v = Vec::add(v, Vec::load_first(bias + i, m));
    Vec::store_first(y + i, v, m);
  }
}

void rms_norm_row(const float* x, int64_t n, const float* scale, float scale_offset, float epsilon, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  Vec squares = Vec::zero();
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    Vec v = Vec::load(x + i);
    squares = Vec::fmadd(v, v, squares);
  }
  float total = Vec::sum(squares);
  for (; i < n; i++) total += x[i] * x[i];
  Vec factor = Vec::set1(1 / __builtin_sqrtf(total / float(n) + epsilon)), offset = Vec::set1(scale_offset);
  for (i = 0; i < n; i += L) {
    int64_t m = n - i < L ? n - i : L;
    Vec v = Vec::mul(Vec::load_first(x + i, m), factor);
    if (scale) v = Vec::mul(v, Vec::add(Vec::load_first(scale + i, m), offset));
    Vec::store_first(y + i, v, m);
  }
}

void activate_array(const float* x, int64_t n, uint8_t activation, float alpha, float beta, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  for (int64_t i = 0; i < n; i += L) {
    int64_t m = n - i < L ? n - i : L;
    Vec::store_first(y + i, activated(Vec::load_first(x + i, m), activation, alpha, beta), m);
  }
}

// y = activation(gate) * up
void gated_array(const float* gate, const float* up, int64_t n, uint8_t activation, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  for (int64_t i = 0; i < n; i += L) {
    int64_t m = n - i < L ? n - i : L;
    Vec::store_first(y + i, Vec::mul(activated(Vec::load_first(gate + i, m), activation, 0, 0), Vec::load_first(up + i, m)), m);
  }
}

// Halves (a, b) -> (a cos - b sin, b cos + a sin).
void rope_half_row(const float* x, const float* cosine, const float* sine, int64_t half, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  for (int64_t i = 0; i < half; i += L) {
    int64_t m = half - i < L ? half - i : L;
    Vec a = Vec::load_first(x + i, m), b = Vec::load_first(x + half + i, m), c = Vec::load_first(cosine + i, m), s = Vec::load_first(sine + i, m);
    Vec::store_first(y + i, Vec::sub(Vec::mul(a, c), Vec::mul(b, s)), m);
    Vec::store_first(y + half + i, Vec::fmadd(b, c, Vec::mul(a, s)), m);
  }
}

// Pairs (a, b) -> (a cos - b sin, b cos + a sin): the sines come signed.
void rope_pairs_row(const float* x, const float* cosine, const float* sine, int64_t n, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  for (int64_t i = 0; i < n; i += L) {
    int64_t m = n - i < L ? n - i : L;
    Vec v = Vec::load_first(x + i, m);
    Vec turned = Vec::mul(Vec::swap_pairs(v), Vec::load_first(sine + i, m));
    Vec::store_first(y + i, Vec::fmadd(v, Vec::load_first(cosine + i, m), turned), m);
  }
}
