// Codes out of sums: the four row groups of a pixel are sixteen channels in a register each, narrowed and stored together. Included inside an
// unnamed namespace, where LACUNA_UNROLL is defined.

// Narrowing works within 128-bit lanes: words of four codes, in the order of rows.
inline __m512i words_in_order() { return _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15); }

#ifdef __AVX512VBMI__
// Puts narrowed codes into the order of the channels.
struct Order {
  explicit Order(const RowOrder* rows) {
    // Byte 4 w + i comes from byte 4 words[w] + i.
    const __m512i words = _mm512_mullo_epi32(words_in_order(), _mm512_set1_epi32(0x04040404));
    at = rows ? _mm512_loadu_si512(rows->narrowed) : _mm512_add_epi8(words, _mm512_set1_epi32(0x03020100));
  }
  __m512i operator()(__m512i narrowed) const { return _mm512_permutexvar_epi8(at, narrowed); }
  __m512i at;
};
// The codes of a pixel, plus kPlus, by row groups: sixteen integers each.
class Residual {
 public:
  static constexpr int kPlus = 128;
  explicit Residual(const CodeStore& s) : present_(s.channels == 64 ? ~__mmask64(0) : (__mmask64(1) << s.channels) - 1) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    LACUNA_UNROLL for (int g = 0; g < 4; g++) at_[g] =
        s.order ? _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(s.order->channel + 16 * g)))
                : _mm512_add_epi32(lanes, _mm512_set1_epi32(16 * g));
  }
  void load(const int8_t* codes) { codes_ = _mm512_xor_si512(_mm512_maskz_loadu_epi8(present_, codes), _mm512_set1_epi8(char(0x80))); }
  __m512i operator[](int group) const { return _mm512_maskz_permutexvar_epi8(0x1111111111111111, at_[group], codes_); }

 private:
  __mmask64 present_;
  __m512i at_[4], codes_;
};

constexpr bool kLooksUp = true;
struct Table {
  explicit Table(const int8_t* table) {
    LACUNA_UNROLL for (int i = 0; i < 4; i++) part[i] = table ? _mm512_loadu_si512(table + 64 * i) : _mm512_setzero_si512();
  }
  __m512i operator()(__m512i codes) const {
    __m512i of_positive = _mm512_permutex2var_epi8(part[0], codes, part[1]), of_negative = _mm512_permutex2var_epi8(part[2], codes, part[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), of_positive, of_negative);
  }
  __m512i part[4];
};
#else
struct Order {
  explicit Order(const RowOrder*) {}
  __m512i operator()(__m512i narrowed) const { return _mm512_permutexvar_epi32(at, narrowed); }
  __m512i at = words_in_order();
};
class Residual {
 public:
  static constexpr int kPlus = 0;
  explicit Residual(const CodeStore& s)
      : whole_(s.channels == (s.channels > 32 ? 64 : 32)), present_(s.channels == 64 ? ~__mmask64(0) : (__mmask64(1) << s.channels) - 1) {}
  void load(const int8_t* codes) {
    codes_ = whole_ ? codes : piece_;
    if (!whole_) _mm512_store_si512(piece_, _mm512_maskz_loadu_epi8(present_, codes));
  }
  __m512i operator[](int group) const { return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes_ + 16 * group))); }

 private:
  bool whole_;
  __mmask64 present_;
  const int8_t* codes_;
  alignas(64) int8_t piece_[64];
};

constexpr bool kLooksUp = false;  // but for tables that arithmetic does not give
struct Table {
  explicit Table(const int8_t* t) : table(t) {}
  __m512i operator()(__m512i codes) const {
    // Sixteen entries at a time: an index that is not among them has its highest bit set, and gives zero.
    __m512i out = _mm512_setzero_si512();
    for (int i = 0; i < 16; i++) {
      __m512i index = _mm512_adds_epu8(_mm512_xor_si512(codes, _mm512_set1_epi8(char(16 * i))), _mm512_set1_epi8(0x70));
      __m512i entries = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * i)));
      out = _mm512_or_si512(out, _mm512_shuffle_epi8(entries, index));
    }
    return out;
  }
  const int8_t* table;
};
#endif

// Of 32 words with the sign and the order of what was packed: codes, clipped, in the order of the channels.
struct Narrow {
  Narrow(const CodeOutput& c, const RowOrder* rows)
      : zero(_mm512_set1_epi16(short(c.zero))), low(_mm512_set1_epi8(char(c.low))), high(_mm512_set1_epi8(char(c.high))), order(rows) {}
  __m512i operator()(const __m512i v[4]) const {
    __m512i first = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), zero), second = _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[3]), zero);
    return order(_mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(first, second), low), high));
  }
  __m512i zero, low, high;
  Order order;
};

// v rounded to nearest even, by the place of its last bit in a sum that is large.
__m512 rounded(__m512 v) {
  const __m512 large = _mm512_set1_ps(0x1.8p23f);
  return _mm512_sub_ps(_mm512_add_ps(v, large), large);
}

// Sums times factors this small stay within the integers that a float can become.
constexpr float kLargestFactor = 0.25f, kLargestBias = 0x1p30f;

// What is the same for all pixels. Everything is in units of the first rounding.
template <int kGroups>
struct Lanes {
  explicit Lanes(const CodeStore& s, float inverse) {
    __m512 scale = _mm512_set1_ps(s.x_scale), unit = _mm512_set1_ps(inverse);
    LACUNA_UNROLL for (int g = 0; g < kGroups; g++) {
      int64_t left = s.channels - 16 * g;
      __mmask16 present = left >= 16 ? __mmask16(0xffff) : left > 0 ? __mmask16((1u << left) - 1) : __mmask16(0);
      __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(present, s.factors + 16 * g), scale);
      __m512 start = s.bias ? _mm512_maskz_loadu_ps(present, s.bias + 16 * g) : _mm512_setzero_ps();
      excess[g] = s.excess ? _mm512_maskz_loadu_epi32(present, s.excess + 16 * g) : _mm512_setzero_si512();
      factor[g] = _mm512_mul_ps(scaled, unit), bias[g] = _mm512_mul_ps(start, unit);
    }
  }
  bool within() const {
    int beyond = 0;
    LACUNA_UNROLL for (int g = 0; g < kGroups; g++) {
      beyond |= _mm512_cmp_ps_mask(_mm512_abs_ps(factor[g]), _mm512_set1_ps(kLargestFactor), _CMP_NLE_UQ);
      beyond |= _mm512_cmp_ps_mask(_mm512_abs_ps(bias[g]), _mm512_set1_ps(kLargestBias), _CMP_NLE_UQ);
    }
    return beyond == 0;
  }
  __m512i excess[kGroups];
  __m512 factor[kGroups], bias[kGroups];
};

// The codes of a block, some pixels at a time. What is the same for all of them lies in registers.
template <int kGroups, bool kResidual, bool kProduct, bool kTable, bool kWithin>
class Codes {
 public:
  Codes(const CodeStore& s, const Lanes<kGroups>& lanes)
      : lanes_(lanes),
        factor_(kTable && !kLooksUp ? s.table_factor : 0),
        narrow_(factor_ > 0 ? s.last : s.code, s.order),
        table_(kTable ? s.table : nullptr),
        code_low_(_mm512_set1_ps(float(s.code.low - s.code.zero))),
        code_high_(_mm512_set1_ps(float(s.code.high - s.code.zero))),
        low_(_mm512_set1_ps(s.product.low)),
        high_(_mm512_set1_ps(s.product.high)),
        product_(_mm512_set1_ps(s.product.scale * s.code.inverse)),
        residual_scale_(_mm512_set1_ps(s.residual_scale * s.code.inverse)),
        residual_start_(_mm512_set1_ps(-float(s.residual_zero + Residual::kPlus) * (s.residual_scale * s.code.inverse))),
        present_(s.channels == 64 ? ~__mmask64(0) : (__mmask64(1) << s.channels) - 1),
        all_sums_(s.sums),
        run_(s.runs),
        end_(s.runs + s.run_count),
        residual_(s),
        residual_codes_(s.residual),
        y_(s.y),
        stride_(s.y_stride) {}

  [[gnu::always_inline]] void step(int64_t pixels) {
    while (pixels > 0) {
      if (left_ == 0) {
        if (run_ == end_) return;
        sums_ = all_sums_ + run_->first * 16, at_ = run_->at, left_ = run_->pixels;
        run_++;
      }
      int64_t count = pixels < left_ ? pixels : left_;
      pixels -= count, left_ -= count;
      for (; count > 0; count--, sums_ += 16, at_ += stride_) store();
    }
  }

 private:
  [[gnu::always_inline]] void store() {
    const __m512 largest = _mm512_set1_ps(0x1p20f);
    __m512i codes[4] = {};
    if constexpr (kResidual) residual_.load(residual_codes_ + at_);
    LACUNA_UNROLL for (int g = 0; g < kGroups; g++) {
      __m512 v = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(sums_ + g * kGroupSums), lanes_.excess[g]));
      v = _mm512_fmadd_ps(v, lanes_.factor[g], lanes_.bias[g]);
      if constexpr (kProduct) v = rounded(_mm512_min_ps(_mm512_max_ps(v, low_), high_));
      if constexpr (kResidual) {
        __m512 r = _mm512_fmadd_ps(_mm512_cvtepi32_ps(residual_[g]), residual_scale_, residual_start_);
        v = kProduct ? _mm512_fmadd_ps(v, product_, r) : _mm512_add_ps(v, r);
      }
      if constexpr (!kWithin) v = _mm512_min_ps(v, largest);
      if constexpr (kTable && !kLooksUp)
        if (factor_ > 0) v = _mm512_mul_ps(rounded(_mm512_min_ps(_mm512_max_ps(v, code_low_), code_high_)), _mm512_set1_ps(factor_));
      codes[g] = _mm512_cvtps_epi32(v);
    }
    __m512i out = narrow_(codes);
    if constexpr (kTable)
      if (kLooksUp || factor_ == 0) out = table_(out);
    _mm512_mask_storeu_epi8(y_ + at_, present_, out);
  }

  Lanes<kGroups> lanes_;
  float factor_;
  Narrow narrow_;
  Table table_;
  __m512 code_low_, code_high_;
  __m512 low_, high_, product_, residual_scale_, residual_start_;
  __mmask64 present_;
  const int32_t *all_sums_, *sums_ = nullptr;
  const CodeRun *run_, *end_;
  int64_t at_ = 0, left_ = 0;
  Residual residual_;
  const int8_t* residual_codes_;
  int8_t* y_;
  int64_t stride_;
};

template <int kGroups, bool kResidual, bool kProduct, bool kTable, class Use>
void with_lanes(const CodeStore& s, const Use& use) {
  Lanes<kGroups> lanes(s, kProduct ? s.product.inverse : s.code.inverse);
  // A product that is rounded is small behind that.
  bool within = lanes.within() && (!kResidual || s.residual_scale * s.code.inverse < 0x1p20f);
  within = within && (!kProduct || s.product.scale * s.code.inverse < 0x1p20f);
  if (within) return use(Codes<kGroups, kResidual, kProduct, kTable, true>(s, lanes));
  use(Codes<kGroups, kResidual, kProduct, kTable, false>(s, lanes));
}

template <int kGroups, bool kTable, class Use>
void with_groups(const CodeStore& s, const Use& use) {
  if (!s.residual) return with_lanes<kGroups, false, false, kTable>(s, use);
  if (s.product.scale > 0) return with_lanes<kGroups, true, true, kTable>(s, use);
  with_lanes<kGroups, true, false, kTable>(s, use);
}

// use(codes) with the Codes that the store asks for.
template <class Use>
void with_codes(const CodeStore& s, const Use& use) {
  if (s.channels > 32) return s.table ? with_groups<4, true>(s, use) : with_groups<4, false>(s, use);
  s.table ? with_groups<2, true>(s, use) : with_groups<2, false>(s, use);
}
