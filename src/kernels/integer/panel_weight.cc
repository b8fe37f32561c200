// The layout is described in panel.h.
#include "kernels/integer/panel_weight.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/buffer.h"
#include "base/cpu.h"
#include "base/parallel.h"
#include "kernels/inner/store.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

constexpr int64_t kOutputRows = 16;

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

int8_t code_at(const WeightMatrix& weight, int64_t row, int64_t col) {
  bool kept = row < weight.rows && col < weight.cols && (!weight.mask || weight.mask->kept(row, col));
  return kept ? weight.codes[row * weight.cols + col] : int8_t(0);
}

// A tile's panel should stay in three quarters of the L1 cache, but a row should find some quads in it: its sums are loaded and stored
// once per tile. Offsets of 16 bits allow 64 KiB.
int64_t choose_tile_cols(const WeightMatrix& weight, const PanelOptions& options, int64_t panel_tokens) {
  constexpr int64_t kWantedWeights = 48;
  size_t l1 = cache_sizes().l1 ? cache_sizes().l1 : 32 << 10;
  int64_t kept = weight.mask && options.skips ? weight.mask->count_kept() : weight.rows * weight.cols;
  double per_col = double(std::max<int64_t>(kept, 1)) / double(std::max<int64_t>(weight.rows * weight.cols, 1));
  int64_t most = (64 << 10) / panel_tokens;
  int64_t wanted = std::clamp<int64_t>(std::max(int64_t(l1) * 3 / 4 / panel_tokens, int64_t(double(kWantedWeights) / per_col)), 64, most);
  int64_t tiles = std::max<int64_t>((weight.cols + wanted - 1) / wanted, 1);
  return round_up(std::max<int64_t>((weight.cols + tiles - 1) / tiles, 1), 4);
}

// The columns of [begin, end) that a row group keeps: single ones, or the first of each aligned four.
std::vector<int64_t> columns_of(const WeightMatrix& weight, const PanelOptions& options, int64_t first_row, int64_t begin, int64_t end) {
  std::vector<int64_t> columns;
  int64_t width = options.aligned ? 4 : 1, last_row = std::min(first_row + options.group_rows, weight.rows);
  for (int64_t col = begin; col < end; col += width) {
    bool kept = !options.skips;
    for (int64_t r = first_row; r < last_row && !kept; r++)
      for (int64_t c = col; c < std::min(col + width, weight.cols); c++) kept |= !weight.mask || weight.mask->kept(r, c);
    if (kept) columns.push_back(col);
  }
  return columns;
}

void append_offset(std::vector<uint8_t>& out, int64_t offset) {
  LACUNA_ASSERT(offset < 65536);
  out.push_back(uint8_t(offset)), out.push_back(uint8_t(offset >> 8));
}

// Appends the quads of a row group in a tile and returns how many.
int64_t append_quads(std::vector<uint8_t>& out, const WeightMatrix& weight, const PanelOptions& options, int64_t first_row, int64_t begin,
                     int64_t end, int64_t panel_tokens) {
  std::vector<int64_t> columns = columns_of(weight, options, first_row, begin, end);
  size_t step = options.aligned ? 1 : 4;
  for (size_t i = 0; i < columns.size(); i += step) {
    for (size_t k = i; k < i + step; k++) append_offset(out, k < columns.size() ? (columns[k] - begin) * panel_tokens : 0);
    for (int64_t r = first_row; r < first_row + options.group_rows; r++)
      for (size_t k = 0; k < 4; k++) {
        bool present = options.aligned || i + k < columns.size();
        int64_t col = options.aligned ? columns[i] + int64_t(k) : present ? columns[i + k] : 0;
        out.push_back(present ? uint8_t(code_at(weight, r, col)) : uint8_t(0));
      }
  }
  return int64_t((columns.size() + step - 1) / step);
}

}  // namespace

std::optional<PanelOptions> panel_blocks(std::string_view pattern) {
  int rows = 0, cols = 0;
  if (!pattern.starts_with("block:")) return std::nullopt;
  const char *begin = pattern.data() + 6, *end = pattern.data() + pattern.size();
  auto first = std::from_chars(begin, end, rows);
  if (first.ptr == end || *first.ptr != 'x' || std::from_chars(first.ptr + 1, end, cols).ptr != end) return std::nullopt;
  if (rows % 4 != 0 && cols % 4 != 0) return std::nullopt;
  return PanelOptions{.group_rows = rows % 4 == 0 ? 4 : 1, .aligned = cols % 4 == 0};
}

PanelWeight::PanelWeight(const WeightMatrix& weight, const PanelIsa& isa, const PanelOptions& options)
    : isa_(isa), options_(options), rows_(weight.rows), cols_(weight.cols) {
  tile_cols_ = choose_tile_cols(weight, options, isa.tokens);
  tiles_ = std::max<int64_t>((cols_ + tile_cols_ - 1) / tile_cols_, 1);
  chunk_rows_ = rows_ >= 1024 ? 128 : 64;
  int64_t units = chunks() * tiles_;
  std::vector<std::vector<uint8_t>> streams(static_cast<size_t>(units));
  std::vector<std::vector<uint16_t>> quads(static_cast<size_t>(units)), order(static_cast<size_t>(units));
  parallel_for(units, [&](int64_t u) {
    int64_t chunk = u / tiles_, begin = u % tiles_ * tile_cols_, end = std::min(begin + tile_cols_, cols_);
    int64_t first = chunk * chunk_rows_, last = first + rows_of_chunk(chunk);
    // Row groups of a tile by rising number of quads: a loop that ends where the last one did is predicted, and a misprediction costs as
    // much as eight quads.
    std::vector<std::pair<int64_t, int64_t>> by_quads;  // quads, index of the row group
    std::vector<std::vector<uint8_t>> parts(size_t((last - first) / options.group_rows));
    for (size_t g = 0; g < parts.size(); g++)
      by_quads.emplace_back(append_quads(parts[g], weight, options, first + int64_t(g) * options.group_rows, begin, end, isa.tokens), g);
    std::sort(by_quads.begin(), by_quads.end());
    for (auto [count, g] : by_quads) {
      quads[size_t(u)].push_back(uint16_t(count)), order[size_t(u)].push_back(uint16_t(g));
      streams[size_t(u)].insert(streams[size_t(u)].end(), parts[size_t(g)].begin(), parts[size_t(g)].end());
    }
  });
  stream_begin_ = quads_begin_ = {0};
  for (int64_t u = 0; u < units; u++) {
    stream_begin_.push_back(stream_begin_.back() + int64_t(streams[size_t(u)].size()));
    quads_begin_.push_back(quads_begin_.back() + int64_t(quads[size_t(u)].size()));
    quads_.insert(quads_.end(), quads[size_t(u)].begin(), quads[size_t(u)].end());
    order_.insert(order_.end(), order[size_t(u)].begin(), order[size_t(u)].end());
  }
  stream_ = allocate(size_t(stream_begin_.back()), false);
  for (size_t u = 0; u < size_t(units); u++)
    if (!streams[u].empty()) std::memcpy(stream_.get() + stream_begin_[u], streams[u].data(), streams[u].size());

  size_t padded_rows = size_t(round_up(rows_, kOutputRows));
  scales_.assign(padded_rows, 0.0f);
  std::copy_n(weight.scales, rows_, scales_.begin());
  int32_t x_zero = options.input_zero + (isa.unsigned_x ? 128 : 0);
  if (x_zero != 0) excess_.assign(padded_rows, 0);
  parallel_for(x_zero != 0 ? rows_ : 0, [&](int64_t r) {
    for (int64_t c = 0; c < cols_; c++) excess_[size_t(r)] += x_zero * code_at(weight, r, c);
  });
}

int64_t PanelWeight::rows_of_chunk(int64_t chunk) const { return std::min(chunk_rows_, round_up(rows_ - chunk * chunk_rows_, kOutputRows)); }

int64_t PanelWeight::size_bytes() const {
  return stream_begin_.back() + int64_t((stream_begin_.size() + quads_begin_.size()) * 8 + quads_.size() * 4 + (excess_.size() + scales_.size()) * 4);
}

void PanelWeight::multiply(int64_t chunk, const uint8_t* panel, int32_t* sums, const float* outputs, int64_t outputs_stride) const {
  PanelRun run = isa_.run[options_.group_rows == 4][options_.aligned];
  for (int64_t tile = 0; tile < tiles_; tile++) {
    size_t unit = size_t(chunk * tiles_ + tile);
    run({.stream = reinterpret_cast<const uint8_t*>(stream_.get()) + stream_begin_[unit],
         .quads = quads_.data() + quads_begin_[unit],
         .order = order_.data() + quads_begin_[unit],
         .row_groups = quads_begin_[unit + 1] - quads_begin_[unit],
         .panel = panel + tile * tile_cols_ * isa_.tokens,
         .sums = sums,
         .accumulate = tile > 0,
         .ahead = tile == 0 ? outputs : nullptr,
         .ahead_stride = outputs_stride});
  }
}

PanelOutput PanelWeight::output_of(int64_t chunk, int64_t first_row, int64_t rows, const int32_t* sums, const Finish& finish) const {
  int64_t row = chunk * chunk_rows_ + first_row;
  PanelOutput out = {};
  out.sums = sums + first_row * isa_.tokens, out.rows = rows, out.interleaved = finish.interleaved;
  if (!excess_.empty()) out.excess = excess_.data() + row;
  out.scales = scales_.data() + row, out.x_scales = finish.x_scales;
  return out;
}

void PanelWeight::scale(int64_t chunk, int64_t first_row, const int32_t* sums, const Finish& finish, float* scaled) const {
  PanelOutput out = output_of(chunk, first_row, kOutputRows, sums, finish);
  out.y = scaled, out.y_stride = isa_.tokens;
  isa_.output_channel_major(out);
}

// For tokens that collide: outputs are made elsewhere and copied token by token.
void PanelWeight::output_by_tokens(PanelOutput out) const {
  float* y = out.y;
  int64_t y_stride = out.y_stride, stride = chunk_rows_ + 16;
  out.y = thread_scratch_of<float>(ScratchSlot::kTileSecond, isa_.tokens * stride), out.y_stride = stride;
  isa_.output_token_major(out);
  for (int64_t t = 0; t < isa_.tokens; t++) std::memcpy(y + t * y_stride, out.y + t * stride, size_t(out.rows) * sizeof(float));
}

void PanelWeight::store(int64_t chunk, const int32_t* sums, const Finish& finish, int64_t first_token, int64_t tokens, float* y, int64_t y_stride,
                        const Epilogue& epilogue) const {
  int64_t first_row = chunk * chunk_rows_, rows = std::min(chunk_rows_, rows_ - first_row);
  if (!finish.channel_major && activates_after(epilogue)) {
    Epilogue first = epilogue;
    first.activation = Activation::kNone;
    store(chunk, sums, finish, first_token, tokens, y, y_stride, first);
    return activate_rows(y + first_token * y_stride + first_row, tokens, rows, y_stride, epilogue);
  }
  if (!finish.channel_major && epilogue.rounds()) {
    // Rounding wants whole rows of scaled sums; not in y, where the residual may lie.
    PanelOutput out = output_of(chunk, 0, rows_of_chunk(chunk), sums, finish);
    out.y = thread_scratch_of<float>(ScratchSlot::kTileSecond, chunk_rows_ * isa_.tokens), out.y_stride = chunk_rows_;
    isa_.output_token_major(out);
    OutputTile tile = {.sums = out.y, .sums_stride = chunk_rows_, .first_row = first_row, .rows = rows, .first_token = first_token, .tokens = tokens};
    return store_token_major(tile, y, y_stride, epilogue);
  }
  bool simple = !epilogue.rounds() && (epilogue.activation == Activation::kNone || epilogue.activation == Activation::kRelu);
  // Sixteen rows and all tokens of a panel at a time are finished in registers; other activations and rests in scratch memory.
  int64_t fused_rows = simple && tokens == isa_.tokens ? rows / kOutputRows * kOutputRows : 0;
  if (fused_rows > 0) {
    auto at = [&](int64_t stride) { return finish.channel_major ? first_row * stride + first_token : first_token * stride + first_row; };
    PanelOutput out = output_of(chunk, 0, fused_rows, sums, finish);
    out.y = y + at(y_stride), out.y_stride = y_stride;
    if (epilogue.bias) out.bias = epilogue.bias + first_row;
    if (epilogue.residual) out.residual = epilogue.residual + at(epilogue.residual_stride);
    out.residual_stride = epilogue.residual_stride, out.relu = epilogue.activation == Activation::kRelu;
    if (finish.channel_major)
      isa_.output_channel_major(out);
    else if (!tokens_collide(y_stride))
      isa_.output_token_major(out);
    else
      output_by_tokens(out);
  }
  float* scaled = thread_scratch_of<float>(ScratchSlot::kTileSecond, kOutputRows * isa_.tokens);
  for (int64_t row = fused_rows; row < rows; row += kOutputRows) {
    scale(chunk, row, sums, finish, scaled);
    OutputTile tile = {.sums = scaled,
                       .sums_stride = isa_.tokens,
                       .first_row = first_row + row,
                       .rows = std::min(kOutputRows, rows - row),
                       .first_token = first_token,
                       .tokens = tokens};
    finish.channel_major ? store_channel_major(tile, y, y_stride, epilogue) : store_transposed(tile, y, y_stride, epilogue);
  }
}

}  // namespace lacuna::kernels
