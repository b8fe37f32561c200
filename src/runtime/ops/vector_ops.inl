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

// x = m 2^e with m in [sqrt 1/2, sqrt 2): e ln 2 + ln m by the polynomial of Cephes logf (Moshier), below 2 ulp. Denormals are zero, as sessions
// flush them.
static inline Vec log_of(Vec x) {
  const Vec one = Vec::set1(1), infinity = Vec::set1(__builtin_inff());
  Vec m = Vec::mantissa(x), e = Vec::exponent(x), above = Vec::sub(Vec::set1(1.41421356f), m);
  e = Vec::where_negative(above, Vec::add(e, one), e);
  Vec f = Vec::sub(Vec::where_negative(above, Vec::mul(m, Vec::set1(0.5f)), m), one), z = Vec::mul(f, f);
  Vec p = Vec::set1(7.0376836292e-2f);
  static constexpr float kRest[] = {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                                    -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};
  for (float of : kRest) p = Vec::fmadd(p, f, Vec::set1(of));
  p = Vec::fmadd(e, Vec::set1(-2.12194440e-4f), Vec::mul(Vec::mul(p, f), z));
  Vec y = Vec::fmadd(e, Vec::set1(0.693359375f), Vec::add(f, Vec::fmadd(z, Vec::set1(-0.5f), p)));
  y = Vec::where_negative(Vec::sub(x, Vec::set1(1.17549435e-38f)), Vec::neg(infinity), y);
  y = Vec::where_negative(x, Vec::set1(__builtin_nanf("")), y);
  y = Vec::where_negative(Vec::sub(Vec::set1(3.402823466e38f), x), infinity, y);
  return Vec::where_nan(x, x, y);
}

// sin(x), or cos(x) = sin(x + pi/2): x less the nearest multiple of pi/2 in three parts, then the polynomials of Cephes sinf (Moshier), below 2 ulp.
// What is too large for that, or has no fused product to leave the rest exact, is the C library's.
template <bool cosine>
static inline Vec sine_of(Vec x) {
#ifdef __FMA__
  const bool reduces = !Vec::any_above(Vec::abs(x), Vec::set1(8192));
#else
  const bool reduces = false;
#endif
  if (!reduces) {
    float lanes[Vec::kLanes];
    Vec::store(lanes, x);
    for (float& lane : lanes) lane = cosine ? __builtin_cosf(lane) : __builtin_sinf(lane);
    return Vec::load(lanes);
  }
  const Vec half = Vec::set1(0.5f), one = Vec::set1(1);
  Vec q = Vec::round(Vec::mul(x, Vec::set1(0.636619772f)));
  Vec r = Vec::fmadd(q, Vec::set1(-1.57079637e+00f), x);
  r = Vec::fmadd(q, Vec::set1(4.37113883e-08f), r);
  r = Vec::fmadd(q, Vec::set1(1.71512489e-15f), r);
  if (cosine) q = Vec::add(q, one);
  Vec z = Vec::mul(r, r);
  Vec s = Vec::fmadd(Vec::fmadd(Vec::set1(-1.9515295891e-4f), z, Vec::set1(8.3321608736e-3f)), z, Vec::set1(-1.6666654611e-1f));
  s = Vec::fmadd(s, Vec::mul(z, r), r);
  Vec c = Vec::fmadd(Vec::fmadd(Vec::set1(2.443315711809948e-5f), z, Vec::set1(-1.388731625493765e-3f)), z, Vec::set1(4.166664568298827e-2f));
  c = Vec::fmadd(c, Vec::mul(z, z), Vec::fmadd(z, Vec::set1(-0.5f), one));
  Vec turns = Vec::floor(Vec::mul(q, half));  // of half a circle
  Vec y = Vec::where_negative(Vec::sub(Vec::add(turns, turns), q), c, s);
  return Vec::where_negative(Vec::sub(Vec::floor(Vec::mul(turns, half)), Vec::mul(turns, half)), Vec::neg(y), y);
}

void apply(UnaryOp op, const float* x, int64_t n, float alpha, float gamma, float* y) noexcept {
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
    case UnaryOp::kSelu:
      return apply_by(
          [&](Vec v) {
            Vec below = Vec::mul(Vec::set1(alpha), Vec::sub(exp_of(Vec::min(v, Vec::zero())), one));
            return Vec::mul(Vec::set1(gamma), Vec::where_negative(v, below, v));
          },
          x, n, y);
    case UnaryOp::kCelu:
      return apply_by(
          [&](Vec v) {
            Vec below = Vec::mul(Vec::set1(alpha), Vec::sub(exp_of(Vec::div(Vec::min(v, Vec::zero()), Vec::set1(alpha))), one));
            return Vec::where_negative(v, below, v);
          },
          x, n, y);
    case UnaryOp::kSoftsign: return apply_by([&](Vec v) { return Vec::div(v, Vec::add(one, Vec::abs(v))); }, x, n, y);
    case UnaryOp::kSqrt: return apply_by([](Vec v) { return Vec::sqrt(v); }, x, n, y);
    case UnaryOp::kReciprocal: return apply_by([&](Vec v) { return Vec::div(one, v); }, x, n, y);
    case UnaryOp::kAbs: return apply_by([](Vec v) { return Vec::abs(v); }, x, n, y);
    case UnaryOp::kNeg: return apply_by([](Vec v) { return Vec::neg(v); }, x, n, y);
    case UnaryOp::kSign:
      return apply_by(
          [&](Vec v) {
            Vec sign = Vec::where_negative(v, Vec::neg(one), Vec::where_negative(Vec::neg(v), one, Vec::zero()));
            return Vec::where_nan(v, v, sign);
          },
          x, n, y);
    case UnaryOp::kFloor: return apply_by([](Vec v) { return Vec::floor(v); }, x, n, y);
    case UnaryOp::kCeil: return apply_by([](Vec v) { return Vec::ceil(v); }, x, n, y);
    case UnaryOp::kRound: return apply_by([](Vec v) { return Vec::round(v); }, x, n, y);
    case UnaryOp::kLog: return apply_by(log_of, x, n, y);
    case UnaryOp::kSin: return apply_by(sine_of<false>, x, n, y);
    case UnaryOp::kCos: return apply_by(sine_of<true>, x, n, y);
  }
}

// f(op) with the op of two vectors that folds.
template <class F>
static inline void with_fold(BinaryOp op, F f) {
  switch (op) {
    case BinaryOp::kMinimum: return f(chosen<false>, __builtin_inff());
    case BinaryOp::kMaximum: return f(chosen<true>, -__builtin_inff());
    default: return f([](Vec a, Vec b) { return Vec::add(a, b); }, 0.0f);
  }
}

float fold_array(BinaryOp op, const float* x, int64_t n) noexcept {
  constexpr int L = Vec::kLanes;
  float result = 0;
  with_fold(op, [&](auto f, float empty) {
    Vec a = Vec::set1(empty), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 4 * L <= n; i += 4 * L) {
      a = f(a, Vec::load(x + i)), b = f(b, Vec::load(x + i + L));
      c = f(c, Vec::load(x + i + 2 * L)), d = f(d, Vec::load(x + i + 3 * L));
    }
    for (; i < n; i += L) {
      const int64_t m = n - i < L ? n - i : L;
      a = f(a, Vec::first_of(Vec::load_first(x + i, m), m, Vec::set1(empty)));
    }
    a = f(f(a, b), f(c, d));
    if (op == BinaryOp::kAdd) {
      result = add_lanes(a);
      return;
    }
    float lanes[L];
    Vec::store(lanes, a);
    for (int half = L / 2; half > 0; half /= 2)
      for (int lane = 0; lane < half; lane++) {
        const float p = lanes[lane], q = lanes[lane + half];
        lanes[lane] = p != p || (op == BinaryOp::kMaximum ? p > q : p < q) ? p : q;
      }
    result = lanes[0];
  });
  return result;
}

// Four rows at a time, and sums of kTogether rows before they are added to that of all: errors grow with the number of such sums.
void fold_rows(BinaryOp op, const float* x, int64_t rows, int64_t stride, int64_t n, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  constexpr int64_t kTogether = 128, kColumns = 512;
  with_fold(op, [&](auto f, float) {
    for (int64_t column = 0; column < n; column += kColumns) {
      const int64_t end = n - column < kColumns ? n : column + kColumns;
      for (int64_t first = 0; first < rows; first += kTogether) {
        const int64_t last = rows - first < kTogether ? rows : first + kTogether;
        float sums[kColumns];
        int64_t r = first;
        for (; r < last; r += 4) {
          const int64_t count = last - r < 4 ? last - r : 4;
          for (int64_t i = column; i < end; i += L) {
            const float* at = x + r * stride + i;
            const int64_t m = end - i;
            auto load = [&](const float* p) { return m >= L ? Vec::load(p) : Vec::load_first(p, m); };
            Vec v = load(at);
            if (count == 4) {
              v = f(f(v, load(at + stride)), f(load(at + 2 * stride), load(at + 3 * stride)));
            } else {
              for (int64_t k = 1; k < count; k++) v = f(v, load(at + k * stride));
            }
            float* sum = sums + i - column;
            Vec::store(sum, r == first ? v : f(Vec::load(sum), v));
          }
        }
        for (int64_t i = column; i < end; i += L) {
          const int64_t m = end - i < L ? end - i : L;
          Vec v = Vec::load(sums + i - column);
          Vec::store_first(y + i, first == 0 ? v : f(Vec::load_first(y + i, m), v), m);
        }
      }
    }
  });
}

template <class T, class F>
static inline void compare_by(F f, const void* a, bool a_scalar, const void* b, bool b_scalar, int64_t n, uint8_t* __restrict y) {
  const T *p = static_cast<const T*>(a), *q = static_cast<const T*>(b);
  if (n == 0) return;
  const T first = *p, second = *q;
  if (a_scalar)
    for (int64_t i = 0; i < n; i++) y[i] = f(first, b_scalar ? second : q[i]);
  else if (b_scalar)
    for (int64_t i = 0; i < n; i++) y[i] = f(p[i], second);
  else
    for (int64_t i = 0; i < n; i++) y[i] = f(p[i], q[i]);
}

template <class T>
static inline void compare_as(CompareOp op, const void* a, bool a_scalar, const void* b, bool b_scalar, int64_t n, uint8_t* y) {
  switch (op) {
    case CompareOp::kEqual: return compare_by<T>([](T x, T z) { return x == z; }, a, a_scalar, b, b_scalar, n, y);
    case CompareOp::kLess: return compare_by<T>([](T x, T z) { return x < z; }, a, a_scalar, b, b_scalar, n, y);
    case CompareOp::kLessEqual: return compare_by<T>([](T x, T z) { return x <= z; }, a, a_scalar, b, b_scalar, n, y);
    default: return;
  }
}

void compare(CompareOp op, Element type, const void* a, bool a_scalar, const void* b, bool b_scalar, int64_t n, uint8_t* y) noexcept {
  using Truth = uint8_t;
  switch (op) {
    case CompareOp::kAnd: return compare_by<Truth>([](Truth x, Truth z) { return (x != 0) & (z != 0); }, a, a_scalar, b, b_scalar, n, y);
    case CompareOp::kOr: return compare_by<Truth>([](Truth x, Truth z) { return (x | z) != 0; }, a, a_scalar, b, b_scalar, n, y);
    case CompareOp::kXor: return compare_by<Truth>([](Truth x, Truth z) { return (x != 0) != (z != 0); }, a, a_scalar, b, b_scalar, n, y);
    default: break;
  }
  switch (type) {
    case Element::kF32: return compare_as<float>(op, a, a_scalar, b, b_scalar, n, y);
    case Element::kS64: return compare_as<int64_t>(op, a, a_scalar, b, b_scalar, n, y);
    case Element::kS32: return compare_as<int32_t>(op, a, a_scalar, b, b_scalar, n, y);
    default: return compare_as<uint8_t>(op, a, a_scalar, b, b_scalar, n, y);
  }
}

template <class T, bool a_scalar, bool b_scalar>
static inline void choose_by(const uint8_t* condition, const T* a, const T* b, int64_t n, T* y) {
  // By way of memory of its own: y may be a or b, which no compiler vectorises by itself.
  constexpr int64_t kPiece = 64;
  T chosen[kPiece];
  const T first = *a, second = *b;
  auto piece = [&](int64_t at, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
      const T x = a_scalar ? first : a[at + i], z = b_scalar ? second : b[at + i];
      chosen[i] = condition[at + i] ? x : z;
    }
    for (int64_t i = 0; i < count; i++) y[at + i] = chosen[i];
  };
  int64_t i = 0;
  for (; i + kPiece <= n; i += kPiece) piece(i, kPiece);
  piece(i, n - i);
}

template <class T>
static inline void choose_as(const uint8_t* condition, bool condition_scalar, const void* a, bool a_scalar, const void* b, bool b_scalar, int64_t n,
                             void* y) {
  const T *p = static_cast<const T*>(a), *q = static_cast<const T*>(b);
  T* to = static_cast<T*>(y);
  if (condition_scalar) {
    const T* from = *condition ? p : q;
    if (*condition ? a_scalar : b_scalar) {
      const T value = *from;
      for (int64_t i = 0; i < n; i++) to[i] = value;
    } else if (from != to) {
      __builtin_memcpy(to, from, uint64_t(n) * sizeof(T));
    }
  } else if (a_scalar) {
    b_scalar ? choose_by<T, true, true>(condition, p, q, n, to) : choose_by<T, true, false>(condition, p, q, n, to);
  } else {
    b_scalar ? choose_by<T, false, true>(condition, p, q, n, to) : choose_by<T, false, false>(condition, p, q, n, to);
  }
}

void choose(int64_t width, const uint8_t* condition, bool condition_scalar, const void* a, bool a_scalar, const void* b, bool b_scalar, int64_t n,
            void* y) noexcept {
  if (n == 0) return;
  switch (width) {
    case 1: return choose_as<uint8_t>(condition, condition_scalar, a, a_scalar, b, b_scalar, n, y);
    case 4: return choose_as<uint32_t>(condition, condition_scalar, a, a_scalar, b, b_scalar, n, y);
    case 8: return choose_as<uint64_t>(condition, condition_scalar, a, a_scalar, b, b_scalar, n, y);
  }
}

// Inside (low, high) a float is cut; what lies outside or is NaN never reaches the conversion, which is not defined there.
template <class To>
static inline To cut(float v, float low, float high, To least, To most) {
  const float inside = v > low ? (v < high ? v : 0) : 0;
  const To y = To(inside);
  return v <= low ? least : v >= high ? most : y;
}

template <class From, class F>
static inline void convert_by(F f, const void* x, int64_t n, void* y) {
  using To = decltype(f(From()));
  const From* from = static_cast<const From*>(x);
  To* __restrict to = static_cast<To*>(y);
  for (int64_t i = 0; i < n; i++) to[i] = f(from[i]);
}

template <class From>
static inline void convert_from(const void* x, Element to, int64_t n, void* y) {
  switch (to) {
    case Element::kF32: return convert_by<From>([](From v) { return float(v); }, x, n, y);
    case Element::kS64: return convert_by<From>([](From v) { return int64_t(v); }, x, n, y);
    case Element::kS32: return convert_by<From>([](From v) { return int32_t(v); }, x, n, y);
    case Element::kU8: return convert_by<From>([](From v) { return uint8_t(v); }, x, n, y);
    case Element::kBool: return convert_by<From>([](From v) { return uint8_t(v != From(0)); }, x, n, y);
  }
}

void convert(Element from, const void* x, Element to, int64_t n, void* y) noexcept {
  switch (from) {
    case Element::kS64: return convert_from<int64_t>(x, to, n, y);
    case Element::kS32: return convert_from<int32_t>(x, to, n, y);
    case Element::kU8:
    case Element::kBool: return convert_from<uint8_t>(x, to, n, y);
    case Element::kF32: break;
  }
  constexpr float k63 = 9223372036854775808.0f, k31 = 2147483648.0f;
  switch (to) {
    case Element::kS64: return convert_by<float>([](float v) { return cut<int64_t>(v, -k63, k63, INT64_MIN, INT64_MAX); }, x, n, y);
    case Element::kS32: return convert_by<float>([](float v) { return cut<int32_t>(v, -k31, k31, INT32_MIN, INT32_MAX); }, x, n, y);
    case Element::kU8: return convert_by<float>([](float v) { return cut<uint8_t>(v, 0, 255, 0, 255); }, x, n, y);
    case Element::kBool: return convert_by<float>([](float v) { return uint8_t(v != 0); }, x, n, y);
    case Element::kF32: return convert_by<float>([](float v) { return v; }, x, n, y);
  }
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
