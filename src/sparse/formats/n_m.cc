// values   [rows, slots]            the codes of all groups of a row in order; 4-bit rows start on a byte
// indices  u8 [rows, ceil(slots * bits / 8)]   for each slot its column within the group: ceil(log2 M) bits, low bit first
//
// Columns are cut into groups of M; groups restart every `inner` columns, so the last group of a stretch may be shorter. A group of `length`
// columns has ceil(N * length / M) slots. Kept columns ascend. A group that keeps fewer repeats its last index in the spare slots,
// with zero codes: an index that does not ascend is padding, so a kept weight may still hold 0. An empty group is written
// 1, 0, 0, ...: the only descent. A group of one slot has no room for that; empty it is written as all ones, if that is not a column;
// 1:M with M a power of two cannot hold an empty group, and refuses.
#include <bit>

#include "base/cat.h"
#include "lacuna/error.h"
#include "sparse/bits.h"
#include "sparse/formats/codes.h"
#include "sparse/formats/parts.h"

namespace lacuna {
Format n_m_format();
namespace {
using namespace storage;

struct Group {
  int64_t col, length, slots;
  int64_t first_slot;  // within the row
};

struct Layout {
  int64_t n, m, inner, stretches, bits, slots_per_row, index_bytes;

  Layout(const FormatParameters& p, int64_t cols)
      : n(p.n), m(p.m), inner(p.inner ? p.inner : cols), stretches(inner ? cols / inner : 0), bits(std::bit_width(uint64_t(p.m - 1))) {
    slots_per_row = stretches * (inner / m * n + slots_of(inner % m));
    index_bytes = (slots_per_row * bits + 7) / 8;
  }
  int64_t slots_of(int64_t length) const { return (n * length + m - 1) / m; }
  // Groups of one row; all rows are alike.
  std::vector<Group> groups() const {
    std::vector<Group> out;
    int64_t slot = 0;
    for (int64_t col = 0; col < stretches * inner;) {
      int64_t length = std::min(m, inner - col % inner);
      out.push_back({col, length, slots_of(length), slot});
      col += length, slot += out.back().slots;
    }
    return out;
  }
  uint32_t empty_code() const { return (uint32_t(1) << bits) - 1; }
  // Whether an empty group of one slot can be told from one that keeps a column.
  bool can_be_empty(const Group& g) const { return g.slots > 1 || g.length <= int64_t(empty_code()); }
};

uint32_t read_index(const std::byte* row, int64_t slot, int64_t bits) {
  uint32_t value = 0;
  for (int64_t b = slot * bits, done = 0; done < bits;) {
    int64_t take = std::min(bits - done, 8 - b % 8);
    value |= ((uint32_t(row[b / 8]) >> (b % 8)) & ((uint32_t(1) << take) - 1)) << done;
    done += take, b += take;
  }
  return value;
}

// The row starts out as zero.
void write_index(std::byte* row, int64_t slot, int64_t bits, uint32_t value) {
  for (int64_t b = slot * bits, done = 0; done < bits;) {
    int64_t take = std::min(bits - done, 8 - b % 8);
    row[b / 8] |= std::byte(((value >> done) & ((uint32_t(1) << take) - 1)) << (b % 8));
    done += take, b += take;
  }
}

std::optional<std::string> bad_parameters(const FormatParameters& p, int64_t cols) {
  if (p.m < 2 || p.m > kLargestM || p.n < 1 || p.n >= p.m) return cat("N:M is ", p.n, ":", p.m, ", 1 <= N < M <= ", kLargestM, " expected");
  if (p.inner < 0 || (p.inner && cols % p.inner)) return cat("inner is ", p.inner, ", a divisor of ", cols, " columns expected");
  return std::nullopt;
}

std::optional<std::string> refuses(const MaskedMatrix& matrix, const FormatParameters& parameters) {
  int64_t cols = matrix.mask.cols();
  if (auto problem = bad_parameters(parameters, cols)) return problem;
  Layout layout(parameters, cols);
  auto groups = layout.groups();
  for (int64_t r = 0; r < matrix.mask.rows(); r++)
    for (const Group& g : groups) {
      int64_t kept = count_bits(matrix.mask.row(r), g.col, g.length);
      if (kept > g.slots)
        return cat("row ", r, " keeps ", kept, " of columns ", g.col, " to ", g.col + g.length - 1, ", at most ", g.slots, " expected");
      if (kept == 0 && !layout.can_be_empty(g))
        return cat("row ", r, " keeps none of columns ", g.col, " to ", g.col + g.length - 1, ", which 1:", layout.m, " cannot say");
    }
  return std::nullopt;
}

int64_t size_bytes(const MaskedMatrix& matrix, const FormatParameters& parameters) {
  Layout layout(parameters, matrix.mask.cols());
  return matrix.mask.rows() * (packed_bytes(matrix.type, layout.slots_per_row) + layout.index_bytes);
}

// Writes the indices of one group; returns how many columns it keeps.
int64_t encode_group(const Layout& layout, const Group& g, std::span<const uint64_t> mask, std::byte* indices, int64_t* columns) {
  int64_t kept = 0;
  for (int64_t i = 0; i < g.length; i += 64)
    for (uint64_t word = bits_at(mask, g.col + i, std::min<int64_t>(64, g.length - i)); word; word &= word - 1)
      columns[kept++] = i + std::countr_zero(word);
  for (int64_t s = 0; s < g.slots; s++) {
    int64_t index = kept ? columns[std::min(s, kept - 1)] : g.slots == 1 ? layout.empty_code() : s == 0;
    write_index(indices, g.first_slot + s, layout.bits, uint32_t(index));
  }
  return kept;
}

EncodedMatrix encode(const MaskedMatrix& matrix, const FormatParameters& p) {
  require_accepts(n_m_format(), matrix, p);
  EncodedMatrix out = header_of(n_m_format(), matrix, {.n = p.n, .m = p.m, .inner = p.inner});
  Layout layout(p, out.cols);
  auto groups = layout.groups();
  Tensor values(out.type, {out.rows, layout.slots_per_row}), indices(DType::kU8, {out.rows, layout.index_bytes});
  int64_t stride = row_stride(out.type, out.cols), value_stride = row_stride(out.type, layout.slots_per_row);
  std::byte* index_bytes = indices.mutable_raw();
  with_codes(out.type, matrix.codes, values, [&](auto codes, auto packed) {
    for_each_row(out.rows, false, [&](int64_t r) {
      std::vector<int64_t> columns(static_cast<size_t>(layout.n));
      for (const Group& g : groups) {
        int64_t kept = encode_group(layout, g, matrix.mask.row(r), index_bytes + r * layout.index_bytes, columns.data());
        for (int64_t s = 0; s < kept; s++) packed.set(r * value_stride + g.first_slot + s, codes.get(r * stride + g.col + columns[size_t(s)]));
      }
    });
  });
  out.parts["values"] = values;
  out.parts["indices"] = indices;
  return out;
}

// Slots of the group that hold a kept column; -1 if the indices are not as `encode` writes them.
int64_t kept_slots(const Layout& layout, const Group& g, const std::byte* indices) {
  auto index = [&](int64_t s) { return int64_t(read_index(indices, g.first_slot + s, layout.bits)); };
  if (g.slots == 1) {
    if (layout.can_be_empty(g) && index(0) == layout.empty_code()) return 0;
    return index(0) < g.length ? 1 : -1;
  }
  int64_t kept = 0, previous = -1;
  while (kept < g.slots && index(kept) > previous) previous = index(kept++);
  if (kept == 1 && index(1) < previous) {
    if (previous != 1) return -1;
    kept = 0, previous = 0;
  }
  for (int64_t s = std::max<int64_t>(kept, 1); s < g.slots; s++)
    if (index(s) != previous) return -1;
  return previous < g.length ? kept : -1;
}

void validate(const EncodedMatrix& encoded) {
  check_parts(encoded, {"values", "indices"});
  FormatParameters p = encoded.parameters;
  if (auto problem = bad_parameters(p, encoded.cols)) throw InvalidData(cat("n_m: ", *problem));
  Layout layout(p, encoded.cols);
  const Tensor& values = checked_part(encoded, "values", encoded.type, {encoded.rows, layout.slots_per_row});
  const Tensor& indices = checked_part(encoded, "indices", DType::kU8, {encoded.rows, layout.index_bytes});
  if (encoded.rows == 0) return;
  auto groups = layout.groups();
  Tensor none(encoded.type, {0});
  int64_t value_stride = row_stride(encoded.type, layout.slots_per_row);
  with_codes(encoded.type, values, none, [&](auto packed, auto) {
    for (int64_t r = 0; r < encoded.rows; r++) {
      const std::byte* row = indices.raw() + r * layout.index_bytes;
      for (const Group& g : groups) {
        int64_t kept = kept_slots(layout, g, row);
        if (kept < 0)
          reject(encoded, "indices", cat("row ", r, ", columns from ", g.col, ": not ascending columns below ", g.length, " and their padding"));
        for (int64_t s = kept; s < g.slots; s++)
          if (packed.get(r * value_stride + g.first_slot + s) != 0)
            reject(encoded, "values", cat("row ", r, ", columns from ", g.col, ": padding that is not zero"));
      }
      if (layout.slots_per_row * layout.bits % 8 && uint32_t(row[layout.index_bytes - 1]) >> (layout.slots_per_row * layout.bits % 8))
        reject(encoded, "indices", cat("row ", r, " ends in spare bits that are not zero"));
      if (is_nibble(encoded.type) && layout.slots_per_row % 2 && packed.get(r * value_stride + layout.slots_per_row) != 0)
        reject(encoded, "values", cat("row ", r, " ends in a spare nibble that is not zero"));
    }
  });
}

MaskedMatrix decode(const EncodedMatrix& encoded) {
  MaskedMatrix matrix{encoded.type, Mask(encoded.rows, encoded.cols, false), Tensor(encoded.type, {encoded.rows, encoded.cols})};
  if (encoded.rows == 0) return matrix;
  Layout layout(encoded.parameters, encoded.cols);
  auto groups = layout.groups();
  int64_t stride = row_stride(encoded.type, encoded.cols), value_stride = row_stride(encoded.type, layout.slots_per_row);
  const std::byte* indices = encoded.parts.at("indices").raw();
  with_codes(encoded.type, encoded.parts.at("values"), matrix.codes, [&](auto packed, auto codes) {
    for_each_row(encoded.rows, false, [&](int64_t r) {
      const std::byte* row = indices + r * layout.index_bytes;
      for (const Group& g : groups)
        for (int64_t s = 0, kept = kept_slots(layout, g, row); s < kept; s++) {
          int64_t col = g.col + read_index(row, g.first_slot + s, layout.bits);
          matrix.mask.set(r, col, true);
          codes.set(r * stride + col, packed.get(r * value_stride + g.first_slot + s));
        }
    });
  });
  return matrix;
}

}  // namespace

Format n_m_format() {
  return {"n_m", "N codes and N packed column indices per group of M columns", false, refuses, size_bytes, encode, validate, decode};
}

}  // namespace lacuna
