#include "sparse/weight.h"

#include <gtest/gtest.h>

#include <ctime>

#include "base/cat.h"
#include "base/rng.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {
using Granularity = Encoding::Granularity;

// Codes 0, 1, 2 ... in source order, as s8.
Weight counted(MatrixLayout layout, Shape shape, Encoding encoding, WeightData& data) {
  std::vector<int8_t> codes(size_t(element_count(shape)));
  for (size_t i = 0; i < codes.size(); i++) codes[i] = int8_t(i);
  data.values = Tensor::of<int8_t>(shape, codes);
  encoding.values = DType::kS8;
  return {.name = "w", .shape = shape, .layout = layout, .encoding = encoding};
}

std::vector<float> rows_of(const Weight& weight, const WeightData& data, int64_t first, int64_t count) {
  std::vector<float> out(size_t(count * MatrixView(weight.layout, weight.shape).cols));
  decode_rows(weight, data, first, count, out.data());
  return out;
}

TEST(MatrixView, OfDirectionsOfAnLstmHasTheRowsOfAllOfThem) {
  MatrixView view(MatrixLayout::kOutIn, std::vector<int64_t>{2, 16, 8});
  EXPECT_EQ(view.rows, 32);
  EXPECT_EQ(view.cols, 8);
  EXPECT_EQ(view.inner, 8);
  EXPECT_EQ(view.offset(17, 3), 17 * 8 + 3);
}

TEST(DecodeRows, AConvolutionComesKernelPositionByKernelPositionInputChannelFastest) {
  WeightData data;
  Weight weight = counted(MatrixLayout::kConv, {2, 3, 2, 2}, {.granularity = Granularity::kTensor}, data);
  data.scales = Tensor::of<float>({1}, std::vector<float>{1});
  // [out, in, kh, kw] at (1, in, kh, kw) = 12 + 4 in + 2 kh + kw, in the order (kh, kw, in).
  EXPECT_EQ(rows_of(weight, data, 1, 1), (std::vector<float>{12, 16, 20, 13, 17, 21, 14, 18, 22, 15, 19, 23}));
}

TEST(DecodeRows, ATransposedMatrixComesByOutput) {
  WeightData data;
  Weight weight = counted(MatrixLayout::kInOut, {3, 2}, {.granularity = Granularity::kRow, .has_zero_points = true}, data);
  data.scales = Tensor::of<float>({2}, std::vector<float>{10, 100});
  data.zero_points = Tensor::of<int8_t>({2}, std::vector<int8_t>{1, 2});
  EXPECT_EQ(rows_of(weight, data, 0, 2), (std::vector<float>{-10, 10, 30, -100, 100, 300}));
  EXPECT_EQ(rows_of(weight, data, 1, 1), (std::vector<float>{-100, 100, 300}));
}

TEST(DecodeRows, GroupsHaveTheirOwnScalesAndMinimaAndTheLastMayBeShort) {
  WeightData data;
  Weight weight = counted(MatrixLayout::kOutIn, {2, 5}, {.granularity = Granularity::kGroup, .group = 2, .has_minima = true}, data);
  data.scales = Tensor::of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  data.minima = Tensor::of<float>({2, 3}, std::vector<float>{0, 0, 0, 100, 200, 300});
  data.mask = Mask(2, 5, true);
  data.mask->set(1, 3, false);
  EXPECT_EQ(rows_of(weight, data, 0, 2), (std::vector<float>{0, 1, 4, 6, 12, 120, 124, 235, 0, 354}));
  EXPECT_EQ(rows_of(weight, data, 1, 1), (std::vector<float>{120, 124, 235, 0, 354}));
}

TEST(DecodeRows, NibblesGoLowHalfFirstAndRowsStartOnAByte) {
  Tensor codes(DType::kS4, {2, 3});
  const uint8_t bytes[] = {0x21, 0x0f, 0xa8, 0x07};  // 1, 2, -1 | -8, -6, 7
  std::copy_n(reinterpret_cast<const std::byte*>(bytes), 4, codes.mutable_raw());
  WeightData data{.values = codes, .scales = Tensor::of<float>({1}, std::vector<float>{0.5f})};
  Weight weight{
      .name = "w", .shape = {2, 3}, .layout = MatrixLayout::kOutIn, .encoding = {.values = DType::kS4, .granularity = Granularity::kTensor}};
  EXPECT_EQ(rows_of(weight, data, 0, 2), (std::vector<float>{0.5f, 1, -0.5f, -4, -3, 3.5f}));
  weight.shape = {3, 2}, weight.layout = MatrixLayout::kInOut;
  data.values = Tensor(DType::kS4, {3, 2}, codes.bytes().slice(0, 3));
  EXPECT_EQ(rows_of(weight, data, 0, 2), (std::vector<float>{0.5f, -0.5f, -4, 1, 0, -3}));
}

// Codes of any bits, as a code and its offset define them.
Tensor random_codes(DType type, const Shape& shape, Rng& rng) {
  Tensor codes(type, shape);
  for (size_t i = 0; i < codes.size_bytes(); i++) codes.mutable_raw()[i] = std::byte(rng.below(256));
  return codes;
}
float code_at(const Tensor& codes, int64_t offset) {
  auto* bytes = reinterpret_cast<const uint8_t*>(codes.raw());
  int64_t last = codes.shape().back();
  int nibble = (bytes[offset / last * ((last + 1) / 2) + offset % last / 2] >> (offset % last % 2 * 4)) & 15;
  switch (codes.dtype()) {
    case DType::kS8: return int8_t(bytes[offset]);
    case DType::kU8: return bytes[offset];
    case DType::kS4: return float(nibble > 7 ? nibble - 16 : nibble);
    default: return float(nibble);
  }
}

TEST(DecodeRows, OfEveryCodeLayoutAndMaskEqualTheDefinition) {
  Rng rng(11);
  struct Case {
    MatrixLayout layout;
    Shape shape;
  };
  for (const Case& c : {Case{MatrixLayout::kOutIn, {19, 70}}, Case{MatrixLayout::kOutIn, {5, 3}}, Case{MatrixLayout::kInOut, {67, 21}},
                        Case{MatrixLayout::kConv, {18, 5, 3, 3}}, Case{MatrixLayout::kConv, {3, 65, 1, 1}}, Case{MatrixLayout::kConv, {4, 1, 3, 3}}})
    for (DType type : {DType::kS8, DType::kU8, DType::kS4, DType::kU4})
      for (bool masked : {false, true}) {
        MatrixView view(c.layout, c.shape);
        constexpr int64_t kGroup = 32;
        int64_t groups = (view.cols + kGroup - 1) / kGroup;
        WeightData data{.values = random_codes(type, c.shape, rng), .scales = Tensor(DType::kF32, {view.rows, groups})};
        for (float& s : data.scales.mutable_data<float>()) s = float(rng.normal());
        data.zero_points = random_codes(type, {view.rows, groups}, rng);
        if (masked) data.mask = Mask(view.rows, view.cols, true);
        for (int64_t r = 0; masked && r < view.rows; r++)
          for (int64_t col = 0; col < view.cols; col++) data.mask->set(r, col, rng.uniform() < 0.5);
        Weight weight{.name = "w",
                      .shape = c.shape,
                      .layout = c.layout,
                      .encoding = {.values = type, .granularity = Granularity::kGroup, .group = kGroup, .has_zero_points = true}};
        std::vector<float> wanted;
        for (int64_t r = 0; r < view.rows; r++)
          for (int64_t col = 0; col < view.cols; col++) {
            int64_t group = r * groups + col / kGroup;
            float value = (code_at(data.values, view.offset(r, col)) - code_at(data.zero_points, group)) * data.scales.data<float>()[size_t(group)];
            wanted.push_back(masked && !data.mask->kept(r, col) ? 0 : value);
          }
        std::string name = cat(name_of(c.layout), " ", c.shape, " ", name_of(type), " mask ", masked);
        EXPECT_EQ(rows_of(weight, data, 0, view.rows), wanted) << name;
        EXPECT_EQ(rows_of(weight, data, 1, view.rows - 1), std::vector<float>(wanted.begin() + view.cols, wanted.end())) << name;
        Tensor decoded = decode_f32(weight, data);
        for (int64_t r = 0; r < view.rows; r++)
          for (int64_t col = 0; col < view.cols; col++)
            ASSERT_EQ(decoded.data<float>()[size_t(view.offset(r, col))], wanted[size_t(r * view.cols + col)]) << name;
      }
}

TEST(DecodeRows, RowByRowCostsAboutWhatAllRowsAtOnceDo) {
  constexpr int64_t kRows = 2048, kCols = 2048, kGroup = 32;
  Weight weight{.name = "w",
                .shape = {kRows, kCols},
                .layout = MatrixLayout::kOutIn,
                .encoding = {.values = DType::kU4, .granularity = Granularity::kGroup, .group = kGroup, .scales = DType::kF16}};
  WeightData data{.values = Tensor(DType::kU4, {kRows, kCols}), .scales = Tensor(DType::kF16, {kRows, kCols / kGroup})};
  auto seconds = [&](int64_t rows_per_call) {
    std::clock_t start = std::clock();
    for (int64_t r = 0; r < kRows; r += rows_per_call) rows_of(weight, data, r, rows_per_call);
    return double(std::clock() - start) / CLOCKS_PER_SEC;
  };
  double whole = seconds(kRows);
  EXPECT_LT(seconds(1), 10 * whole);
}

TEST(WeightTable, KeepsTheOrderAndFindsByName) {
  WeightTable table;
  for (const char* name : {"b", "a", "c"}) table.add({.name = name});
  EXPECT_EQ(table[0].name, "b");
  EXPECT_EQ(table.find("c"), 2);
  EXPECT_EQ(table.find("d"), -1);
  EXPECT_THROW(table.add({.name = "a"}), InvalidData);
  EXPECT_EQ(table.size(), 3);
}

TEST(WeightTable, AHundredThousandNamesTakeNoLongerThanTheyMust) {
  std::clock_t start = std::clock();
  WeightTable table;
  constexpr int kNames = 100'000;
  for (int i = 0; i < kNames; i++) table.add({.name = cat("layers.", i, ".weight")});
  for (int i = 0; i < kNames; i++) ASSERT_EQ(table.find(cat("layers.", i, ".weight")), i);
  EXPECT_LT(double(std::clock() - start) / CLOCKS_PER_SEC, 5);  // one after the other: 10^10 comparisons
}

}  // namespace
}  // namespace lacuna
