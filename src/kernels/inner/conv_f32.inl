// Template over Vec (vec256.inl). Included inside the namespace of an ISA folder.

// Mostly one piece per tap.
void pack_taps(const TapTask& task) noexcept {
  const float* channel = task.channel;
  const bool single = task.starts[task.taps] - task.starts[0] == task.taps;
  const TapPiece* pieces = task.pieces + task.starts[0];
  float* out = task.out;
  for (int64_t c = 0, tap = task.first_tap; c < task.cols; c++, out += kPanelLanes) {
    if (single) {
      Vec::store(out, Vec::load_lanes(channel + pieces[tap].offset, Vec::lanes(pieces[tap].lanes)));
    } else {
      Vec v = Vec::zero();
      for (int64_t i = task.starts[tap]; i < task.starts[tap + 1]; i++)
        v = Vec::join(v, Vec::load_lanes(channel + task.pieces[i].offset, Vec::lanes(task.pieces[i].lanes)));
      Vec::store(out, v);
    }
    if (++tap == task.taps) tap = 0, channel += task.channel_pitch;
  }
}

void copy_every_second(const float* in, int64_t count, float* out) noexcept {
  int64_t i = 0;
  for (; i + Vec::kLanes < count; i += Vec::kLanes) Vec::store(out + i, Vec::load_even(in + 2 * i));  // reads one element beyond the last
  for (; i < count; i++) out[i] = in[2 * i];
}

void copy_lanes(const float* const* columns, int64_t cols, int64_t lanes, int64_t panel_pitch, float* out) noexcept {
  for (int64_t c = 0; c < cols; c++, out += kPanelLanes)
    for (int64_t lane = 0; lane < lanes; lane += Vec::kLanes) {
      int64_t n = lanes - lane;
      Vec v = n >= Vec::kLanes ? Vec::load(columns[c] + lane) : Vec::load_first(columns[c] + lane, n);
      Vec::store(out + lane / kPanelLanes * panel_pitch + lane % kPanelLanes, v);
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
