// Template over Vec (vec256.inl). Included inside the namespace of an ISA folder.

// One vector of all columns, out of N pieces: their masks stay in registers.
template <int N>
static void pack_vector(const float* const* columns, int64_t cols, const PackPiece* pieces, float* out) {
  static_assert(N <= 4);
  const PackPiece &p0 = pieces[0], &p1 = pieces[N > 1 ? 1 : 0], &p2 = pieces[N > 2 ? 2 : 0], &p3 = pieces[N > 3 ? 3 : 0];
  const Vec::Lanes m0 = Vec::lanes(p0.lanes), m1 = Vec::lanes(p1.lanes), m2 = Vec::lanes(p2.lanes), m3 = Vec::lanes(p3.lanes);
  const int64_t o0 = p0.offset, o1 = p1.offset, o2 = p2.offset, o3 = p3.offset;
  for (int64_t c = 0; c < cols; c++, out += kPanelLanes) {
    const float* column = columns[c];
    Vec v = Vec::load_lanes(column + o0, m0);
    if constexpr (N > 1) v = Vec::join(v, Vec::load_lanes(column + o1, m1));
    if constexpr (N > 2) v = Vec::join(v, Vec::load_lanes(column + o2, m2));
    if constexpr (N > 3) v = Vec::join(v, Vec::load_lanes(column + o3, m3));
    Vec::store(out, v);
  }
}

static void pack_many(const float* const* columns, int64_t cols, const PackPiece* pieces, int64_t count, float* out) {
  for (int64_t c = 0; c < cols; c++, out += kPanelLanes) {
    Vec v = Vec::zero();
    for (int64_t i = 0; i < count; i++) v = Vec::join(v, Vec::load_lanes(columns[c] + pieces[i].offset, Vec::lanes(pieces[i].lanes)));
    Vec::store(out, v);
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

void pack_pixels(const float* const* columns, int64_t cols, const PackPiece* pieces, int64_t count, float* out) noexcept {
  for (int64_t first = 0, last = 0; first < count; first = last) {
    while (last < count && pieces[last].vector == pieces[first].vector) last++;
    float* to = out + pieces[first].vector * Vec::kLanes;
    const PackPiece* own = pieces + first;
    switch (last - first) {
      case 1:
        if (own->lanes == (uint64_t(1) << Vec::kLanes) - 1)
          for (int64_t c = 0; c < cols; c++) Vec::store(to + c * kPanelLanes, Vec::load(columns[c] + own->offset));
        else
          pack_vector<1>(columns, cols, own, to);
        break;
      case 2: pack_vector<2>(columns, cols, own, to); break;
      case 3: pack_vector<3>(columns, cols, own, to); break;
      case 4: pack_vector<4>(columns, cols, own, to); break;
      default: pack_many(columns, cols, own, last - first, to);
    }
  }
}

void pad_rows(const float* in, int64_t in_pitch, int64_t rows, int64_t cols, int64_t left, int64_t right, float* out) noexcept {
  auto zeros = [&](int64_t n) {
    for (int64_t i = 0; i < n; i++) *out++ = 0;
  };
  for (int64_t row = 0; row < rows; row++, in += in_pitch) {
    zeros(left);
    int64_t c = 0;
    for (; c + Vec::kLanes <= cols; c += Vec::kLanes) Vec::store(out + c, Vec::load(in + c));
    if (c < cols) Vec::store_first(out + c, Vec::load_first(in + c, cols - c), cols - c);
    out += cols;
    zeros(right);
  }
}

void depthwise_channel(const DepthwiseTask& task) noexcept {
  int64_t i = 0;
  for (; i + 3 * Vec::kLanes < task.length; i += 4 * Vec::kLanes) {
    Vec a = Vec::zero(), b = a, c = a, d = a;
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
  for (; i < task.length; i += Vec::kLanes) {
    Vec a = Vec::zero();
    for (int64_t tap = 0; tap < task.taps; tap++) a = Vec::fmadd(Vec::set1(task.weights[tap]), Vec::load(task.plane + task.offsets[tap] + i), a);
    Vec::store(task.sums + i, a);
  }
}
