// Template over Vec (kernels/inner/vec256.inl): included inside the namespace of an ISA folder, after kernels/inner/activations.inl.

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

// Either is NaN: so is the result, which the minimum and maximum of vectors would lose for the first operand.
template <bool maximum>
static inline Vec chosen(Vec a, Vec b) {
  Vec of_both = maximum ? Vec::max(a, b) : Vec::min(a, b);
  return Vec::where_nan(a, a, of_both);
}

void combine(BinaryOp op, const float* a, bool a_scalar, const float* b, bool b_scalar, int64_t n, float* y) noexcept {
  if (n == 0) return;
  switch (op) {
    case BinaryOp::kAdd: return combine_by([](Vec x, Vec z) { return Vec::add(x, z); }, a, a_scalar, b, b_scalar, n, y);
    case BinaryOp::kSub: return combine_by([](Vec x, Vec z) { return Vec::sub(x, z); }, a, a_scalar, b, b_scalar, n, y);
    case BinaryOp::kMul: return combine_by([](Vec x, Vec z) { return Vec::mul(x, z); }, a, a_scalar, b, b_scalar, n, y);
    case BinaryOp::kDiv: return combine_by([](Vec x, Vec z) { return Vec::div(x, z); }, a, a_scalar, b, b_scalar, n, y);
    case BinaryOp::kMinimum: return combine_by(chosen<false>, a, a_scalar, b, b_scalar, n, y);
    case BinaryOp::kMaximum: return combine_by(chosen<true>, a, a_scalar, b, b_scalar, n, y);
  }
}

template <class F>
static inline void apply_by(F f, const float* x, int64_t n, float* y) {
  constexpr int L = Vec::kLanes;
  for (int64_t i = 0; i < n; i += L) {
    int64_t m = n - i < L ? n - i : L;
    Vec::store_first(y + i, f(Vec::load_first(x + i, m)), m);
  }
}

void apply(UnaryOp op, const float* x, int64_t n, float alpha, float* y) noexcept {
  Vec one = Vec::set1(1);
  switch (op) {
    case UnaryOp::kErf: return apply_by(erf_of, x, n, y);
    case UnaryOp::kElu:
      return apply_by([&](Vec v) { return Vec::where_negative(v, Vec::mul(Vec::set1(alpha), Vec::sub(exp_of(Vec::min(v, Vec::zero())), one)), v); },
                      x, n, y);
    case UnaryOp::kLeakyRelu: return apply_by([&](Vec v) { return Vec::where_negative(v, Vec::mul(Vec::set1(alpha), v), v); }, x, n, y);
    case UnaryOp::kMish:
      // x tanh(ln(1 + e^x)) = x u / (u + 2) with u = e^x (e^x + 2); e^x is cut where the quotient is 1.
      return apply_by(
          [&](Vec v) {
            Vec e = exp_of(Vec::min(v, Vec::set1(30))), two = Vec::set1(2), u = Vec::mul(e, Vec::add(e, two));
            return Vec::mul(v, Vec::div(u, Vec::add(u, two)));
          },
          x, n, y);
    case UnaryOp::kExp:  // the square of that of the half: beyond what floats hold it overflows and vanishes by itself
      return apply_by(
          [](Vec v) {
            Vec half = exp_of(Vec::mul(v, Vec::set1(0.5f)));
            return Vec::mul(half, half);
          },
          x, n, y);
    case UnaryOp::kSoftplus:
      // ln(1 + e^x) = max(x, 0) + ln(1 + u) with u = e^-|x|, and ln(1 + u) = 2 artanh(u / (u + 2)), whose series has s^2 <= 1/9.
      return apply_by(
          [&](Vec v) {
            Vec u = exp_of(Vec::min(Vec::sub(Vec::zero(), v), v)), s = Vec::div(u, Vec::add(u, Vec::set1(2))), q = Vec::mul(s, s);
            Vec p = Vec::set1(2.0f / 13);
            static constexpr float kRest[] = {2.0f / 11, 2.0f / 9, 2.0f / 7, 2.0f / 5, 2.0f / 3, 2.0f};
            for (float of : kRest) p = Vec::fmadd(p, q, Vec::set1(of));
            return Vec::fmadd(p, s, Vec::max(Vec::zero(), v));
          },
          x, n, y);
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

template <class Op>
static inline void pool_down_by(Op op, const PooledRow& p) {
  constexpr int L = Vec::kLanes;
  const Vec empty = Vec::set1(p.empty);
  float* column = p.column + p.pad_left;
  for (int64_t i = 0; i < p.in_w; i += L) {
    const int64_t n = p.in_w - i;
    Vec v = empty;
    for (int64_t r = 0; r < p.row_count; r++) v = op(n >= L ? Vec::load(p.rows[r] + i) : Vec::load_first(p.rows[r] + i, n), v);
    if (n >= L)
      Vec::store(column + i, v);
    else
      Vec::store_first(column + i, v, n);
  }
}

template <class Op>
static inline void pool_across_by(Op op, const PooledRow& p) {
  constexpr int L = Vec::kLanes;
  for (int64_t i = 0; i < p.out_w; i += L) {
    const int64_t n = p.out_w - i;
    const float* x = p.column + i * p.stride_w;
    Vec v = Vec::set1(p.empty);
    for (int64_t k = 0; k < p.kernel_w; k++, x += p.dilation_w) {
      if (p.stride_w == 1) {
        v = op(Vec::load(x), v);
      } else if (p.stride_w == 2) {
        v = op(Vec::load_even(x), v);
      } else {
        float lanes[L] = {};
        for (int64_t lane = 0; lane < L && lane < n; lane++) lanes[lane] = x[lane * p.stride_w];
        v = op(Vec::load(lanes), v);
      }
    }
    if (n >= L)
      Vec::store(p.y + i, v);
    else
      Vec::store_first(p.y + i, v, n);
  }
}

// Of sizes for which pools_halves().
template <class Op>
static inline void pool_halves_by(Op op, const PooledRow& p) {
  constexpr int L = Vec::kLanes;
  const Vec empty = Vec::set1(p.empty);
  Vec before = empty;
  for (int64_t i = 0; i < p.out_w; i += L) {
    const int64_t left = p.in_w - 2 * i, n = p.out_w - i;  // may be less than none
    const int64_t low = left < 0 ? 0 : left < L ? left : L, high = left < L ? 0 : left < 2 * L ? left - L : L;
    Vec a = empty, b = empty;
    for (int64_t r = 0; r < p.row_count; r++) {
      const float* x = p.rows[r] + 2 * i;
      a = op(low == L ? Vec::load(x) : Vec::first_of(Vec::load_first(x, low), low, empty), a);
      b = op(high == L ? Vec::load(x + L) : Vec::first_of(Vec::load_first(x + L, high), high, empty), b);
    }
    const Vec odd = Vec::odd(a, b);
    Vec v = op(odd, Vec::even(a, b));
    if (p.kernel_w == 3) v = op(v, Vec::follow(before, odd)), before = odd;
    if (n >= L)
      Vec::store(p.y + i, v);
    else
      Vec::store_first(p.y + i, v, n);
  }
}

void pool_halves(const PooledRow& p) noexcept {
  if (p.maximum)
    pool_halves_by([](Vec a, Vec b) { return Vec::max(a, b); }, p);
  else
    pool_halves_by([](Vec a, Vec b) { return Vec::add(a, b); }, p);
}

void pool_down(const PooledRow& p) noexcept {
  if (p.maximum)
    pool_down_by([](Vec a, Vec b) { return Vec::max(a, b); }, p);
  else
    pool_down_by([](Vec a, Vec b) { return Vec::add(a, b); }, p);
}

void pool_across(const PooledRow& p) noexcept {
  if (p.maximum)
    pool_across_by([](Vec a, Vec b) { return Vec::max(a, b); }, p);
  else
    pool_across_by([](Vec a, Vec b) { return Vec::add(a, b); }, p);
}

// The taps of a window, along one axis, that lie inside [0, size).
struct Taps {
  int64_t first, last;  // last is one beyond
};
static inline Taps taps_inside(int64_t start, int64_t kernel, int64_t dilation, int64_t size) {
  int64_t first = 0, last = kernel;
  while (first < last && start + first * dilation < 0) first++;
  while (last > first && start + (last - 1) * dilation >= size) last--;
  return {first, last};
}

void pool_block(const BlockedPool& p) noexcept {
  constexpr int L = Vec::kLanes;
  for (int64_t oy = 0; oy < p.out_h; oy++)
    for (int64_t ox = 0; ox < p.out_w; ox++) {
      int64_t top = oy * p.stride_h - p.pad_top, left = ox * p.stride_w - p.pad_left;
      Taps rows = taps_inside(top, p.kernel_h, p.dilation_h, p.in_h), columns = taps_inside(left, p.kernel_w, p.dilation_w, p.in_w);
      int64_t count = (rows.last - rows.first) * (columns.last - columns.first);
      int64_t counted = count;
      if (p.count_padding) {
        Taps all_rows = taps_inside(top + p.pad_top, p.kernel_h, p.dilation_h, p.in_h + p.pad_top + p.pad_bottom);
        Taps all_columns = taps_inside(left + p.pad_left, p.kernel_w, p.dilation_w, p.in_w + p.pad_left + p.pad_right);
        counted = (all_rows.last - all_rows.first) * (all_columns.last - all_columns.first);
      }
      for (int64_t lane = 0; lane < p.block; lane += L) {
        Vec sum = p.maximum ? Vec::set1(-3.402823466e38f) : Vec::zero();
        for (int64_t ky = rows.first; ky < rows.last; ky++)
          for (int64_t kx = columns.first; kx < columns.last; kx++) {
            Vec v = Vec::load(p.x + ((top + ky * p.dilation_h) * p.in_w + left + kx * p.dilation_w) * p.block + lane);
            sum = p.maximum ? Vec::max(sum, v) : Vec::add(sum, v);
          }
        if (!p.maximum) sum = count > 0 ? Vec::div(sum, Vec::set1(float(counted))) : Vec::zero();
        Vec::store(p.y + (oy * p.out_w + ox) * p.block + lane, sum);
      }
    }
}

void sum_pixels(const float* x, int64_t pixels, int64_t block, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  for (int64_t lane = 0; lane < block; lane += L) {
    Vec a = Vec::zero(), b = Vec::zero();
    int64_t i = 0;
    for (; i + 2 <= pixels; i += 2) {
      a = Vec::add(a, Vec::load(x + i * block + lane));
      b = Vec::add(b, Vec::load(x + (i + 1) * block + lane));
    }
    if (i < pixels) a = Vec::add(a, Vec::load(x + i * block + lane));
    Vec::store(y + lane, Vec::add(a, b));
  }
}

template <class F>
static inline void combine_lanes_by(F f, const float* x, const float* lanes, int64_t pixels, int64_t block, float* y) {
  constexpr int L = Vec::kLanes;
  for (int64_t lane = 0; lane < block; lane += L) {
    Vec b = Vec::load(lanes + lane);
    for (int64_t i = 0; i < pixels; i++) Vec::store(y + i * block + lane, f(Vec::load(x + i * block + lane), b));
  }
}

void combine_lanes(BinaryOp op, const float* x, const float* lanes, int64_t pixels, int64_t block, float* y) noexcept {
  switch (op) {
    case BinaryOp::kAdd: return combine_lanes_by([](Vec a, Vec b) { return Vec::add(a, b); }, x, lanes, pixels, block, y);
    case BinaryOp::kSub: return combine_lanes_by([](Vec a, Vec b) { return Vec::sub(a, b); }, x, lanes, pixels, block, y);
    case BinaryOp::kMul: return combine_lanes_by([](Vec a, Vec b) { return Vec::mul(a, b); }, x, lanes, pixels, block, y);
    case BinaryOp::kDiv: return combine_lanes_by([](Vec a, Vec b) { return Vec::div(a, b); }, x, lanes, pixels, block, y);
    case BinaryOp::kMinimum: return combine_lanes_by(chosen<false>, x, lanes, pixels, block, y);
    case BinaryOp::kMaximum: return combine_lanes_by(chosen<true>, x, lanes, pixels, block, y);
  }
}
