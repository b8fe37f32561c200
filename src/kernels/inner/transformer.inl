// Template over Vec (vec256.inl) and the activations of store.inl. Included inside the namespace of an ISA folder, after
// activations.inl.
//
// Attention of a tile of queries: scores of all its keys first (panels of 64 keys, transposed so that lanes are keys), softmax of each
// row, then probabilities times values (lanes are value columns). The scores of 16 queries and some thousand keys stay in L2, so the
// running maximum of the online form is not needed.

static inline float sum_of(Vec a) {
  float lanes[Vec::kLanes];
  Vec::store(lanes, a);
  float s = 0;
  for (float lane : lanes) s += lane;
  return s;
}

static inline float max_of(Vec a) {
  float lanes[Vec::kLanes];
  Vec::store(lanes, a);
  float m = lanes[0];
  for (float lane : lanes) m = lane > m ? lane : m;
  return m;
}

// scores[r][0..lanes) += sum_d q[r][d] panel[d][0..lanes) for R rows and two vectors of keys.
template <int R>
static inline void score_block(const float* q, int64_t q_stride, const float* panel, int64_t dim, float* scores, int64_t scores_stride) {
  constexpr int L = Vec::kLanes;
  Vec a0 = Vec::zero(), b0 = Vec::zero(), a1 = Vec::zero(), b1 = Vec::zero(), a2 = Vec::zero(), b2 = Vec::zero(), a3 = Vec::zero(), b3 = Vec::zero();
  for (int64_t d = 0; d < dim; d++, panel += kKeyPanel) {
    Vec x = Vec::load(panel), y = Vec::load(panel + L);
    Vec w = Vec::set1(q[d]);
    a0 = Vec::fmadd(w, x, a0), b0 = Vec::fmadd(w, y, b0);
    if constexpr (R > 1) w = Vec::set1(q[q_stride + d]), a1 = Vec::fmadd(w, x, a1), b1 = Vec::fmadd(w, y, b1);
    if constexpr (R > 2) w = Vec::set1(q[2 * q_stride + d]), a2 = Vec::fmadd(w, x, a2), b2 = Vec::fmadd(w, y, b2);
    if constexpr (R > 3) w = Vec::set1(q[3 * q_stride + d]), a3 = Vec::fmadd(w, x, a3), b3 = Vec::fmadd(w, y, b3);
  }
  Vec::store(scores, a0), Vec::store(scores + L, b0);
  if constexpr (R > 1) Vec::store(scores + scores_stride, a1), Vec::store(scores + scores_stride + L, b1);
  if constexpr (R > 2) Vec::store(scores + 2 * scores_stride, a2), Vec::store(scores + 2 * scores_stride + L, b2);
  if constexpr (R > 3) Vec::store(scores + 3 * scores_stride, a3), Vec::store(scores + 3 * scores_stride + L, b3);
}

// out[r][0..2 vectors) = sum_k p[r][k] v[k][...] for R rows; the last vector may be partial (n lanes in all).
template <int R>
static inline void value_block(const float* p, int64_t p_stride, const float* v, int64_t v_stride, int64_t first, int64_t last, int64_t n, float* out, int64_t out_stride) {
  constexpr int L = Vec::kLanes;
  Vec a0 = Vec::zero(), b0 = Vec::zero(), a1 = Vec::zero(), b1 = Vec::zero(), a2 = Vec::zero(), b2 = Vec::zero(), a3 = Vec::zero(), b3 = Vec::zero();
  int64_t n0 = n < L ? n : L, n1 = n - n0;
  bool whole = n >= 2 * L;
  for (int64_t k = first; k < last; k++) {
    const float* row = v + k * v_stride;
    Vec x = whole ? Vec::load(row) : Vec::load_first(row, n0), y = whole ? Vec::load(row + L) : Vec::load_first(row + n0, n1);
    Vec w = Vec::set1(p[k]);
    a0 = Vec::fmadd(w, x, a0), b0 = Vec::fmadd(w, y, b0);
    if constexpr (R > 1) w = Vec::set1(p[p_stride + k]), a1 = Vec::fmadd(w, x, a1), b1 = Vec::fmadd(w, y, b1);
    if constexpr (R > 2) w = Vec::set1(p[2 * p_stride + k]), a2 = Vec::fmadd(w, x, a2), b2 = Vec::fmadd(w, y, b2);
    if constexpr (R > 3) w = Vec::set1(p[3 * p_stride + k]), a3 = Vec::fmadd(w, x, a3), b3 = Vec::fmadd(w, y, b3);
  }
  if (whole) n0 = n1 = L;
  Vec::store_first(out, a0, n0), Vec::store_first(out + n0, b0, n1);
  if constexpr (R > 1) Vec::store_first(out + out_stride, a1, n0), Vec::store_first(out + out_stride + n0, b1, n1);
  if constexpr (R > 2) Vec::store_first(out + 2 * out_stride, a2, n0), Vec::store_first(out + 2 * out_stride + n0, b2, n1);
  if constexpr (R > 3) Vec::store_first(out + 3 * out_stride, a3, n0), Vec::store_first(out + 3 * out_stride + n0, b3, n1);
}

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
    for (i = 0; i < n; i++) y[i] = 0;
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
  float total = sum_of(sum);
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

void attention_tile(const AttentionTile& t) noexcept {
  constexpr int L = Vec::kLanes;
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
  for (int64_t k0 = first_key; k0 < last_key; k0 += kKeyPanel) {
    int64_t count = last_key - k0 < kKeyPanel ? last_key - k0 : kKeyPanel;
    pack_keys(t.k + k0 * t.k_stride, t.k_stride, count, t.dim, panel);
    for (int64_t j = 0; j < count; j += 2 * L) {
      float* out = scores + k0 + j;
      int64_t r = 0;
      for (; r + 4 <= rows; r += 4) score_block<4>(queries + r * t.dim, t.dim, panel + j, t.dim, out + r * padded, padded);
      for (; r < rows; r++) score_block<1>(queries + r * t.dim, t.dim, panel + j, t.dim, out + r * padded, padded);
    }
  }
  for (int64_t r = 0; r < rows; r++) {
    float* row = scores + r * padded;
    int64_t position = t.first_position + r % t.rows;
    int64_t end = t.causal && position + 1 < last_key ? position + 1 : last_key;
    int64_t begin = t.window > 0 && position - t.window + 1 > first_key ? position - t.window + 1 : first_key;
    if (end < begin) end = begin;
    if (t.softcap > 0) {
      for (int64_t j = begin; j < end; j++) row[j] /= t.softcap;
      activate_array(row + begin, end - begin, 6, 0, 0, row + begin);
      for (int64_t j = begin; j < end; j++) row[j] *= t.softcap;
    }
    if (t.mask) {
      const float* mask = t.mask + r / t.rows * t.mask_head_stride + r % t.rows * t.mask_stride;
      for (int64_t j = begin; j < end; j++) row[j] += mask[j];
    }
    softmax_row(row + begin, end - begin, row + begin);
    for (int64_t j = first_key; j < begin; j++) row[j] = 0;
    for (int64_t j = end; j < last_key; j++) row[j] = 0;
  }
  for (int64_t c = 0; c < t.value_dim; c += 2 * L) {
    int64_t n = t.value_dim - c < 2 * L ? t.value_dim - c : 2 * L, r = 0;
    auto block = [&]<int R>() {
      value_block<R>(scores + r * padded, padded, t.v + c, t.v_stride, first_key, last_key, n, results + r * t.value_dim + c, t.value_dim);
      r += R;
    };
    while (r + 4 <= rows) block.template operator()<4>();
    if (rows - r == 3) block.template operator()<3>();
    if (rows - r == 2) block.template operator()<2>();
    if (rows - r == 1) block.template operator()<1>();
  }
  for (int64_t r = 0; r < rows; r++) {
    float* out = t.out + r / t.rows * t.out_head_stride + r % t.rows * t.out_stride;
    for (int64_t c = 0; c < t.value_dim; c++) out[c] = results[r * t.value_dim + c];
  }
}

void layer_norm_row(const float* x, int64_t n, const float* scale, const float* bias, float epsilon, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  Vec sum = Vec::zero();
  int64_t i = 0;
  for (; i + L <= n; i += L) sum = Vec::add(sum, Vec::load(x + i));
  float total = sum_of(sum);
  for (; i < n; i++) total += x[i];
  float mean = total / float(n);
  Vec squares = Vec::zero(), centre = Vec::set1(mean);
  for (i = 0; i + L <= n; i += L) {
    Vec d = Vec::sub(Vec::load(x + i), centre);
    squares = Vec::fmadd(d, d, squares);
  }
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
  float total = sum_of(squares);
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
