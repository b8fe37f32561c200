// A sparse f32 matrix packed for inner/spmm_f32.h, and its product with panels of tokens or pixels.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "kernels/inner/spmm_f32.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

// The inner loops of one ISA.
struct SpmmF32Isa {
  std::string_view name;  // "avx512"
  int64_t vector_lanes;
  bool pairs_rows;  // reads steps of two rows
  // bf16 panels: two non-zeros at a time, and this turns f32 panels into them; nullptr: f32.
  void (*convert)(const float* in, int64_t cols, float* out) noexcept;
  void (*tile)(const SpmmTile& tile, const float* panel, float* sums, int64_t lanes) noexcept;
  void (*copy_lanes)(const float* const* columns, int64_t cols, int64_t lanes, int64_t panel_pitch, float* out) noexcept;
  void (*transpose)(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float* out, int64_t out_stride, int64_t lanes_written) noexcept;
};
extern const SpmmF32Isa kSpmmF32Avx2, kSpmmF32Avx512, kSpmmBf16;
// kSpmmF32Avx512, or what takes its place on this CPU.
const SpmmF32Isa& best_spmm(const SpmmF32Isa& isa);

inline constexpr int64_t kMostTileCols = 240;  // offsets are 16 bits wide, up to 256 bytes a column

class SpmmMatrix {
 public:
  // `values` [rows, cols]: what is zero is not stored.
  enum class Store {
    kSingle,     // each row has its own columns
    kRowBlocks,  // four rows share columns: a column is stored for all four if any of them is not zero
    kDense,      // four rows share all columns
  };
  SpmmMatrix(const SpmmF32Isa& isa, int64_t rows, int64_t cols, const float* values, Store store);

  struct RowGroup {
    int64_t first_row, rows;
  };
  const SpmmF32Isa& isa() const { return isa_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t tile_cols() const { return tile_cols_; }
  int64_t tiles() const { return cols_ == 0 ? 1 : (cols_ + tile_cols_ - 1) / tile_cols_; }
  const std::vector<RowGroup>& groups() const { return groups_; }
  SpmmTile tile(int64_t group, int64_t tile) const;
  int64_t size_bytes() const;
  int64_t stored() const { return int64_t(values_.size()); }

 private:
  struct Part {  // of one group and tile
    std::vector<SpmmRun> runs;
    std::vector<uint16_t> meta;
    std::vector<float> values;
  };
  Part pack_tile(const RowGroup& group, int64_t first_col, int64_t cols, const float* values, Store store) const;

  const SpmmF32Isa& isa_;
  int64_t rows_, cols_, tile_cols_ = 0;
  struct TileStart {
    int64_t run, meta, value;
  };
  std::vector<RowGroup> groups_;
  std::vector<TileStart> starts_;  // [group][tile], and the end
  std::vector<SpmmRun> runs_;
  std::vector<uint16_t> meta_;  // and two spare ones
  std::vector<float> values_;
};

// Where panels come from and where sums go. Called from several threads. A call covers one panel of up to 64 tokens, or several panels:
// then all but the last have 64, and panel i lies i * panel_pitch floats behind the first.
class PanelSource {
 public:
  virtual ~PanelSource() = default;
  // out [cols][64] per panel: columns first_col ... of the tokens; lanes beyond them, up to a whole vector, any finite values.
  virtual void pack(int64_t first_token, int64_t tokens, int64_t first_col, int64_t cols, int64_t panel_pitch, float* out) const = 0;
  // sums [rows][64] per panel.
  virtual void store(int64_t first_token, int64_t tokens, int64_t first_row, int64_t rows, int64_t panel_pitch, const float* sums) const = 0;
  // Whether results of these tokens can be made with the last tile, in place of store(); then, for row group `first_row`, how.
  virtual bool finishes(int64_t /*first_token*/, int64_t /*tokens*/) const { return false; }
  virtual SpmmTile::Finish finish(int64_t /*first_token*/, int64_t /*tokens*/, int64_t /*first_row*/) const { return {}; }
  // Whether neighbouring tokens lie side by side in memory, in far more memory than L2 holds: then several panels are handled at a time,
  // so that each column is read, and each row written, in pieces that the hardware prefetcher notices.
  virtual bool streams() const { return false; }
};

// All rows times all tokens, in parallel over panels and row groups.
void multiply(const SpmmMatrix& matrix, const PanelSource& source, int64_t tokens);

class ChainSource : public PanelSource {
 public:
  // As store(), and the results take the place of the sums too.
  virtual void store_and_keep(int64_t first_token, int64_t tokens, int64_t first_row, int64_t rows, int64_t panel_pitch, float* sums) const = 0;
};

// Products one after the other: the first packs its panels, each next one's panels are the finished sums of the one before, so its columns are the
// other's rows. In parallel over panels, whose results stay in L2 between the links. All matrices are of one ISA, without `convert`.
struct ChainLink {
  const SpmmMatrix* matrix;
  const ChainSource* source;
};
// `seconds`, if not empty, gains the time of all threads that each link took.
void multiply_chain(std::span<const ChainLink> links, int64_t tokens, std::span<std::atomic<double>> seconds);
// Whether a chain over so many tokens, with at most so many rows, keeps so many threads busy and its sums in L2.
bool chain_fits(int64_t tokens, int64_t most_rows, int threads);

}  // namespace lacuna::kernels
