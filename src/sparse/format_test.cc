// What every format of formats.def must do.
#include "sparse/format.h"

#include <gtest/gtest.h>

#include "base/memory.h"
#include "sparse/pattern.h"
#include "sparse/testing.h"

namespace lacuna {
namespace {
using namespace testing;

struct Case {
  std::string line;  // the problem, for messages
  Mask mask;
  FormatParameters parameters;
};

void add(std::vector<Case>& cases, std::string kind, Mask mask, FormatParameters parameters) {
  std::string line = cat(kind, " rows=", mask.rows(), " cols=", mask.cols(), " inner=", parameters.inner, " n=", parameters.n, " m=", parameters.m,
                         " block=", parameters.block_rows, "x", parameters.block_cols);
  cases.push_back({line, std::move(mask), parameters});
}

std::vector<Case> cases_for(std::string_view format) {
  constexpr std::pair<int64_t, int64_t> kShapes[] = {{0, 0},  {0, 5},  {5, 0},    {1, 1},   {3, 1},  {1, 63},
                                                     {2, 64}, {7, 65}, {17, 130}, {5, 300}, {300, 9}};
  std::vector<Case> cases;
  for (auto [rows, cols] : kShapes) {
    if (format == "n_m") {
      constexpr std::pair<int64_t, int64_t> kRatios[] = {{2, 4}, {1, 4},  {4, 8},   {8, 16},  {2, 16}, {3, 5},
                                                         {1, 3}, {4, 32}, {32, 64}, {16, 64}, {5, 300}};
      for (auto [n, m] : kRatios)
        for (bool full : {false, true}) {
          add(cases, full ? "full" : "partial", random_n_m(rows, cols, cols, n, m, full, uint64_t(n)), {.n = n, .m = m});
          if (cols == 130) add(cases, "conv", random_n_m(rows, cols, 26, n, m, full, uint64_t(m)), {.n = n, .m = m, .inner = 26});
        }
      if (cols != 64) add(cases, "empty", Mask(rows, cols, false), {.n = 2, .m = 5});
      add(cases, "mostly empty", random_n_m(rows, cols, std::max<int64_t>(cols, 1), 1, 64, false, 5), {.n = 32, .m = 64});
    } else if (format == "bsr") {
      constexpr std::pair<int64_t, int64_t> kBlocks[] = {{1, 1}, {1, 4}, {4, 1}, {4, 4}, {2, 3}, {16, 16}, {1, 500}};
      for (auto [high, wide] : kBlocks)
        for (double density : {0.0, 0.3, 1.0}) {
          add(cases, "blocks", random_blocks(rows, cols, cols, high, wide, density, 3), {.block_rows = high, .block_cols = wide});
          if (cols == 130)
            add(cases, "conv", random_blocks(rows, cols, 26, high, wide, density, 4), {.inner = 26, .block_rows = high, .block_cols = wide});
        }
    } else {
      for (double density : {0.0, 0.05, 0.5, 0.97, 1.0}) add(cases, cat("density=", density), random_mask(rows, cols, density, 7), {});
      Mask gaps = random_mask(rows, cols, 0.5, 8);  // empty first, middle and last rows
      for (int64_t r : {int64_t(0), rows / 2, rows - 1})
        if (r >= 0 && r < rows)
          for (uint64_t& word : gaps.mutable_row(r)) word = 0;
      add(cases, "empty rows", gaps, {});
    }
  }
  return cases;
}

TEST(Formats, RoundTripEveryTypeAndShape) {
  for (const Format& format : formats())
    for (const Case& c : cases_for(format.name))
      for (DType type : kCodeTypes) {
        SCOPED_TRACE(cat(format.name, " ", name_of(type), " ", c.line));
        MaskedMatrix matrix = random_codes(type, c.mask, 11);
        ASSERT_EQ(format.refuses(matrix, c.parameters), std::nullopt);
        EncodedMatrix encoded = format.encode(matrix, c.parameters);
        ASSERT_NO_THROW(format.validate(encoded));
        ASSERT_TRUE(format.decode(encoded) == matrix);
        ASSERT_EQ(format.size_bytes(matrix, c.parameters), encoded.size_bytes());
      }
}

TEST(Formats, FlippedBitsAreRefusedOrAreAnotherMatrix) {
  for (const Format& format : formats())
    for (const Case& c : cases_for(format.name))
      for (DType type : {DType::kS8, DType::kU4, DType::kF16}) {
        EncodedMatrix encoded = format.encode(random_codes(type, c.mask, 12), c.parameters);
        Rng rng(99);
        for (auto& [name, part] : encoded.parts) {
          Tensor good = part;
          for (int flips = 0; flips < 20 && part.size_bytes() > 0; flips++) {
            part = good.clone();
            auto at = rng.below(int64_t(part.size_bytes()));
            part.mutable_raw()[at] ^= std::byte(1 << rng.below(8));
            ASSERT_EQ(broken_promise(encoded), "") << format.name << " " << name_of(type) << " " << c.line << " part=" << name << " byte=" << at;
          }
          part = good;
        }
      }
}

TEST(Formats, LyingShapesAreRefused) {
  for (const Format& format : formats()) {
    FormatParameters parameters = format.name == "n_m"   ? FormatParameters{.n = 2, .m = 4}
                                  : format.name == "bsr" ? FormatParameters{.block_rows = 2, .block_cols = 2}
                                                         : FormatParameters{};
    MaskedMatrix matrix =
        random_codes(DType::kS8, format.name == "bsr" ? random_blocks(6, 12, 12, 2, 2, 0.5, 1) : random_n_m(6, 12, 12, 2, 4, true, 1), 2);
    EncodedMatrix good = format.encode(matrix, parameters);
    auto refuses = [&](auto change, const char* what) {
      EncodedMatrix bad = good;
      change(bad);
      EXPECT_THROW(format.validate(bad), InvalidData) << format.name << ": " << what;
    };
    refuses([](EncodedMatrix& e) { e.rows = -1; }, "negative rows");
    refuses([](EncodedMatrix& e) { e.cols = int64_t(1) << 62; }, "overflowing columns");
    refuses([](EncodedMatrix& e) { e.rows = int64_t(1) << 50, e.cols = 0; }, "endless empty rows");
    refuses([](EncodedMatrix& e) { e.parts["surplus"] = Tensor(DType::kU8, {1}); }, "a part too many");
    for (const auto& entry : good.parts) {
      const std::string& name = entry.first;
      const Tensor& part = entry.second;
      if (name != "kept_zeros") refuses([&](EncodedMatrix& e) { e.parts.erase(name); }, "a missing part");
      refuses([&](EncodedMatrix& e) { e.parts[name] = Tensor(part.dtype(), {part.size() + 1}); }, "a longer part");
      refuses([&](EncodedMatrix& e) { e.parts[name] = Tensor(part.dtype(), {}); }, "a scalar part");
      refuses([&](EncodedMatrix& e) { e.parts[name] = Tensor(DType::kF64, part.shape()); }, "a part of another type");
    }
    refuses([](EncodedMatrix& e) { e.type = DType::kF32; }, "another type");
  }
  FormatParameters wrong{.n = 4, .m = 4};
  EncodedMatrix n_m{"n_m", DType::kS8, 1, 4, wrong, {{"values", Tensor(DType::kS8, {1, 4})}, {"indices", Tensor(DType::kU8, {1, 1})}}};
  EXPECT_THROW(format_named("n_m").validate(n_m), InvalidData);
}

TEST(Formats, AFewBytesCannotAskForMoreMemoryThanThereIs) {
  constexpr int64_t kRows = 32, kCols = int64_t(1) << 31;
  if (memory_limit_bytes() / 2 > kRows * kCols * 8) GTEST_SKIP() << "this machine has memory enough for 2^36 weights";
  Tensor none(DType::kF64, {0}), nothing(DType::kU8, {0});
  for (auto& [format, parts] : std::map<std::string, std::map<std::string, Tensor>>{
           {"csr", {{"row_offsets", Tensor(DType::kU8, {kRows + 1})}, {"indices", Tensor(DType::kU32, {0})}, {"values", none}}},
           {"coo", {{"row_indices", nothing}, {"col_indices", Tensor(DType::kU32, {0})}, {"values", none}}},
           {"bsr",
            {{"row_offsets", Tensor(DType::kU8, {kRows + 1})}, {"indices", Tensor(DType::kU32, {0})}, {"values", Tensor(DType::kF64, {0, 1})}}}}) {
    EncodedMatrix encoded{format, DType::kF64, kRows, kCols, {.block_rows = 1, .block_cols = 1}, parts};
    EXPECT_THROW(format_named(format).validate(encoded), ResourceExhausted) << format;
  }
}

TEST(Formats, MessagesNameThePart) {
  EncodedMatrix encoded = format_named("csr").encode(random_codes(DType::kS8, Mask(2, 3, true), 1), {});
  encoded.parts["indices"].mutable_data<uint8_t>()[5] = 3;
  try {
    format_named("csr").validate(encoded);
    FAIL();
  } catch (const InvalidData& error) {
    EXPECT_STREQ(error.what(), "csr 'indices': entry 5 is 3, below 3 expected");
  }
}

TEST(Formats, RefuseMasksThatBreakTheirPattern) {
  MaskedMatrix full = random_codes(DType::kS8, Mask(4, 8, true), 1);
  EXPECT_EQ(format_named("n_m").refuses(full, {.n = 2, .m = 4}), "row 0 keeps 4 of columns 0 to 3, at most 2 expected");
  EXPECT_THROW(format_named("n_m").encode(full, {.n = 2, .m = 4}), InvalidArgument);
  full.mask.set(1, 5, false);
  put_code(full.codes, 1, 5, 0);
  EXPECT_EQ(format_named("bsr").refuses(full, {.block_rows = 2, .block_cols = 4}), "the block at row 0, column 4 keeps 7 of 8, all or none expected");
  // 1:4 uses all four codes of an index for columns.
  EXPECT_NE(format_named("n_m").refuses(random_codes(DType::kS8, Mask(1, 4, false), 1), {.n = 1, .m = 4}), std::nullopt);
  EXPECT_EQ(format_named("n_m").refuses(random_codes(DType::kS8, Mask(1, 4, false), 1), {.n = 2, .m = 4}), std::nullopt);
}

TEST(Formats, AnUnknownNameListsTheKnownOnes) {
  try {
    format_named("ellpack");
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(error.what(), "unknown storage format 'ellpack'; known are dense, bitmask, n_m, csr, bsr, csc, coo");
  }
}

TEST(SmallestFormat, FollowsDensityAndPattern) {
  auto chosen = [](DType type, Mask mask, std::string_view pattern) {
    int64_t cols = mask.cols();
    return std::string(smallest_format(random_codes(type, std::move(mask), 1), pattern, cols).format->name);
  };
  EXPECT_EQ(chosen(DType::kF32, Mask(64, 256, true), "dense"), "dense");
  EXPECT_EQ(chosen(DType::kF32, random_mask(64, 256, 0.5, 1), "unstructured"), "bitmask");
  EXPECT_EQ(chosen(DType::kS8, random_mask(64, 256, 0.03, 1), "unstructured"), "csr");
  EXPECT_EQ(chosen(DType::kF16, random_blocks(64, 256, 256, 4, 4, 0.5, 1), "block:4x4"), "bsr");
  EXPECT_EQ(chosen(DType::kF16, random_n_m(64, 256, 256, 2, 16, true, 1), "2:16"), "n_m");
  std::vector<FormatChoice> all;
  smallest_format(random_codes(DType::kF32, Mask(4, 4, true), 1), "unstructured", 4, &all);
  EXPECT_EQ(all.size(), 3u);  // dense, bitmask, csr: neither interchange nor patterns the mask does not have
}

TEST(SmallestFormat, IsNeverLargerThanDense) {
  for (DType type : {DType::kF32, DType::kF16})
    for (double density : {0.0, 0.9, 0.99, 0.999, 1.0}) {
      Mask mask = random_mask(33, 257, density, 3);
      Tensor codes(type, {33, 257});
      for (int64_t r = 0; r < 33; r++)
        for (int64_t c = 0; c < 257; c++)
          if (mask.kept(r, c)) put_code(codes, r, c, 0x3c01);  // no kept weight is zero
      MaskedMatrix matrix{type, mask, codes};
      EXPECT_LE(smallest_format(matrix, "unstructured", 257).size_bytes, int64_t(codes.size_bytes()));
    }
}

// Where the weight at a row and column of the matrix view stands in the source tensor, out of the definition of the view.
int64_t source_position(MatrixLayout layout, const Shape& shape, int64_t row, int64_t col) {
  if (layout == MatrixLayout::kOutIn) return row * shape[1] + col;
  if (layout == MatrixLayout::kInOut) return col * shape[1] + row;
  int64_t channels = shape[1], height = shape[2], width = shape[3];
  for (int64_t y = 0, at = 0; y < height; y++)  // columns are (kh, kw, in), input channel fastest; the source is [out, in, kh, kw]
    for (int64_t x = 0; x < width; x++)
      for (int64_t in = 0; in < channels; in++)
        if (at++ == col) return ((row * channels + in) * height + y) * width + x;
  return -1;
}

TEST(MaskedMatrixOfWeight, ReadsEveryLayoutAndGoesBack) {
  struct Layout {
    MatrixLayout layout;
    Shape shape;
  };
  for (const Layout& l : {Layout{MatrixLayout::kOutIn, {5, 7}},
                          {MatrixLayout::kInOut, {7, 5}},
                          {MatrixLayout::kConv, {5, 3, 3, 2}},
                          {MatrixLayout::kConv, {4, 6, 1, 1}}})
    for (DType type : kCodeTypes) {
      Weight weight{"w", l.shape, l.layout, {.values = type}, "", nullptr};
      MatrixView view(l.layout, l.shape);
      Tensor source(type, l.shape);
      Rng rng(5);
      int64_t last = l.shape.back();
      Tensor flat(type, {element_count(l.shape) / last, last});
      std::vector<uint64_t> codes(size_t(flat.size()));
      for (int64_t i = 0; i < flat.size(); i++) put_code(flat, i / last, i % last, codes[size_t(i)] = rng.next());
      source = flat.reshaped(l.shape);
      Mask mask = random_mask(view.rows, view.cols, 0.6, 6);
      for (bool masked : {false, true}) {
        Tensor expected(type, {view.rows, view.cols});
        for (int64_t r = 0; r < view.rows; r++)
          for (int64_t c = 0; c < view.cols; c++)
            if (!masked || mask.kept(r, c)) put_code(expected, r, c, codes[size_t(source_position(l.layout, l.shape, r, c))]);
        WeightData data{.values = source};
        if (masked) data.mask = mask;
        MaskedMatrix matrix = masked_matrix(weight, data);
        ASSERT_TRUE(matrix == (MaskedMatrix{type, masked ? mask : Mask(view.rows, view.cols, true), expected}))
            << name_of(l.layout) << " " << name_of(type);
        Tensor back = source_order(weight, matrix.codes);
        ASSERT_EQ(back.shape(), l.shape);
        if (!masked) {
          ASSERT_EQ(0, memcmp(back.raw(), source.raw(), source.size_bytes()));
        }
      }
    }
}

}  // namespace
}  // namespace lacuna
