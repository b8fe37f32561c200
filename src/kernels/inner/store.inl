// Template over Vec (vec256.inl): stores of tiles with bias, residual and activation, and transposition.
// Included inside the namespace of an ISA folder. Wants activations.inl and code_rule.inl before it.

struct Rounder {
  explicit Rounder(const StoreRounding& r)
      : inverse(Vec::set1(r.inverse)), low(Vec::set1(r.low)), high(Vec::set1(r.high)), unit(Vec::set1(r.scale)), scale(r.scale) {}
  Vec operator()(Vec v) const { return scale == 0 ? v : Vec::mul(nearest_code(v, inverse, scale, low, high), unit); }
  Vec inverse, low, high, unit;
  float scale;
};

// What becomes of sums on their way out. `product`: of a sum without bias and residual.
struct Finish {
  explicit Finish(const StoreTask& t) : product(t.sum_rounding), result(t.rounding), task(t) {}
  Vec operator()(Vec v) const { return result(task.activation ? activated(v, task.activation, task.alpha, task.beta) : v); }
  Rounder product, result;
  const StoreTask& task;
};

void store_channel_major(const StoreTask& task) noexcept {
  const Finish finish(task);
  for (int64_t r = 0; r < task.rows; r++) {
    const float* row = task.sums + r * task.sums_stride;
    const float* residual = task.residual ? task.residual + r * task.residual_stride : nullptr;
    float* y = task.y ? task.y + r * task.y_stride : nullptr;
    Vec bias = task.bias ? Vec::set1(task.bias[r]) : Vec::zero();
    for (int64_t t = 0; t < task.tokens; t += Vec::kLanes) {
      int64_t at = t / 64 * task.panel_pitch + t % 64, n = task.tokens - t;
      float* kept = task.kept ? task.kept + r * task.sums_stride + at : nullptr;
      if (n >= Vec::kLanes) {
        Vec v = Vec::add(finish.product(Vec::load(row + at)), bias);
        if (residual) v = Vec::add(v, Vec::load(residual + t));
        v = finish(v);
        if (y) Vec::store(y + t, v);
        if (kept) Vec::store(kept, v);
      } else {
        Vec v = Vec::add(finish.product(Vec::load_first(row + at, n)), bias);
        if (residual) v = Vec::add(v, Vec::load_first(residual + t, n));
        v = finish(v);
        if (y) Vec::store_first(y + t, v, n);
        if (kept) Vec::store_first(kept, v, n);
      }
    }
  }
}

// One vector of up to kLanes rows of one token.
static inline void store_rows(const StoreTask& task, const Finish& finish, Vec v, int64_t token, int64_t row, int64_t n) {
  float* y = task.y + token * task.y_stride + row;
  const float* residual = task.residual ? task.residual + token * task.residual_stride + row : nullptr;
  v = finish.product(v);
  if (n >= Vec::kLanes) {
    if (task.bias) v = Vec::add(v, Vec::load(task.bias + row));
    if (residual) v = Vec::add(v, Vec::load(residual));
    Vec::store(y, finish(v));
  } else {
    if (task.bias) v = Vec::add(v, Vec::load_first(task.bias + row, n));
    if (residual) v = Vec::add(v, Vec::load_first(residual, n));
    Vec::store_first(y, finish(v), n);
  }
}

// What does not change is held in locals: stores of vectors may be of anything, a field of the task included.
template <bool kActivates>
static void finish_tokens(const StoreTask& task) {
  const Rounder product(task.sum_rounding), result(task.rounding);
  const int64_t rows = task.rows, tokens = task.tokens, sums_stride = task.sums_stride, y_stride = task.y_stride;
  const int64_t residual_stride = task.residual_stride;
  const uint8_t activation = task.activation;
  const float alpha = task.alpha, beta = task.beta, *bias = task.bias, *sums = task.sums, *residual = task.residual;
  float* y = task.y;
  auto finish = [&](Vec v, Vec b, Vec of_residual) {
    v = product(v);
    if (bias) v = Vec::add(v, b);
    if (residual) v = Vec::add(v, of_residual);
    if constexpr (kActivates) v = activated(v, activation, alpha, beta);
    return result(v);
  };
  for (int64_t t = 0; t < tokens; t++) {
    int64_t r = 0;
    for (; r + Vec::kLanes <= rows; r += Vec::kLanes)
      Vec::store(y + r, finish(Vec::load(sums + r), bias ? Vec::load(bias + r) : Vec::zero(), residual ? Vec::load(residual + r) : Vec::zero()));
    if (int64_t n = rows - r; n > 0)
      Vec::store_first(y + r,
                       finish(Vec::load_first(sums + r, n), bias ? Vec::load_first(bias + r, n) : Vec::zero(),
                              residual ? Vec::load_first(residual + r, n) : Vec::zero()),
                       n);
    sums += sums_stride, y += y_stride;
    if (residual) residual += residual_stride;
  }
}

void store_token_major(const StoreTask& task) noexcept { task.activation ? finish_tokens<true>(task) : finish_tokens<false>(task); }

// One vector of rows by tokens [first, last).
static inline void store_transposed_block(const StoreTask& task, const Finish& finish, int64_t row, int64_t first, int64_t last) {
  int64_t n = task.rows - row, t = first;
  const float* sums = task.sums + row * task.sums_stride;
  for (; t + 4 <= last; t += 4) {
    Vec::Four four = Vec::load_transposed(sums + t, task.sums_stride, n);
    store_rows(task, finish, {four.column[0]}, t, row, n);
    store_rows(task, finish, {four.column[1]}, t + 1, row, n);
    store_rows(task, finish, {four.column[2]}, t + 2, row, n);
    store_rows(task, finish, {four.column[3]}, t + 3, row, n);
  }
  for (; t < last; t++) {
    float column[Vec::kLanes] = {};
    for (int64_t i = 0; i < (n < Vec::kLanes ? n : Vec::kLanes); i++) column[i] = sums[i * task.sums_stride + t];
    store_rows(task, finish, Vec::load(column), t, row, n);
  }
}

// Sixteen tokens at a time: they use up a line of each row of sums, and write to no more pages than the store TLB of Golden Cove holds.
void store_transposed(const StoreTask& task) noexcept {
  const int64_t at_once = tokens_collide(task.y_stride) ? 8 : 16;
  const Finish finish(task);
  for (int64_t t = 0; t < task.tokens; t += at_once)
    for (int64_t r = 0; r < task.rows; r += Vec::kLanes)
      store_transposed_block(task, finish, r, t, t + at_once < task.tokens ? t + at_once : task.tokens);
}

void transpose(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float* out, int64_t out_stride, int64_t lanes_written) noexcept {
  for (int64_t r = 0; r < rows; r += Vec::kLanes) {
    int64_t n = rows - r, lanes = lanes_written - r;
    const float* block = in + r * in_stride;
    int64_t c = 0;
    for (; c + 4 <= cols; c += 4) {
      Vec::Four four = Vec::load_transposed(block + c, in_stride, n);
      float* to = out + c * out_stride + r;
      if (lanes >= Vec::kLanes) {
        Vec::store(to, {four.column[0]});
        Vec::store(to + out_stride, {four.column[1]});
        Vec::store(to + 2 * out_stride, {four.column[2]});
        Vec::store(to + 3 * out_stride, {four.column[3]});
      } else {
        for (int i = 0; i < 4; i++) Vec::store_first(to + i * out_stride, {four.column[i]}, lanes);
      }
    }
    for (; c < cols; c++)
      for (int64_t i = 0; i < (lanes < Vec::kLanes ? lanes : Vec::kLanes); i++)
        out[c * out_stride + r + i] = block[(i < n ? i : n - 1) * in_stride + c];
  }
}

float largest_magnitude(const float* x, int64_t n) noexcept {
  Vec a = Vec::zero(), b = a, c = a, d = a;  // max(v, a) keeps a where v is NaN
  int64_t i = 0;
  auto magnitude = [](Vec v) { return Vec::max(Vec::sub(Vec::zero(), v), v); };
  for (; i + 4 * Vec::kLanes <= n; i += 4 * Vec::kLanes) {
    a = Vec::max(magnitude(Vec::load(x + i)), a);
    b = Vec::max(magnitude(Vec::load(x + i + Vec::kLanes)), b);
    c = Vec::max(magnitude(Vec::load(x + i + 2 * Vec::kLanes)), c);
    d = Vec::max(magnitude(Vec::load(x + i + 3 * Vec::kLanes)), d);
  }
  for (; i < n; i += Vec::kLanes) a = Vec::max(magnitude(n - i >= Vec::kLanes ? Vec::load(x + i) : Vec::load_first(x + i, n - i)), a);
  float lanes[Vec::kLanes], largest = 0;
  Vec::store(lanes, Vec::max(Vec::max(a, b), Vec::max(c, d)));
  for (float lane : lanes) largest = lane > largest ? lane : largest;
  return largest;
}

void quantize_s8(const float* x, int64_t n, const CodeRule& rule, int8_t* codes) noexcept {
  Vec zero = Vec::set1(float(rule.zero));
  auto coded = [&](Vec v) { return Vec::add(code_of(v, rule), zero); };
  int64_t i = 0;
  for (; i + Vec::kLanes <= n; i += Vec::kLanes) Vec::store_s8(codes + i, coded(Vec::load(x + i)));
  if (i < n) {
    int8_t last[Vec::kLanes];
    Vec::store_s8(last, coded(Vec::load_first(x + i, n - i)));
    for (int64_t j = i; j < n; j++) codes[j] = last[j - i];
  }
}

void values_of_codes(const CodedPixels& x, int64_t pixels, int64_t channels, float* y) noexcept {
  constexpr int L = Vec::kLanes;
  const Vec zero = Vec::set1(float(x.zero)), scale = Vec::set1(x.scale);
  for (int64_t p = 0; p < pixels; p++, y += channels) {
    const int8_t* codes = x.codes + p * x.pitch;
    int64_t i = 0;
    for (; i + L <= channels; i += L) Vec::store(y + i, Vec::mul(Vec::sub(Vec::load_s8(codes + i), zero), scale));
    for (; i < channels; i++) y[i] = float(codes[i] - x.zero) * x.scale;
  }
}

void recode(const CodedPixels& x, const CodedPixels& other, bool product, int64_t pixels, int64_t channels, const CodeRule& rule, int8_t* y,
            int64_t y_pitch) noexcept {
  constexpr int L = Vec::kLanes;
  const Vec zero = Vec::set1(float(rule.zero)), x_zero = Vec::set1(float(x.zero)), x_scale = Vec::set1(x.scale);
  const Vec other_zero = Vec::set1(float(other.zero)), other_scale = Vec::set1(other.scale);
  auto coded = [&](const int8_t* a, const int8_t* b) {
    Vec v = Vec::mul(Vec::sub(Vec::load_s8(a), x_zero), x_scale);
    if (b) {
      const Vec second = Vec::mul(Vec::sub(Vec::load_s8(b), other_zero), other_scale);
      v = product ? Vec::mul(v, second) : Vec::add(v, second);
    }
    return Vec::add(code_of(v, rule), zero);
  };
  for (int64_t p = 0; p < pixels; p++, y += y_pitch) {
    const int8_t *a = x.codes + p * x.pitch, *b = other.codes ? other.codes + p * other.pitch : nullptr;
    int64_t i = 0;
    for (; i + L <= channels; i += L) Vec::store_s8(y + i, coded(a + i, b ? b + i : nullptr));
    if (i == channels) continue;
    int8_t first[L] = {}, second[L] = {}, last[L];
    for (int64_t j = i; j < channels; j++) first[j - i] = a[j];
    for (int64_t j = i; b && j < channels; j++) second[j - i] = b[j];
    Vec::store_s8(last, coded(first, b ? second : nullptr));
    for (int64_t j = i; j < channels; j++) y[j] = last[j - i];
  }
}
