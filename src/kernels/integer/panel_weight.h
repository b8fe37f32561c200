// A weight packed for integer/panel.h, and its product with a panel.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "kernels/epilogue.h"
#include "kernels/integer/lane16.h"
#include "kernels/integer/panel.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

// The panel kernels of an instruction set with the quantizer of the same.
struct PanelSet {
  const PanelIsa& panels;
  const Lane16Isa& tokens;
};

struct PanelOptions {
  int group_rows = 1;    // 1, or 4 that share their columns
  bool aligned = false;  // quads are four neighbouring columns
  int32_t input_zero = 0;
  bool skips = true;  // quads without a kept weight; a dense kernel skips none, or it would be no measure of what skipping gains
};
// Quads for blocks of RxC, R or C a multiple of 4; nullopt for other patterns.
std::optional<PanelOptions> panel_blocks(std::string_view pattern);

// Rows are padded to whole output tiles of 16 and cut into chunks, columns into tiles.
class PanelWeight {
 public:
  PanelWeight(const WeightMatrix& weight, const PanelIsa& isa, const PanelOptions& options);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t panel_bytes() const { return (cols_ + 63) / 64 * 64 * isa_.tokens; }
  int64_t chunks() const { return (rows_ + chunk_rows_ - 1) / chunk_rows_; }
  int64_t chunk_rows() const { return chunk_rows_; }
  const PanelOptions& options() const { return options_; }
  int64_t size_bytes() const;

  // sums [chunk_rows][panel tokens] of the rows of a chunk. `outputs`: where `store` will put the first of them, if token-major and for a
  // whole panel.
  void multiply(int64_t chunk, const uint8_t* panel, int32_t* sums, const float* outputs = nullptr, int64_t outputs_stride = 0) const;

  // What `store` needs to know of a chunk's sums.
  struct Finish {
    const float* x_scales;  // [panel tokens]
    bool interleaved;       // the panel's quads are
    bool channel_major;
  };
  // Scales the sums of a chunk and stores them as tokens [first_token, first_token + tokens).
  void store(int64_t chunk, const int32_t* sums, const Finish& finish, int64_t first_token, int64_t tokens, float* y, int64_t y_stride,
             const Epilogue& epilogue) const;
  // Scaled sums of 16 rows from row `first_row` of the chunk on, [16][panel tokens].
  void scale(int64_t chunk, int64_t first_row, const int32_t* sums, const Finish& finish, float* scaled) const;

 private:
  int64_t rows_of_chunk(int64_t chunk) const;  // padded
  PanelOutput output_of(int64_t chunk, int64_t first_row, int64_t rows, const int32_t* sums, const Finish& finish) const;
  void output_by_tokens(PanelOutput out) const;

  // Unit u = chunk * tiles + tile has the stream from stream_begin[u] and the counts of its row groups from quads_begin[u].
  const PanelIsa& isa_;
  PanelOptions options_;
  int64_t rows_, cols_, chunk_rows_ = 0, tile_cols_ = 0, tiles_ = 0;
  std::shared_ptr<std::byte[]> stream_;
  std::vector<int64_t> stream_begin_, quads_begin_;
  std::vector<uint16_t> quads_, order_;
  std::vector<int32_t> excess_;  // [padded rows], or empty
  std::vector<float> scales_;    // [padded rows]
};

}  // namespace lacuna::kernels
