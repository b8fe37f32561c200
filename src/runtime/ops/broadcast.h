// Broadcasts of elementwise ops as rows.
#pragma once

#include <algorithm>
#include <array>
#include <optional>

#include "base/parallel.h"
#include "runtime/reference/support.h"

namespace lacuna {

constexpr int64_t kElementTile = 16384;  // elements that are worth a thread

// Axes of a broadcast merged as far as all operands allow: rows of `inner` elements, an operand's step inside a row being 0 or 1.
template <size_t N>
struct BroadcastRows {
  int64_t inner = 1;
  std::array<bool, N> scalar{};                // operands whose step is 0
  std::vector<std::array<int64_t, N>> rows{};  // positions of the operands
};

// Of operands of these shapes; nullopt where that is too many rows.
template <size_t N>
std::optional<BroadcastRows<N>> broadcast_rows(const std::array<Shape, N>& shapes, const Shape& out) {
  std::array<std::vector<int64_t>, N> strides;
  for (size_t n = 0; n < N; n++) strides[n] = reference::broadcast_strides(shapes[n], out);
  BroadcastRows<N> result;
  size_t axis = out.size();
  // From the last axis on, as long as each operand goes on contiguously or stays where it is.
  while (axis > 0 && out[axis - 1] == 1) axis--;
  for (size_t n = 0; n < N; n++) result.scalar[n] = axis > 0 && strides[n][axis - 1] == 0;
  auto fits = [&](size_t n) { return strides[n][axis - 1] == (result.scalar[n] ? 0 : result.inner); };
  for (; axis > 0; axis--) {
    bool all = true;
    for (size_t n = 0; n < N; n++) all &= fits(n);
    if (out[axis - 1] != 1 && !all) break;
    result.inner *= out[axis - 1];
  }
  constexpr int64_t kMaxRows = 1 << 20;
  Shape outer(out.begin(), out.begin() + int64_t(axis));
  if (element_count(outer) > kMaxRows) return std::nullopt;
  for (auto& s : strides) s.resize(axis);
  reference::for_each<N>(outer, strides, [&](int64_t, auto& at) { result.rows.push_back(at); });
  return result;
}

// On all threads: piece(positions of the operands, that of the result, count) for all of the result, and after each tile of pieces
// after(position, count) for what they wrote.
template <size_t N, class Piece, class After>
void for_pieces(const BroadcastRows<N>& plan, Piece&& piece, After&& after) {
  const int64_t rows = int64_t(plan.rows.size()), width = std::min(plan.inner, kElementTile), pieces = width ? (plan.inner + width - 1) / width : 0;
  const int64_t rows_per_tile = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, plan.inner));
  parallel_for((rows + rows_per_tile - 1) / rows_per_tile * pieces, [&](int64_t tile) {
    const int64_t first = tile % pieces * width, count = std::min(width, plan.inner - first);
    const int64_t begin = tile / pieces * rows_per_tile, end = std::min(rows, begin + rows_per_tile);
    for (int64_t r = begin; r < end; r++) {
      std::array<int64_t, N> at = plan.rows[size_t(r)];
      for (size_t n = 0; n < N; n++) at[n] += plan.scalar[n] ? 0 : first;
      piece(at, r * plan.inner + first, count);
    }
    after(begin * plan.inner + first, (end - begin) * count);  // of one row, or of whole ones
  });
}

}  // namespace lacuna
