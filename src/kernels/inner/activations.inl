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

#ifdef __AVX512F__
// Phi(|x|) - 1/2, Phi the normal distribution, as cubics on 32 segments of [0, 5.6), 1/2 from the last one on: coefficient c of segment i is
// kPhi[c][i]. Interpolated at Chebyshev nodes; absolute error below 2e-7, of gelu too. Without the division of erf_of.
alignas(64) static constexpr float kPhi[4][32] = {
    {0.000000000e+00f, 6.946010143e-02f, 1.368305236e-01f, 2.002082467e-01f, 2.580361664e-01f, 3.092128932e-01f, 3.531408310e-01f, 3.897123039e-01f,
     4.192432761e-01f, 4.423717558e-01f, 4.599408507e-01f, 4.728853405e-01f, 4.821356237e-01f, 4.885470867e-01f, 4.928572178e-01f, 4.956675768e-01f,
     4.974448979e-01f, 4.985350668e-01f, 4.991836548e-01f, 4.995579123e-01f, 4.997673929e-01f, 4.998810887e-01f, 4.999409318e-01f, 4.999715090e-01f,
     4.999866486e-01f, 4.999939203e-01f, 4.999973178e-01f, 4.999988377e-01f, 4.999995232e-01f, 4.999997914e-01f, 4.999999106e-01f, 0.5f},
    {6.981497258e-02f, 6.875670701e-02f, 6.567128003e-02f, 6.083219871e-02f, 5.464980006e-02f, 4.761458933e-02f, 4.023344815e-02f, 3.297081217e-02f,
     2.620394714e-02f, 2.019751444e-02f, 1.509811636e-02f, 1.094563119e-02f, 7.695761044e-03f, 5.247527268e-03f, 3.470162395e-03f, 2.225545235e-03f,
     1.384249423e-03f, 8.349936688e-04f, 4.884753143e-04f, 2.771356376e-04f, 1.524867985e-04f, 8.136955148e-05f, 4.210960469e-05f, 2.113439223e-05f,
     1.028697261e-05f, 4.855951829e-06f, 2.223053798e-06f, 9.869934274e-07f, 4.249785945e-07f, 1.774631642e-07f, 7.186834949e-08f, 0.0f},
    {-1.324596724e-06f, -1.066038385e-03f, -2.031923039e-03f, -2.819782356e-03f,
     -3.373799147e-03f, -3.670039354e-03f, -3.716616193e-03f, -3.548429115e-03f,
     -3.218195168e-03f, -2.786062891e-03f, -2.310022945e-03f, -1.838736003e-03f,
     -1.407543779e-03f, -1.037582755e-03f, -7.373133558e-04f, -5.054838257e-04f,
     -3.345619480e-04f, -2.138926648e-04f, -1.321481395e-04f, -7.892891881e-05f,
     -4.558901128e-05f, -2.547135227e-05f, -1.376936507e-05f, -7.203354471e-06f,
     -3.647473704e-06f, -1.787945394e-06f, -8.485575904e-07f, -3.899661181e-07f,
     -1.735556339e-07f, -7.480998221e-08f, -3.123402692e-08f, 0.0f},
    {-3.535944852e-04f, -3.202144871e-04f, -2.616084821e-04f, -1.844775106e-04f,
     -9.930232045e-05f, -1.664815500e-05f, 5.462160334e-05f,  1.085748809e-04f,
     1.426923554e-04f,  1.576207724e-04f,  1.563890546e-04f,  1.433665020e-04f,
     1.232393697e-04f,  1.002094214e-04f,  7.751244993e-05f,  5.725512528e-05f,
     4.049861673e-05f,  2.748806583e-05f,  1.793133015e-05f,  1.125599283e-05f,
     6.805961675e-06f,  3.967171779e-06f,  2.230739710e-06f,  1.210699452e-06f,
     6.345256338e-07f,  3.212649062e-07f,  1.571919626e-07f,  7.435017579e-08f,
     3.400428383e-08f,  1.504133706e-08f,  6.436211564e-09f,  0.0f},
};
static inline Vec gelu_of(Vec x) {
  __m512 magnitude = _mm512_abs_ps(x.v), u = _mm512_min_ps(_mm512_mul_ps(magnitude, _mm512_set1_ps(32 / 5.6f)), _mm512_set1_ps(31.99f));
  __m512i i = _mm512_cvttps_epi32(u);
  u = _mm512_sub_ps(u, _mm512_cvtepi32_ps(i));
  auto coefficient = [&](int c) { return _mm512_permutex2var_ps(_mm512_load_ps(kPhi[c]), i, _mm512_load_ps(kPhi[c] + 16)); };
  __m512 p = _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_fmadd_ps(coefficient(3), u, coefficient(2)), u, coefficient(1)), u, coefficient(0));
  return {_mm512_fmadd_ps(magnitude, p, _mm512_mul_ps(x.v, _mm512_set1_ps(0.5f)))};
}
#else
static inline Vec gelu_of(Vec x) {
  return Vec::mul(Vec::mul(Vec::set1(0.5f), x), Vec::add(Vec::set1(1.0f), erf_of(Vec::mul(x, Vec::set1(0.70710678118654752f)))));
}
#endif

// The numbers of Activation in linear.h, which ISA code does not include; epilogue.cc asserts that they agree.
static inline Vec activated(Vec v, uint8_t activation, float alpha, float beta) {
  Vec zero = Vec::zero(), one = Vec::set1(1.0f), six = Vec::set1(6.0f), half = Vec::set1(0.5f);
  switch (activation) {
    case 1: return Vec::max(zero, v);
    case 2: return Vec::min(six, Vec::max(zero, v));
    case 3: return gelu_of(v);
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
