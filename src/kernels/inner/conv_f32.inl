// Template over Vec (vec256.inl). Included inside the namespace of an ISA folder.

void pack_pixels(const float* source, int64_t channel_pitch, int64_t channels, const PackPiece* pieces, int64_t count, float* out) noexcept {
  for (int64_t c = 0; c < channels; c++, source += channel_pitch, out += kPanelLanes)
    for (int64_t i = 0; i < count; i++) {
      const PackPiece& piece = pieces[i];
      const float* from = source + piece.offset;
      float* to = out + piece.vector * Vec::kLanes;
      if (piece.last_lane - piece.first_lane == Vec::kLanes) {
        Vec::store(to, Vec::load(from));
        continue;
      }
      Vec v = Vec::load_between(from, piece.first_lane, piece.last_lane);
      for (; i + 1 < count && pieces[i + 1].joins; i++) v = Vec::join(v, Vec::load_between(source + pieces[i + 1].offset, pieces[i + 1].first_lane, pieces[i + 1].last_lane));
      Vec::store(to, v);
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
