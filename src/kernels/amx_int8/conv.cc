// The products of convolutions: two tiles of pixels by two row groups at a time, or one by four. Weights come from the L2 cache as fast as
// tiles multiply.
#include <immintrin.h>

#include "kernels/integer/amx.h"

namespace lacuna::kernels::amx_int8 {
namespace {

#include "kernels/inner/tile_config.inl"
#define LACUNA_UNROLL _Pragma("GCC unroll 4")
// After the tiles.
#include "kernels/integer/codes512.inl"

struct NoCodes {
  void step(int64_t) {}
};

// Asks for weights that come later, some lines with each step.
class Ahead {
 public:
  Ahead(const AmxConvCall& c, int64_t steps) {
    for (int i = 0; i < 2; i++)
      next_[i] = c.ahead[i].first, end_[i] = next_[i] + c.ahead[i].bytes, lines_[i] = (c.ahead[i].bytes / 64 + steps - 1) / steps;
  }
  [[gnu::always_inline]] void step() {
    fetch(0);
    fetch(1);
  }

 private:
  [[gnu::always_inline]] void fetch(int of) {
    for (int64_t i = 0; i < lines_[of] && next_[of] < end_[of]; i++, next_[of] += 64)
      _mm_prefetch(reinterpret_cast<const char*>(next_[of]), _MM_HINT_T1);
  }

  const uint8_t *next_[2], *end_[2];
  int64_t lines_[2];
};

// Tiles 0 to 3 hold sums, 4 and 5 pixels, 6 and 7 weights of row groups g and g + 1.
template <class Before>
[[gnu::always_inline]] inline void two_tiles(const AmxConvCall& c, int64_t g, Ahead& ahead, Before& before, int64_t pixels) {
  const uint8_t *x0 = c.x + c.tile_offsets[0], *x1 = c.x + c.tile_offsets[1], *w0 = c.tiles[g], *w1 = c.tiles[g + 1];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < c.chunks; i++, w0 += kAmxTile, w1 += kAmxTile) {
    int64_t offset = c.chunk_offsets[i];
    _tile_loadd(4, x0 + offset, c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, x1 + offset, c.x_stride);
    _tile_dpbssd(1, 4, 7);
    ahead.step();
    before.step(pixels);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  int32_t *sums0 = c.sums + g * kGroupSums, *sums1 = sums0 + kGroupSums;
  _tile_stored(0, sums0, 64);
  _tile_stored(1, sums1, 64);
  _tile_stored(2, sums0 + 256, 64);
  _tile_stored(3, sums1 + 256, 64);
}

// Four row groups: products of one tile could follow each other every 52 cycles only.
template <class Before>
[[gnu::always_inline]] inline void one_tile(const AmxConvCall& c, Ahead& ahead, Before& before, int64_t pixels) {
  const uint8_t *x = c.x + c.tile_offsets[0], *w0 = c.tiles[0], *w1 = c.tiles[1], *w2 = c.tiles[2], *w3 = c.tiles[3];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < c.chunks; i++, w0 += kAmxTile, w1 += kAmxTile, w2 += kAmxTile, w3 += kAmxTile) {
    _tile_loadd(4, x + c.chunk_offsets[i], c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(1, 4, 7);
    ahead.step();
    before.step(pixels);
    _tile_loadd(5, w2, 64);
    _tile_dpbssd(2, 4, 5);
    _tile_loadd(6, w3, 64);
    _tile_dpbssd(3, 4, 6);
    ahead.step();
  }
  _tile_stored(0, c.sums, 64);
  _tile_stored(1, c.sums + kGroupSums, 64);
  _tile_stored(2, c.sums + 2 * kGroupSums, 64);
  _tile_stored(3, c.sums + 3 * kGroupSums, 64);
}

}  // namespace

void begin_conv() noexcept { _tile_loadconfig(&kTileConfig); }
void end_conv() noexcept { _tile_release(); }

void multiply_conv(const AmxConvCall& call, const CodeStore* before) noexcept {
  int64_t passes = call.pixel_tiles == 2 && call.row_groups > 2 ? 2 : 1;
  int64_t pixels = (kBlockPixels + passes * call.chunks - 1) / (passes * call.chunks);
  auto multiply = [&](auto codes) {
    Ahead ahead(call, 2 * call.chunks);
    if (call.pixel_tiles == 1) {
      one_tile(call, ahead, codes, pixels);
    } else {
      for (int64_t g = 0; g < 2 * passes; g += 2) two_tiles(call, g, ahead, codes, pixels);
    }
    codes.step(kBlockPixels);
  };
  if (!before) return multiply(NoCodes());
  with_codes(*before, multiply);
}

}  // namespace lacuna::kernels::amx_int8
