// Template over Vec (kernels/inner/vec256.inl): included inside the namespace of an ISA folder.

static inline float add_lanes(Vec a) {
  float lanes[Vec::kLanes], sum = 0;
  Vec::store(lanes, a);
  for (float lane : lanes) sum += lane;
  return sum;
}

// Four rows of a times two vectors of columns of b.
template <int R>
static inline void product_block(const RowProduct& p, const float* a, int64_t column, int64_t n, float* out) {
  constexpr int L = Vec::kLanes;
  Vec a0 = Vec::zero(), b0 = a0, a1 = a0, b1 = a0, a2 = a0, b2 = a0, a3 = a0, b3 = a0;
  int64_t n0 = n < L ? n : L, n1 = n - n0 < L ? n - n0 : L;
  bool whole = n >= 2 * L;
  const float* row = p.b + column;
  for (int64_t k = 0; k < p.inner; k++, row += p.cols) {
    Vec x = whole ? Vec::load(row) : Vec::load_first(row, n0), y = whole ? Vec::load(row + L) : Vec::load_first(row + n0, n1);
    Vec w = Vec::set1(a[k]);
    a0 = Vec::fmadd(w, x, a0), b0 = Vec::fmadd(w, y, b0);
    if constexpr (R > 1) {
      w = Vec::set1(a[p.inner + k]), a1 = Vec::fmadd(w, x, a1), b1 = Vec::fmadd(w, y, b1);
      w = Vec::set1(a[2 * p.inner + k]), a2 = Vec::fmadd(w, x, a2), b2 = Vec::fmadd(w, y, b2);
      w = Vec::set1(a[3 * p.inner + k]), a3 = Vec::fmadd(w, x, a3), b3 = Vec::fmadd(w, y, b3);
    }
  }
  Vec scale = Vec::set1(p.scale);
  auto store = [&](float* to, Vec first, Vec second) {
    Vec::store_first(to, Vec::mul(first, scale), n0);
    Vec::store_first(to + n0, Vec::mul(second, scale), n1);
  };
  store(out, a0, b0);
  if constexpr (R > 1) store(out + p.cols, a1, b1), store(out + 2 * p.cols, a2, b2), store(out + 3 * p.cols, a3, b3);
}

static inline float dot_product(const float* a, const float* b, int64_t n) {
  constexpr int L = Vec::kLanes;
  Vec s = Vec::zero(), t = Vec::zero();
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    s = Vec::fmadd(Vec::load(a + i), Vec::load(b + i), s);
    t = Vec::fmadd(Vec::load(a + i + L), Vec::load(b + i + L), t);
  }
  for (; i < n; i += L) {
    int64_t m = n - i < L ? n - i : L;
    s = Vec::fmadd(Vec::load_first(a + i, m), Vec::load_first(b + i, m), s);
  }
  return add_lanes(Vec::add(s, t));
}

void multiply_rows(const RowProduct& p) noexcept {
  if (p.b_transposed) {
    for (int64_t r = 0; r < p.rows; r++)
      for (int64_t c = 0; c < p.cols; c++) p.out[r * p.cols + c] = p.scale * dot_product(p.a + r * p.inner, p.b + c * p.inner, p.inner);
    return;
  }
  for (int64_t c = 0; c < p.cols; c += 2 * Vec::kLanes) {
    int64_t n = p.cols - c < 2 * Vec::kLanes ? p.cols - c : 2 * Vec::kLanes, r = 0;
    for (; r + 4 <= p.rows; r += 4) product_block<4>(p, p.a + r * p.inner, c, n, p.out + r * p.cols + c);
    for (; r < p.rows; r++) product_block<1>(p, p.a + r * p.inner, c, n, p.out + r * p.cols + c);
  }
}

template <class F>
static inline void combine_by(F f, const float* a, bool a_scalar, const float* b, bool b_scalar, int64_t n, float* y) {
  constexpr int L = Vec::kLanes;
  Vec a_all = Vec::set1(a_scalar ? a[0] : 0), b_all = Vec::set1(b_scalar ? b[0] : 0);
  int64_t i = 0;
  for (; i + L <= n; i += L) Vec::store(y + i, f(a_scalar ? a_all : Vec::load(a + i), b_scalar ? b_all : Vec::load(b + i)));
  if (i < n) Vec::store_first(y + i, f(a_scalar ? a_all : Vec::load_first(a + i, n - i), b_scalar ? b_all : Vec::load_first(b + i, n - i)), n - i);
}

void combine(BinaryOp op, const float* a, bool a_scalar, const float* b, bool b_scalar, int64_t n, float* y) noexcept {
  if (n == 0) return;
  switch (op) {
    case BinaryOp::kAdd: return combine_by([](Vec x, Vec z) { return Vec::add(x, z); }, a, a_scalar, b, b_scalar, n, y);
    case BinaryOp::kSub: return combine_by([](Vec x, Vec z) { return Vec::sub(x, z); }, a, a_scalar, b, b_scalar, n, y);
    case BinaryOp::kMul: return combine_by([](Vec x, Vec z) { return Vec::mul(x, z); }, a, a_scalar, b, b_scalar, n, y);
    case BinaryOp::kDiv: return combine_by([](Vec x, Vec z) { return Vec::div(x, z); }, a, a_scalar, b, b_scalar, n, y);
  }
}

float sum_of_array(const float* x, int64_t n) noexcept {
  constexpr int L = Vec::kLanes;
  Vec s = Vec::zero();
  for (int64_t i = 0; i < n; i += L) s = Vec::add(s, n - i >= L ? Vec::load(x + i) : Vec::load_first(x + i, n - i));
  return add_lanes(s);
}

void scale_and_shift(const float* x, int64_t n, float factor, float offset, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  Vec f = Vec::set1(factor), o = Vec::set1(offset);
  for (int64_t i = 0; i < n; i += L) {
    int64_t m = n - i < L ? n - i : L;
    Vec::store_first(y + i, Vec::fmadd(Vec::load_first(x + i, m), f, o), m);
  }
}

void accumulate_max(const float* x, int64_t stride, int64_t n, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  int64_t i = 0;
  if (stride == 1)
    for (; i + L <= n; i += L) Vec::store(y + i, Vec::max(Vec::load(x + i), Vec::load(y + i)));
  for (; i < n; i++) y[i] = x[i * stride] > y[i] ? x[i * stride] : y[i];
}

void accumulate_sum(const float* x, int64_t stride, int64_t n, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  int64_t i = 0;
  if (stride == 1)
    for (; i + L <= n; i += L) Vec::store(y + i, Vec::add(Vec::load(x + i), Vec::load(y + i)));
  for (; i < n; i++) y[i] += x[i * stride];
}
