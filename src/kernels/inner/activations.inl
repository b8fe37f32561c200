// Template over Vec (vec256.inl): exp, tanh, erf and the activations of linear.h. Included inside the namespace of an ISA folder.
// max and min give their second operand where either is NaN, so bounds come first: NaN stays NaN.

// e^x for x clamped to [-87, 88]: 2^n e^r with |r| <= ln 2 / 2 and the degree-6 polynomial of Cephes expf (Moshier), below 2 ulp.
static inline Vec exp_of(Vec x) {
  x = Vec::min(Vec::set1(88.0f), Vec::max(Vec::set1(-87.0f), x));
  Vec n = Vec::round(Vec::mul(x, Vec::set1(1.44269504f)));
  Vec r = Vec::fmadd(n, Vec::set1(-0.693359375f), x);
  r = Vec::fmadd(n, Vec::set1(2.12194440e-4f), r);
  Vec p = Vec::set1(1.9875691500e-4f);
  p = Vec::fmadd(p, r, Vec::set1(1.3981999507e-3f));
  p = Vec::fmadd(p, r, Vec::set1(8.3334519073e-3f));
  p = Vec::fmadd(p, r, Vec::set1(4.1665795894e-2f));
  p = Vec::fmadd(p, r, Vec::set1(1.6666665459e-1f));
  p = Vec::fmadd(p, r, Vec::set1(5.0000001201e-1f));
  p = Vec::add(Vec::fmadd(p, Vec::mul(r, r), r), Vec::set1(1.0f));
  return Vec::mul(p, Vec::power_of_two(n));
}

static inline Vec sigmoid_of(Vec x) { return Vec::div(Vec::set1(1.0f), Vec::add(Vec::set1(1.0f), exp_of(Vec::sub(Vec::zero(), x)))); }

// 1 - 2 / (e^2x + 1): absolute error of an ulp of 1.
static inline Vec tanh_of(Vec x) { return Vec::sub(Vec::set1(1.0f), Vec::div(Vec::set1(2.0f), Vec::add(exp_of(Vec::add(x, x)), Vec::set1(1.0f)))); }

// The rational approximation x P(x^2) / Q(x^2) on [-4, 4] that Eigen uses; absolute error below 3e-7.
static inline Vec erf_of(Vec x) {
  x = Vec::min(Vec::set1(4.0f), Vec::max(Vec::set1(-4.0f), x));
  Vec s = Vec::mul(x, x);
  Vec p = Vec::set1(-2.72614225801306e-10f);
  p = Vec::fmadd(p, s, Vec::set1(2.77068142495902e-08f));
  p = Vec::fmadd(p, s, Vec::set1(-2.10102402082508e-06f));
  p = Vec::fmadd(p, s, Vec::set1(-5.69250639462346e-05f));
  p = Vec::fmadd(p, s, Vec::set1(-7.34990630326855e-04f));
  p = Vec::fmadd(p, s, Vec::set1(-2.95459980854025e-03f));
  p = Vec::fmadd(p, s, Vec::set1(-1.60960333262415e-02f));
  Vec q = Vec::set1(-1.45660718464996e-05f);
  q = Vec::fmadd(q, s, Vec::set1(-2.13374055278905e-04f));
  q = Vec::fmadd(q, s, Vec::set1(-1.68282697438203e-03f));
  q = Vec::fmadd(q, s, Vec::set1(-7.37332916720468e-03f));
  q = Vec::fmadd(q, s, Vec::set1(-1.42647390514189e-02f));
  return Vec::div(Vec::mul(x, p), q);
}

// The numbers of Activation in linear.h, which ISA code does not include; epilogue.cc asserts that they agree.
static inline Vec activated(Vec v, uint8_t activation, float alpha, float beta) {
  Vec zero = Vec::zero(), one = Vec::set1(1.0f), six = Vec::set1(6.0f), half = Vec::set1(0.5f);
  switch (activation) {
    case 1: return Vec::max(zero, v);
    case 2: return Vec::min(six, Vec::max(zero, v));
    case 3: return Vec::mul(Vec::mul(half, v), Vec::add(one, erf_of(Vec::mul(v, Vec::set1(0.70710678118654752f)))));
    case 4: {
      Vec cube = Vec::mul(Vec::mul(v, v), v);
      return Vec::mul(Vec::mul(half, v),
                      Vec::add(one, tanh_of(Vec::mul(Vec::set1(0.79788456080286536f), Vec::fmadd(cube, Vec::set1(0.044715f), v)))));
    }
    case 5: return Vec::mul(v, sigmoid_of(v));
    case 6: return tanh_of(v);
    case 7: return sigmoid_of(v);
    case 8: return Vec::mul(Vec::mul(v, Vec::min(six, Vec::max(zero, Vec::add(v, Vec::set1(3.0f))))), Vec::set1(1.0f / 6.0f));
    case 9: return Vec::min(one, Vec::max(zero, Vec::add(Vec::mul(v, Vec::set1(alpha)), Vec::set1(beta))));
    case 10: return Vec::where_negative(v, Vec::mul(v, Vec::set1(alpha)), v);
    case 11: return Vec::min(Vec::set1(beta), Vec::max(Vec::set1(alpha), v));
    default: return v;
  }
}
