// Four tiles of sums, so that products do not wait for each other.
#include "kernels/inner/peak.h"

#include <immintrin.h>

namespace lacuna::kernels::amx_bf16 {

namespace {

#include "kernels/inner/tile_config.inl"

}  // namespace

int64_t peak_bf16(int64_t rounds) noexcept {
  _tile_loadconfig(&kTileConfig);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  int64_t products = rounds / 16;  // one takes sixteen cycles
  for (int64_t i = 0; i < products; i++) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_release();
  return products * 4 * 2 * 16 * 16 * 32;
}

}  // namespace lacuna::kernels::amx_bf16
