// The configuration of AMX: eight tiles of 16 rows of 64 bytes. Included inside the namespace of an ISA folder.
// In static memory: gcc takes _tile_loadconfig to read no more than eight bytes, and drops stores to the rest of a local one.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static constexpr TileConfig kTileConfig;
