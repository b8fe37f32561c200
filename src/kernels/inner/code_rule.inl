// Template over Vec (vec256.inl). Included inside the namespace of an ISA folder.

// v / scale to nearest even, within [low, high]. A product with 1 / scale rounds alike but beside a tie. NaN becomes low.
static inline Vec nearest_code(Vec v, Vec inverse, float scale, Vec low, Vec high) {
  Vec q = Vec::mul(v, inverse), code = Vec::round(q);
  if (Vec::any_above(Vec::abs(Vec::sub(q, code)), Vec::set1(0.4999f))) [[unlikely]]
    code = Vec::round(Vec::div(v, Vec::set1(scale)));
  return Vec::min(Vec::max(code, low), high);
}

// The code of v less its zero point.
static inline Vec code_of(Vec v, const CodeRule& rule) {
  Vec inverse = Vec::set1(rule.inverse), low = Vec::set1(rule.low), high = Vec::set1(rule.high);
  return rule.scale > 0 ? nearest_code(v, inverse, rule.scale, low, high) : Vec::min(Vec::max(Vec::round(Vec::mul(v, inverse)), low), high);
}
