// The products of convolutions: two tiles of pixels by two row groups at a time, or one by four. Weights pass in chunks that the L1 cache holds.
#include <immintrin.h>

#include "kernels/integer/amx.h"

namespace lacuna::kernels::amx_int8 {
namespace {

#include "kernels/inner/tile_config.inl"

// Asks for weights that come later, some lines with each step.
class Ahead {
 public:
  Ahead(const AmxConvCall& c, int64_t steps) : next_(c.ahead), end_(c.ahead + c.ahead_bytes) { lines_ = (c.ahead_bytes / 64 + steps - 1) / steps; }
  void step() {
    for (int64_t i = 0; i < lines_ && next_ < end_; i++, next_ += 64) _mm_prefetch(reinterpret_cast<const char*>(next_), _MM_HINT_T1);
  }

 private:
  const uint8_t *next_, *end_;
  int64_t lines_;
};

struct Chunks {
  int64_t begin, end;
};

// Tiles 0 to 3 hold sums, 4 and 5 pixels, 6 and 7 weights of row groups g and g + 1.
void two_tiles(const AmxConvCall& c, int64_t g, int64_t first, Chunks chunks, Ahead& ahead) {
  const uint8_t *x0 = c.x + c.tile_offsets[first], *x1 = c.x + c.tile_offsets[first + 1];
  const uint8_t *w0 = c.tiles[g] + chunks.begin * kAmxTile, *w1 = c.tiles[g + 1] + chunks.begin * kAmxTile;
  int32_t *sums0 = c.sums + (g * c.pixel_tiles + first) * 256, *sums1 = sums0 + c.pixel_tiles * 256;
  if (chunks.begin == 0) {
    _tile_loadd(0, c.start + 16 * g, 0);
    _tile_loadd(1, c.start + 16 * g + 16, 0);
    _tile_loadd(2, c.start + 16 * g, 0);
    _tile_loadd(3, c.start + 16 * g + 16, 0);
  } else {
    _tile_loadd(0, sums0, 64);
    _tile_loadd(1, sums1, 64);
    _tile_loadd(2, sums0 + 256, 64);
    _tile_loadd(3, sums1 + 256, 64);
  }
  for (int64_t i = chunks.begin; i < chunks.end; i++, w0 += kAmxTile, w1 += kAmxTile) {
    int64_t offset = c.chunk_offsets[i];
    _tile_loadd(4, x0 + offset, c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, x1 + offset, c.x_stride);
    _tile_dpbssd(1, 4, 7);
    ahead.step();
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, sums0, 64);
  _tile_stored(1, sums1, 64);
  _tile_stored(2, sums0 + 256, 64);
  _tile_stored(3, sums1 + 256, 64);
}

// Four row groups: products of one tile could follow each other every 52 cycles only.
void one_tile(const AmxConvCall& c, int64_t tile, Ahead& ahead) {
  const uint8_t *x = c.x + c.tile_offsets[tile], *w0 = c.tiles[0], *w1 = c.tiles[1], *w2 = c.tiles[2], *w3 = c.tiles[3];
  _tile_loadd(0, c.start, 0);
  _tile_loadd(1, c.start + 16, 0);
  _tile_loadd(2, c.start + 32, 0);
  _tile_loadd(3, c.start + 48, 0);
  for (int64_t i = 0; i < c.chunks; i++, w0 += kAmxTile, w1 += kAmxTile, w2 += kAmxTile, w3 += kAmxTile) {
    _tile_loadd(4, x + c.chunk_offsets[i], c.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(1, 4, 7);
    ahead.step();
    _tile_loadd(5, w2, 64);
    _tile_dpbssd(2, 4, 5);
    _tile_loadd(6, w3, 64);
    _tile_dpbssd(3, 4, 6);
    ahead.step();
  }
  int32_t* sums = c.sums + tile * 256;
  int64_t group = c.pixel_tiles * 256;
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + group, 64);
  _tile_stored(2, sums + 2 * group, 64);
  _tile_stored(3, sums + 3 * group, 64);
}

}  // namespace

void begin_conv() noexcept { _tile_loadconfig(&kTileConfig); }
void end_conv() noexcept { _tile_release(); }

void multiply_conv(const AmxConvCall& call) noexcept {
  // Of the weights of two row groups 2 KiB per chunk, and of two tiles of pixels as much: together they fit the L1 cache.
  constexpr int64_t kL1Chunks = 12;
  int64_t paired = call.pixel_tiles / 2 * 2, pairs = (call.row_groups + 1) / 2;
  Ahead ahead(call, call.chunks * (paired / 2 * pairs + call.pixel_tiles % 2 * 2));
  for (int64_t g = 0; g < 2 * pairs && paired > 0; g += 2)
    for (int64_t begin = 0; begin < call.chunks; begin += kL1Chunks) {
      Chunks chunks = {begin, begin + kL1Chunks < call.chunks ? begin + kL1Chunks : call.chunks};
      for (int64_t t = 0; t < paired; t += 2) two_tiles(call, g, t, chunks, ahead);
    }
  if (call.pixel_tiles % 2) one_tile(call, paired, ahead);
}

}  // namespace lacuna::kernels::amx_int8
