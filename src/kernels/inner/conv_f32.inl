// Template over Vec (vec256.inl). Included inside the namespace of an ISA folder.

// Every taps-th column, for one tap of V vectors: their pieces, one each, stay in registers.
template <int V>
static void pack_tap(const float* channel, int64_t channel_pitch, int64_t count, const TapPiece* const* pieces, float* out, int64_t out_pitch) {
  Vec::Lanes lanes[V];
  int64_t offsets[V];
  for (int v = 0; v < V; v++) lanes[v] = Vec::lanes(pieces[v]->lanes), offsets[v] = pieces[v]->offset;
  for (; count > 0; count--, channel += channel_pitch, out += out_pitch)
    for (int v = 0; v < V; v++) Vec::store(out + v * Vec::kLanes, Vec::load_lanes(channel + offsets[v], lanes[v]));
}

// Where the columns of the i-th tap begin in a panel.
static inline int64_t tap_place(const TapTask& task, int64_t i) { return i / task.row_taps * task.row_pitch + i % task.row_taps * kPanelLanes; }

// Vectors [first, first + V) of every column, each tap of which is one piece.
template <int V>
static void pack_pieces(const TapTask& task, int64_t first) {
  for (int64_t i = 0, tap = task.first_tap; i < task.taps && i < task.cols; i++) {
    const TapPiece* pieces[V];
    for (int v = 0; v < V; v++) pieces[v] = task.pieces + task.starts[(first + v) * task.starts_pitch + tap];
    const float* channel = tap < task.first_tap ? task.channel + task.channel_pitch : task.channel;
    pack_tap<V>(channel, task.channel_pitch, (task.cols - i + task.taps - 1) / task.taps, pieces, task.out + first * Vec::kLanes + tap_place(task, i),
                task.row_taps * kPanelLanes);
    if (++tap == task.taps) tap = 0;
  }
}

// Of one vector, any number of pieces.
static void join_pieces(const TapTask& task, int64_t vector) {
  const int32_t* starts = task.starts + vector * task.starts_pitch;
  const float* channel = task.channel;
  float* out = task.out + vector * Vec::kLanes;
  for (int64_t c = 0, i = 0, tap = task.first_tap; c < task.cols; c++) {
    Vec v = Vec::zero();
    for (int64_t piece = starts[tap]; piece < starts[tap + 1]; piece++)
      v = Vec::join(v, Vec::load_lanes(channel + task.pieces[piece].offset, Vec::lanes(task.pieces[piece].lanes)));
    Vec::store(out + tap_place(task, i), v);
    if (++tap == task.taps) tap = 0, channel += task.channel_pitch;
    if (++i == task.taps) i = 0, out += task.row_taps * kPanelLanes;
  }
}

void pack_taps(const TapTask& task) noexcept {
  // Each tap of these vectors is one piece; none has fewer.
  auto single = [&](int64_t first, int64_t vectors) {
    for (const int32_t* starts = task.starts + first * task.starts_pitch; vectors > 0; vectors--, starts += task.starts_pitch)
      if (starts[task.taps] - starts[0] != task.taps) return false;
    return true;
  };
  for (int64_t v = 0; v < task.vectors;) {
    if (v + 4 <= task.vectors && single(v, 4))
      pack_pieces<4>(task, v), v += 4;
    else if (v + 2 <= task.vectors && single(v, 2))
      pack_pieces<2>(task, v), v += 2;
    else if (single(v, 1))
      pack_pieces<1>(task, v), v++;
    else
      join_pieces(task, v), v++;
  }
}

template <int S>
static void fill_strip_of(const StripTask& task) {
  const StripLanes* lanes = task.lanes;
  for (int64_t tap = 0; tap < task.taps; tap++)
    for (int64_t v = 0; v < task.vectors; v++, lanes++) {
      const Vec::Lanes low = Vec::lanes(lanes->low), high = Vec::lanes(lanes->high);
      const float* x = task.x + tap * task.tap_step + v * Vec::kLanes * S;
      float* out = task.out + tap * kPanelLanes + v * Vec::kLanes;
      for (int64_t channel = 0; channel < task.channels; channel++, x += task.channel_pitch, out += task.taps * kPanelLanes)
        Vec::store(out, S == 1 ? Vec::load_lanes(x, low) : Vec::load_even_lanes(x, low, high));
    }
}

void fill_strip(const StripTask& task) noexcept { task.stride == 1 ? fill_strip_of<1>(task) : fill_strip_of<2>(task); }

void copy_every_second(const float* in, int64_t in_pitch, int64_t rows, int64_t count, float* out, int64_t out_pitch) noexcept {
  for (int64_t row = 0; row < rows; row++, in += in_pitch, out += out_pitch) {
    int64_t i = 0;
    for (; i + Vec::kLanes < count; i += Vec::kLanes) Vec::store(out + i, Vec::load_even(in + 2 * i));  // reads one element beyond the last
    Vec::store_first(out + i, Vec::load_even_first(in + 2 * i, count - i), count - i);
  }
}

void copy_lanes(const float* const* columns, int64_t cols, int64_t lanes, int64_t panel_pitch, float* out) noexcept {
  for (int64_t c = 0; c < cols; c++, out += kPanelLanes)
    for (int64_t lane = 0; lane < lanes; lane += Vec::kLanes) {
      int64_t n = lanes - lane;
      Vec v = n >= Vec::kLanes ? Vec::load(columns[c] + lane) : Vec::load_first(columns[c] + lane, n);
      Vec::store(out + lane / kPanelLanes * panel_pitch + lane % kPanelLanes, v);
    }
}

// Vectors go over the ends of rows; what follows is written afterwards.
void fill_plane_rows(const PlaneRows& p) noexcept {
  constexpr int64_t L = Vec::kLanes;
  const float* in = p.in;
  float* out = p.out;
  for (int64_t row = 0; row < p.rows; row++, in += p.in_pitch, out += p.width) {
    for (int64_t i = 0; i < p.first; i += L) Vec::store(out + i, Vec::zero());
    float* to = out + p.first;
    int64_t i = 0;
    if (p.step == 1) {
      for (; i + L <= p.count; i += L) Vec::store(to + i, Vec::load(in + i));
      if (i < p.count) Vec::store(to + i, Vec::load_first(in + i, p.count - i));
    } else if (p.step == 2) {
      for (; i + L < p.count; i += L) Vec::store(to + i, Vec::load_even(in + 2 * i));  // reads one element beyond the last
      if (i < p.count) Vec::store(to + i, Vec::load_even_first(in + 2 * i, p.count - i));
    } else {
      for (; i < p.count; i++) to[i] = in[i * p.step];
    }
    for (i = p.count; i < p.width - p.first; i += L) Vec::store(to + i, Vec::zero());
  }
}

void depthwise_channel(const DepthwiseTask& task) noexcept {
  const int64_t length = (task.rows - 1) * task.width + task.out_w;
  int64_t i = 0;
  for (; i + 3 * Vec::kLanes < length; i += 4 * Vec::kLanes) {
    Vec a = Vec::set1(task.start), b = a, c = a, d = a;
    for (int64_t tap = 0; tap < task.taps; tap++) {
      const float* x = task.plane + task.offsets[tap] + i;
      Vec w = Vec::set1(task.weights[tap]);
      a = Vec::fmadd(w, Vec::load(x), a);
      b = Vec::fmadd(w, Vec::load(x + Vec::kLanes), b);
      c = Vec::fmadd(w, Vec::load(x + 2 * Vec::kLanes), c);
      d = Vec::fmadd(w, Vec::load(x + 3 * Vec::kLanes), d);
    }
    Vec::store(task.sums + i, a);
    Vec::store(task.sums + i + Vec::kLanes, b);
    Vec::store(task.sums + i + 2 * Vec::kLanes, c);
    Vec::store(task.sums + i + 3 * Vec::kLanes, d);
  }
  for (; i < length; i += Vec::kLanes) {
    Vec a = Vec::set1(task.start);
    for (int64_t tap = 0; tap < task.taps; tap++) a = Vec::fmadd(Vec::set1(task.weights[tap]), Vec::load(task.plane + task.offsets[tap] + i), a);
    Vec::store(task.sums + i, a);
  }
  const Vec low = Vec::set1(task.low), high = Vec::set1(task.high);
  const float *sums = task.sums, *residual = task.residual;
  float* y = task.y;
  for (int64_t row = 0; row < task.rows; row++, sums += task.width, y += task.out_w) {
    for (i = 0; i < task.out_w; i += Vec::kLanes) {
      const int64_t n = task.out_w - i;
      Vec v = Vec::load(sums + i);
      if (residual) v = Vec::add(v, n >= Vec::kLanes ? Vec::load(residual + i) : Vec::load_first(residual + i, n));
      v = Vec::min(high, Vec::max(low, v));
      if (n >= Vec::kLanes)
        Vec::store(y + i, v);
      else
        Vec::store_first(y + i, v, n);
    }
    if (residual) residual += task.out_w;
  }
}

// run(0), run(1), ..., run(N - 1), each a constant.
template <int kValue>
struct Constant {
  constexpr operator int() const { return kValue; }
};
template <int N, int kFirst = 0, class F>
[[gnu::always_inline]] static inline void for_constants(F&& run) {
  if constexpr (kFirst < N) run(Constant<kFirst>()), for_constants<N, kFirst + 1>(run);
}

// Of a vector from column `col` on, as bits, the lanes of which the column lies in [0, width).
static inline uint32_t lanes_inside(int64_t col, int64_t width) {
  const int64_t first = col < 0 ? -col : 0, last = width - col < Vec::kLanes ? width - col : Vec::kLanes;
  return first >= last ? 0 : uint32_t((uint64_t(1) << last) - (uint64_t(1) << first));
}

// R rows at a time: a row of the input is loaded once for each shift, for all outputs that it is part of.
template <int K, int S, int R>
[[gnu::always_inline]] static inline void depthwise_block(const DepthwiseRows& t, int64_t row, int64_t col, const Vec (&weights)[K * K],
                                                          const Vec::Lanes (&low)[K], const Vec::Lanes (&high)[K]) {
  Vec sums[R];
  for_constants<R>([&](auto r) __attribute__((always_inline)) { sums[r] = Vec::set1(t.start); });
  const int64_t top = row * S - t.pad_top;
  const float* x = t.x + top * t.in_w + col * S - t.pad_left;
  for_constants<(R - 1) * S + K>([&](auto i) __attribute__((always_inline)) {
    if (uint64_t(top + i) >= uint64_t(t.in_h)) return;
    for_constants<K>([&](auto shift) __attribute__((always_inline)) {
      const float* at = x + i * t.in_w + shift;
      const Vec v = S == 1 ? Vec::load_lanes(at, low[shift]) : Vec::load_even_lanes(at, low[shift], high[shift]);
      for_constants<R>([&](auto r) __attribute__((always_inline)) {
        constexpr int tap = i - r * S;
        if constexpr (tap >= 0 && tap < K) sums[r] = Vec::fmadd(weights[tap * K + shift], v, sums[r]);
      });
    });
  });
  const Vec lowest = Vec::set1(t.low), highest = Vec::set1(t.high);
  const int64_t n = t.out_w - col;
  for_constants<R>([&](auto r) __attribute__((always_inline)) {
    const int64_t at = (row - t.first_row + r) * t.out_w + col;
    Vec v = sums[r];
    if (t.residual) v = Vec::add(v, n >= Vec::kLanes ? Vec::load(t.residual + at) : Vec::load_first(t.residual + at, n));
    v = Vec::min(highest, Vec::max(lowest, v));
    if (n >= Vec::kLanes)
      Vec::store(t.y + at, v);
    else
      Vec::store_first(t.y + at, v, n);
  });
}

template <int K, int S>
static void depthwise_rows_of(const DepthwiseRows& t) {
  constexpr int R = S == 1 && K == 3 ? 4 : 2;
  Vec weights[K * K];
  for_constants<K * K>([&](auto i) __attribute__((always_inline)) { weights[i] = Vec::set1(t.weights[i]); });
  for (int64_t col = 0; col < t.out_w; col += Vec::kLanes) {
    Vec::Lanes low[K], high[K];
    for_constants<K>([&](auto shift) __attribute__((always_inline)) {
      const int64_t from = col * S - t.pad_left + shift;
      // What no output of the last vector reads stays unread.
      const int64_t end = (t.out_w - 1) * S - t.pad_left + shift + 1, width = end < t.in_w ? end : t.in_w;
      low[shift] = Vec::lanes(lanes_inside(from, width));
      high[shift] = Vec::lanes(lanes_inside(from + Vec::kLanes, width));
    });
    int64_t row = t.first_row;
    for (; row + R <= t.end_row; row += R) depthwise_block<K, S, R>(t, row, col, weights, low, high);
    if (R > 2 && row + 2 <= t.end_row) depthwise_block<K, S, 2>(t, row, col, weights, low, high), row += 2;
    for (; row < t.end_row; row++) depthwise_block<K, S, 1>(t, row, col, weights, low, high);
  }
}

void depthwise_rows(const DepthwiseRows& t) noexcept {
  if (t.kernel == 3)
    t.stride == 1 ? depthwise_rows_of<3, 1>(t) : depthwise_rows_of<3, 2>(t);
  else
    t.stride == 1 ? depthwise_rows_of<5, 1>(t) : depthwise_rows_of<5, 2>(t);
}
